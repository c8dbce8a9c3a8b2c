"""F86: a node on which nothing can be started. Its pilot gives up after three tokens; the rest go back unspent."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from picas.lifecycle import State, state_of
from support.checker import check
from support.pilots import Site, until

TODO = frozenset({State.TODO})
TO_COME = frozenset({State.TODO, State.LOCKED})
TOKENS = 300


def _charged(site: Site) -> list[dict[str, Any]]:
    """Tokens that had to pay: with a final state, a retry or a loss."""
    docs = [site.doc(token_id) for token_id in site.ids]
    return [doc for doc in docs if state_of(doc) is not State.TODO or doc["scrub_count"] or doc.get("lost")]


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize(
    "command",
    [["no-such-program", "x"], "no-such-program x"],
    ids=["not-there", "not-there-for-bash"],
)
def test_a_node_that_lacks_the_program_is_avoided_after_three(site: Site, command: Any, cores: int) -> None:
    site.add(*[command] * TOKENS)
    report = site.pilot(cores=cores, lease=10.0, max_scrub=3).report(60.0)

    assert report["unfit"]
    assert "3 starts in a row failed" in report["why"]
    assert "no-such-program" in report["why"]
    charged = _charged(site)
    assert len(charged) <= 5
    assert all(doc.get("lost", 0) == 0 for doc in charged)
    # All others wait for a better node, at no cost; none is held, and the pilot has signed off.
    assert site.pool.pilots() == []
    assert check(site, unfinished=TODO)[State.TODO] >= TOKENS - 5


def test_a_good_node_goes_on_beside_it(site: Site) -> None:
    tool = site.folder / "tool"
    tool.mkdir()
    (tool / "analyse").write_text('#!/bin/sh\nsleep 0.02\necho "$PICAS_TOKEN_ID $PICAS_FENCE" >> "$SIDE"\n')
    (tool / "analyse").chmod(0o755)
    site.add(*[["analyse"]] * 120)
    path = site.environ["PATH"]
    bad = site.pilot(cores=2, lease=10.0)
    site.environ["PATH"] = f"{tool}:{path}"
    good = site.pilot(cores=2, lease=10.0, idle=60.0)

    assert bad.report(60.0)["unfit"]
    until("all have ended", lambda: not TO_COME & set(map(state_of, site.pool.store.get(site.ids))), 60.0)
    good.signal(signal.SIGTERM)
    assert not good.report()["unfit"]
    # At most five failed where the program was missing; all others are done, each once.
    states = check(site, side=True)
    assert states[State.ERROR] <= 5
    assert states[State.DONE] == 120 - states[State.ERROR]


def test_bad_commands_of_their_own_stop_no_pilot(site: Site) -> None:
    commands = [[f"no-such-program-{number}"] for number in range(12)]
    site.add(*commands)
    site.add(["true"])
    report = site.pilot(cores=1, lease=10.0).report(30.0)

    assert not report["unfit"]
    # Each in error for its own fault; the good one at the end is done.
    assert check(site) == {State.ERROR: 12, State.DONE: 1}


def test_one_that_starts_between_breaks_the_row(site: Site) -> None:
    site.add(*[command for _ in range(6) for command in (["no-such-program"], ["no-such-program"], ["false"])])
    report = site.pilot(cores=1, lease=10.0).report(30.0)

    assert not report["unfit"]
    assert check(site) == {State.ERROR: 18}


def test_runners_that_are_killed_are_a_matter_of_the_node(site: Site) -> None:
    site.add(*[["sh", "-c", "kill -9 $PPID; sleep 60"]] * 20)
    report = site.pilot(cores=6, lease=10.0, grace=0.5).report(30.0)

    assert report["unfit"]
    assert len(_charged(site)) <= 5
    assert all(doc.get("lost", 0) == 0 for doc in _charged(site))
    check(site, unfinished=TODO)


def test_a_long_command_runs_on_when_the_pilot_gives_up(site: Site) -> None:
    (long,) = site.add([sys.executable, "-c", "import time; time.sleep(1.5)"], priority=9)
    site.add(*[["no-such-program"]] * 20)
    report = site.pilot(cores=2, lease=10.0).report(30.0)

    assert report["unfit"]
    # What had begun well came to its end; it is done.
    assert site.doc(long)["exit_code"] == 0
    assert check(site, unfinished=TODO)[State.DONE] == 1
