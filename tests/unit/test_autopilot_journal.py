"""The journal: on disk before it counts, one writer, its owner's alone; and the pauses after failures."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from picas.autopilot.backoff import Backoff
from picas.autopilot.entries import Entry
from picas.autopilot.journal import Journal, journals_folder
from picas.errors import ConfigError, Conflict
from picas.schedulers.base import JobState


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "site.json")
    journal.lock()
    ledger = journal.ledger
    ledger.jobs["a"] = Entry(name="a", kind="k", at=1.5, id="7", state=JobState.RUNNING, since=2.0, missing_at=3.0)
    ledger.nodes.failed("n1", "why", 10.0)
    ledger.submitting.fail("refused", 5.0, random.Random(1))
    ledger.quiet_since["k"] = 4.0
    ledger.looked_at = ledger.tried_at = 9.0
    journal.write()
    again = Journal(journal.path)
    again.read()
    assert again.ledger == ledger
    assert isinstance(again.ledger.jobs["a"].state, JobState)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_one_acts_at_a_time(tmp_path: Path) -> None:
    first, second = Journal(tmp_path / "s.json"), Journal(tmp_path / "s.json")
    first.lock()
    with pytest.raises(Conflict, match="another autopilot acts"):
        second.lock()
    first.close()
    second.lock()
    second.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "jobs": {"a": {"state": "odd"}}}'])
def test_one_that_cannot_be_read_is_told_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a journal"):
        Journal(path).read()
    assert path.read_text() == text


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="ymbolic"):
        Journal(tmp_path / "s.json").lock()
    assert not (tmp_path / "elsewhere").exists()


def test_where_it_lies() -> None:
    assert journals_folder({"PICAS_AUTOPILOT": "/x"}) == Path("/x")
    assert journals_folder(os.environ).name == "autopilot"


def test_ten_failures_make_a_pause_of_a_minute_and_in_the_end_of_an_hour() -> None:
    backoff, chance, now, pauses = Backoff(), random.Random(2), 0.0, []
    for _ in range(30):
        backoff.fail("why", now, chance)
        pauses.append(backoff.left(now))
        now += pauses[-1] + 1
    assert pauses[:9] == [0.0] * 9
    assert 60 <= pauses[9] <= 90
    assert all(60 <= pause <= 3600 for pause in pauses[9:])
    assert pauses[-1] == 3600
    assert backoff.succeed()
    assert backoff.left(now) == 0
    assert not backoff.succeed()


def test_what_fails_in_a_pause_does_not_lengthen_it() -> None:
    backoff, chance = Backoff(), random.Random(2)
    for _ in range(50):
        backoff.fail("why", 0.0, chance)
    assert backoff.failures == 10
    assert backoff.left(0.0) <= 90


def test_a_clock_that_was_set_back_makes_no_pause_without_end() -> None:
    backoff = Backoff(failures=10, until=1e9)
    assert backoff.left(0.0) == 3600
