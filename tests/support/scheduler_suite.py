"""What every batch system's back end must do, on its commands as a fake shows them.

class TestPbs(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path, monkeypatch): ...    # a `Rig`
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from picas.errors import UsageError
from picas.schedulers.base import JobSpec, JobState, Rejected, SchedulerAway, SchedulerError
from picas.schedulers.book import GRACE, PATIENCE, Book
from support.fake_systems import FakeBatch

Said = Mapping[str, Any]


class Clock:
    """Time as a test sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class Rig:
    """A scheduler with its fake; ``submit queue accounts cancel`` are its commands' names (``accounts`` may be none).

    ``states`` are what the queue may say, and what that means; ``ends`` what is said of a job that has left it, with
    its exit code; ``unknown`` is a state in no table, of which ``quoted`` must be in the message.
    """

    scheduler: Any
    fake: Any
    clock: Clock
    spec: JobSpec
    submit: str
    queue: str
    accounts: str
    cancel: str
    states: Sequence[tuple[Said, JobState]]
    ends: Sequence[tuple[Said, JobState, int | None]]
    unknown: Said
    quoted: str
    strangers: Sequence[str] = ("", "-u", "1;2", "1 2", "all", "1\n", "../1", "١")

    def start(self, number: int = 1) -> list[str]:
        """Jobs, submitted."""
        return [self.scheduler.submit(replace(self.spec, name=f"picas-a-{n}")) for n in range(1, number + 1)]

    def patience(self, seconds: float) -> None:
        """How long a command may take."""
        setattr(self.scheduler, "timeout" if hasattr(self.scheduler, "timeout") else "_timeout", seconds)

    def tell(self, command: str, mode: str) -> None:
        self.fake.tell(**{command: mode})

    def state(self, job_id: str) -> JobState | None:
        job = self.scheduler.status([job_id]).get(job_id)
        return None if job is None else job.state

    def end(self, job_id: str, said: Said) -> None:
        """The job has ended so; where there are accounts it has left the queue."""
        self.fake.set(job_id, **said)
        if self.accounts:
            self.fake.forget(job_id)


def rig_of(scheduler: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **said: Any) -> Rig:
    """A rig for one of the systems in ``fake_systems``, its programs on PATH; ``said`` is the rest of it."""
    fake, clock = FakeBatch(folder / scheduler.name, scheduler.name), Clock()
    monkeypatch.setenv("PATH", fake.path())
    scheduler.book = Book(clock)
    return Rig(scheduler=scheduler, fake=fake, clock=clock, spec=spec_in(folder), **said)


def spec_in(folder: Path) -> JobSpec:
    """A job like any other."""
    return JobSpec(name="picas-a-1", argv=["true"], folder=folder, cores=2, time=3600.0)


