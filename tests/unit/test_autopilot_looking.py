"""What a batch system's word is worth: adopted, given up, or waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from picas.autopilot.entries import Entry, fresh_name, kind_of, prefix_of
from picas.autopilot.looking import ACCOUNTS, Ended, look
from picas.schedulers.base import Job, JobSpec, JobState, SchedulerAway

PREFIX = "picas-s-00000-"
NAME = f"{PREFIX}k-aaaaaa"


@dataclass
class Says:
    """A scheduler that says what it is told to."""

    name: str = "says"
    queue: list[Job] = field(default_factory=list)
    accounts: dict[str, Job] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def script(self, spec: JobSpec) -> str:
        return spec.name

    def submit(self, spec: JobSpec) -> str:
        raise AssertionError

    def cancel(self, ids: Sequence[str]) -> None:
        raise AssertionError

    def find(self, prefix: str) -> list[Job]:
        self.asked.append("find")
        return [job for job in self.queue if job.name.startswith(prefix)]

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        self.asked.append("status")
        if self.away:
            raise SchedulerAway("away")
        return {job_id: self.accounts[job_id] for job_id in ids if job_id in self.accounts}


def _job(state: JobState = JobState.RUNNING, name: str = NAME, job_id: str = "1", **said: object) -> Job:
    return Job(id=job_id, name=name, state=state, **said)  # type: ignore[arg-type]


def _entry(job_id: str = "1", name: str = NAME) -> Entry:
    return Entry(name=name, kind="k", at=0.0, id=job_id)


def _look(says: Says, jobs: dict[str, Entry], now: float, alive: Sequence[str] = ()) -> tuple[list[Entry], list[Ended]]:
    return look(says, jobs, prefix=PREFIX, alive=alive, grace=600.0, now=now)


def test_a_job_that_nobody_knew_is_adopted_with_its_kind() -> None:
    jobs: dict[str, Entry] = {}
    adopted, ended = _look(Says(queue=[_job()]), jobs, 5.0)
    assert [(entry.id, entry.kind, entry.state) for entry in adopted] == [("1", "k", JobState.RUNNING)]
    assert jobs[NAME] is adopted[0]
    assert ended == []


def test_one_in_doubt_is_found_by_its_name() -> None:
    jobs = {NAME: _entry("")}
    adopted, _ = _look(Says(queue=[_job()]), jobs, 5.0)
    assert adopted == []
    assert jobs[NAME].id == "1"
    assert not jobs[NAME].in_doubt


def test_two_jobs_of_one_name_both_count() -> None:
    jobs = {NAME: _entry("1")}
    _look(Says(queue=[_job(), _job(job_id="2")]), jobs, 5.0)
    assert sorted(entry.id for entry in jobs.values()) == ["1", "2"]


def test_how_it_ended_is_believed_at_once() -> None:
    jobs = {NAME: _entry()}
    _, (ended,) = _look(Says(accounts={"1": _job(JobState.FAILED, exit_code=3, node="n1")}), jobs, 5.0)
    assert (ended.job.exit_code, ended.job.node) == (3, "n1")
    assert jobs == {}


def test_not_as_long_as_its_pilot_is_alive() -> None:
    jobs = {NAME: _entry()}
    _, ended = _look(Says(accounts={"1": _job(JobState.DONE)}), jobs, 5.0, alive=[NAME])
    assert ended == []
    assert jobs[NAME].state is JobState.ENDING


@pytest.mark.parametrize(
    ("accounts", "patience"),
    [
        ({"1": _job(JobState.GONE)}, 600.0),
        ({"1": _job(JobState.RUNNING, name="somebody-elses")}, 600.0),
        ({}, ACCOUNTS),
    ],
    ids=["gone", "its id is another's", "nothing is said"],
)
def test_one_that_is_nowhere_is_given_up_in_time(accounts: dict[str, Job], patience: float) -> None:
    jobs, says = {NAME: _entry()}, Says(accounts=accounts)
    for now in (0.0, 60.0, patience - 1):
        assert _look(says, jobs, now)[1] == []
    (ended,) = _look(says, jobs, patience)[1]
    assert ended.job.state is JobState.GONE
    assert jobs == {}


def test_time_alone_is_not_enough_it_must_be_missed_again_and_again() -> None:
    jobs, says = {NAME: _entry("")}, Says()
    assert _look(says, jobs, 0.0)[1] == []
    assert _look(says, jobs, 90_000.0)[1] == []
    assert len(_look(says, jobs, 90_001.0)[1]) == 1


def test_one_that_comes_back_was_never_away() -> None:
    jobs, says = {NAME: _entry()}, Says()
    for now in (0.0, 60.0, 1700.0):
        _look(says, jobs, now)
    says.queue = [_job()]
    _look(says, jobs, 1750.0)
    says.queue = []
    for now in (1800.0, 1860.0, 3500.0):
        assert _look(says, jobs, now)[1] == []
    assert NAME in jobs


def test_accounts_that_cannot_be_asked_change_nothing() -> None:
    jobs = {NAME: _entry()}
    says = Says(queue=[_job(name=f"{PREFIX}k-bbbbbb", job_id="2")], away=True)
    with pytest.raises(SchedulerAway):
        _look(says, jobs, 5.0)
    assert list(jobs) == [NAME]


def test_what_is_in_the_queue_is_one_command() -> None:
    says = Says(queue=[_job()])
    _look(says, {NAME: _entry()}, 5.0)
    assert says.asked == ["find"]


def test_names_tell_pool_site_and_kind_apart() -> None:
    prefix = prefix_of("couchdb://h/p", "spider")
    assert prefix != prefix_of("couchdb://h/q", "spider")
    name = fresh_name(prefix, "four_core", ())
    assert kind_of(prefix, name) == "four_core"
    assert kind_of(prefix, "somebody-elses") == ""
    assert name not in {fresh_name(prefix, "four_core", {name}) for _ in range(100)}
