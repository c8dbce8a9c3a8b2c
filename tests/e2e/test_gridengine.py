"""Pilots on a real GridEngine, by the commands that a user has."""

from __future__ import annotations

from pathlib import Path

import pytest

from picas.lifecycle import State
from support.gridengine import GridEngine
from support.pilot_jobs import SLEEPS, TOGETHER, PilotJobs


@pytest.fixture
def pilots(gridengine: GridEngine, tmp_path: Path) -> PilotJobs:
    jobs = PilotJobs("gridengine", tmp_path, gridengine.environ)
    jobs.picas.inside("init")
    return jobs


def test_four_pilots_work_two_hundred_tokens(gridengine: GridEngine, pilots: PilotJobs) -> None:
    """All of them take part, no token is run twice, and the jobs end well and are listed no more."""
    pilots.add(*[TOGETHER] * 200)

    jobs = pilots.submit("-n", "4")

    accounts = [gridengine.ended(job, 120) for job in jobs]
    assert [(one["failed"], one["exit_status"]) for one in accounts] == [("0", "0")] * 4, pilots.said()
    assert len(list(pilots.folder.glob("at-work-*"))) == 4
    pilots.assert_all_done_once()
    assert pilots.listed() == []


def test_a_pilot_ends_before_its_time_limit(gridengine: GridEngine, pilots: PilotJobs) -> None:
    """What it could not finish waits again, uncharged, before GridEngine would have ended the job."""
    pilots.add(*[SLEEPS] * 2)

    (job,) = pilots.submit("--cores", "2", "--time", "60s", "--warning", "56s", "--grace", "1s")

    account = gridengine.ended(job, 60)
    assert (account["failed"], account["exit_status"], account["slots"]) == ("0", "0", "2"), pilots.said()
    pilots.assert_given_back()


def test_qdel_costs_tokens_nothing(gridengine: GridEngine, pilots: PilotJobs) -> None:
    """The pilot is told some seconds before it is killed, and gives back what it has."""
    pilots.add(*[SLEEPS] * 2)
    (job,) = pilots.submit("--cores", "2", "--grace", "1s")
    pilots.until_started(2)

    gridengine.run("qdel", job)

    gridengine.ended(job)
    pilots.until_settled(State.TODO)
    pilots.assert_given_back()