class SchedulerSuite:
    """The checks; each takes a fresh `rig`."""

    def test_a_job_is_submitted_with_its_script(self, rig: Rig) -> None:
        first, second = rig.start(2)
        assert first != second
        assert set(rig.fake.jobs) == {first, second}
        assert rig.fake.jobs[first]["name"] == "picas-a-1"
        assert rig.fake.jobs[first]["script"].strip() in rig.scheduler.script(replace(rig.spec, name="picas-a-1"))

    def test_each_state_of_the_queue(self, rig: Rig) -> None:
        (job,) = rig.start()
        for said, state in rig.states:
            rig.fake.set(job, **said)
            assert rig.state(job) is state, said
            assert not state.is_final, said

    def test_each_end_and_that_it_stays(self, rig: Rig) -> None:
        for number, (said, state, code) in enumerate(rig.ends, start=1):
            job = rig.scheduler.submit(replace(rig.spec, name=f"picas-b-{number}"))
            rig.end(job, said)
            found = rig.scheduler.status([job])[job]
            assert (found.state, found.exit_code) == (state, code), said
            rig.fake.forget(job, accounts=True)
            assert rig.scheduler.status([job]) == {job: found}

    def test_an_unknown_state_is_an_error_that_quotes_it(self, rig: Rig) -> None:
        (job,) = rig.start()
        rig.fake.set(job, **rig.unknown)
        with pytest.raises(SchedulerError, match=rig.quoted) as caught:
            rig.scheduler.status([job])
        assert not isinstance(caught.value, SchedulerAway)

    def test_a_job_that_nobody_knows_is_gone_after_a_while_and_never_done(self, rig: Rig) -> None:
        lost, there = rig.start(2)
        rig.fake.forget(lost, accounts=True)
        assert set(rig.scheduler.status([lost, there])) == {there}
        rig.clock.now += GRACE - 1
        assert set(rig.scheduler.status([lost, there])) == {there}
        rig.clock.now += 2
        assert rig.scheduler.status([lost, there])[lost].state is JobState.GONE
        assert not rig.scheduler.status([there])[there].state.is_final

    def test_a_job_that_is_back_was_not_gone(self, rig: Rig) -> None:
        (job,) = rig.start()
        rig.tell(rig.queue, "fail")
        with pytest.raises(SchedulerAway):
            rig.scheduler.status([job])
        rig.clock.now += 10 * GRACE
        rig.tell(rig.queue, "")
        assert rig.state(job) is JobState.PENDING

    @pytest.mark.parametrize("mode", ["fail", "hang", "garbage", "partial"])
    def test_a_queue_that_cannot_tell_says_nothing_of_any_job(self, rig: Rig, mode: str) -> None:
        first, second = rig.start(2)
        assert rig.state(first) is JobState.PENDING
        rig.tell(rig.queue, mode)
        for _ in range(2):
            rig.patience(1.0 if mode == "hang" else 30.0)
            with pytest.raises(SchedulerAway):
                rig.scheduler.status([first, second])
            rig.clock.now += 10 * PATIENCE
        rig.patience(30.0)
        rig.tell(rig.queue, "")
        assert {job.state for job in rig.scheduler.status([first, second]).values()} == {JobState.PENDING}

    def test_accounts_that_are_away_are_waited_for(self, rig: Rig) -> None:
        if not rig.accounts or rig.accounts == rig.queue:
            pytest.skip("its accounts are its queue")
        ended, there = rig.start(2)
        said, state, _ = rig.ends[0]
        rig.end(ended, said)
        rig.tell(rig.accounts, "fail")
        for _ in range(2):
            assert set(rig.scheduler.status([ended, there])) == {there}
            rig.clock.now += GRACE + 1
        rig.tell(rig.accounts, "")
        assert rig.state(ended) is state

    def test_a_queue_that_shows_nothing_does_not_end_jobs(self, rig: Rig) -> None:
        jobs = rig.start(2)
        rig.tell(rig.queue, "empty")
        with contextlib.suppress(SchedulerAway):
            assert not any(job.state.is_final for job in rig.scheduler.status(jobs).values())
        rig.tell(rig.queue, "")
        assert len(rig.scheduler.status(jobs)) == 2

    def test_a_refused_job_was_not_submitted(self, rig: Rig) -> None:
        rig.tell(rig.submit, "limit")
        with pytest.raises(Rejected) as caught:
            rig.start()
        assert rig.submit in str(caught.value)
        assert rig.fake.jobs == {}

    @pytest.mark.parametrize("mode", ["fail", "hang", "lost", "garbage", "empty"])
    def test_what_became_of_a_job_is_found_out_where_the_answer_was_lost(self, rig: Rig, mode: str) -> None:
        rig.tell(rig.submit, mode)
        rig.patience(1.0 if mode in ("hang", "lost") else 30.0)
        with pytest.raises(SchedulerAway):
            rig.start()
        rig.patience(30.0)
        found = rig.scheduler.find("picas-a-")
        assert [(job.name, job.id) for job in found] == [("picas-a-1", job_id) for job_id in rig.fake.jobs]

    def test_find_shows_what_has_not_ended_and_is_named_so(self, rig: Rig) -> None:
        first, second, third = rig.start(3)
        rig.scheduler.submit(replace(rig.spec, name="other-1"))
        rig.end(second, rig.ends[0][0])
        assert [(job.id, job.name) for job in rig.scheduler.find("picas-a-")] == [
            (first, "picas-a-1"),
            (third, "picas-a-3"),
        ]
        assert rig.scheduler.find("nobody-") == []
        rig.tell(rig.queue, "fail")
        with pytest.raises(SchedulerAway):
            rig.scheduler.find("picas-a-")

    def test_cancel_ends_jobs_and_bears_those_that_have_ended(self, rig: Rig) -> None:
        first, second = rig.start(2)
        rig.scheduler.cancel([])
        assert rig.fake.calls(rig.cancel) == []
        rig.scheduler.cancel([first])
        assert rig.state(first) is JobState.CANCELLED
        assert rig.state(second) is JobState.PENDING
        rig.scheduler.cancel([first])
        rig.scheduler.cancel([first, second])
        assert rig.state(second) is JobState.CANCELLED

    @pytest.mark.parametrize("mode", ["fail", "hang"])
    def test_a_cancel_that_is_not_heard_is_said(self, rig: Rig, mode: str) -> None:
        (job,) = rig.start()
        rig.tell(rig.cancel, mode)
        rig.patience(1.0 if mode == "hang" else 30.0)
        with pytest.raises(SchedulerAway):
            rig.scheduler.cancel([job])

    def test_one_command_for_all_jobs_and_one_more_for_those_that_left(self, rig: Rig) -> None:
        jobs = rig.start(5)
        rig.end(jobs[1], rig.ends[0][0])
        assert len(rig.scheduler.status(jobs)) == 5
        asked = {name: len(rig.fake.calls(name)) for name in (rig.queue, rig.accounts) if name}
        assert asked == ({rig.queue: 2} if rig.accounts == rig.queue else dict.fromkeys(asked, 1))
        assert len(rig.scheduler.status([jobs[1]])) == 1
        assert rig.scheduler.status([]) == {}
        # It has ended, and nothing was asked for: nobody was asked.
        assert asked == {name: len(rig.fake.calls(name)) for name in asked}

    def test_what_is_no_id_reaches_no_command(self, rig: Rig) -> None:
        for text in rig.strangers:
            with pytest.raises(UsageError):
                rig.scheduler.status([text])
            with pytest.raises(UsageError):
                rig.scheduler.cancel([text])
        assert rig.fake.calls(rig.queue) == rig.fake.calls(rig.cancel) == []

    def test_no_secret_reaches_a_command(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """S4 and S5."""
        for name in ("PICAS_PASSWORD", "PGPASSWORD"):
            monkeypatch.setenv(name, "hush-1234")
        (job,) = rig.start()
        assert "hush-1234" not in str(rig.fake.calls(rig.submit))
        assert "hush-1234" not in str(rig.fake.environments(rig.submit))
        assert "hush-1234" not in rig.fake.jobs[job]["script"]
