"""F58: a command that stops itself, or spins and says nothing. It is ended at its limit, and others are left alone."""

from __future__ import annotations

import pytest

from picas.lifecycle import State, state_of
from support.checker import check
from support.pilots import Site

LIMIT = 1.5


@pytest.mark.parametrize(
    "script",
    ["kill -STOP $$", "while :; do :; done", "echo begun; sleep 60", "trap '' TERM; sleep 60 & wait; sleep 60"],
    ids=["stops-itself", "spins", "falls-silent", "deaf"],
)
def test_a_command_that_writes_nothing_is_ended_at_its_limit(site: Site, script: str) -> None:
    (doc,) = site.run(["bash", "-c", script], quiet_limit=LIMIT, grace=0.5)

    assert (state_of(doc), doc["reason"]) == (State.ERROR, "quiet")
    assert LIMIT <= doc["attempts"][-1]["runtime"] <= 1.25 * LIMIT + 0.5 + 3.0
    # In error for its silence, its signal on record; nothing of it is left.
    assert doc["attempts"][-1]["signal"] in ("SIGTERM", "SIGKILL")
    assert check(site) == {State.ERROR: 1}


@pytest.mark.parametrize(
    "writes",
    ["echo said", "echo said >&2", 'echo said >> "$SIDE"', 'bash -c "echo said >> \\"$SIDE\\""'],
    ids=["to-stdout", "to-stderr", "to-a-file", "by-a-child"],
)
def test_a_command_that_writes_anything_anywhere_runs_on(site: Site, writes: str) -> None:
    (doc,) = site.run(["bash", "-c", f"for n in 1 2 3 4 5 6 7 8; do sleep 0.5; {writes}; done"], quiet_limit=LIMIT)

    assert doc["attempts"][-1]["runtime"] > 2 * LIMIT
    # Done: it was never silent for as long as its limit.
    assert check(site) == {State.DONE: 1}


def test_a_command_that_stops_itself_is_ended_by_its_time_too(site: Site) -> None:
    (doc,) = site.run(["bash", "-c", "kill -STOP $$"], token_time=1.0, grace=0.5)

    # In error for its time.
    assert (state_of(doc), doc["reason"]) == (State.ERROR, "time")
    assert check(site) == {State.ERROR: 1}


def test_the_tokens_own_limit_goes_before_the_pilots(site: Site) -> None:
    own, patient = site.add("sleep 60", quiet_limit=LIMIT), site.add("sleep 4", quiet_limit="1 h")
    site.pilot(cores=2, lease=10.0, grace=0.5, quiet_limit=3600.0).report(40.0)
    assert site.doc(own[0])["reason"] == "quiet"
    site.add("sleep 4", quiet_limit=3600)
    site.pilot(cores=1, lease=10.0, grace=0.5, quiet_limit=LIMIT).report(40.0)

    # One ended for its silence, though its pilot allows an hour; two done, though a pilot allows less than they take.
    assert site.doc(patient[0])["exit_code"] == 0
    assert check(site) == {State.ERROR: 1, State.DONE: 2}
