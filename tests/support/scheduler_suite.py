"""What every batch system's back end must do, on its commands as a fake shows them.

class TestPbs(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path, monkeypatch): ...    # a `Rig`
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from picas.errors import UsageError
from picas.schedulers.base import JobSpec, JobState, Rejected, SchedulerAway, SchedulerError
from picas.schedulers.book import GRACE, PATIENCE, Book
from support.fake_systems import FakeSystem

Said = Mapping[str, Any]
HANGS, LOST = 0.1, 0.5
"""Seconds after which a command is given up that never ends, and one that is to do its work before."""


class Clock:
    """Time as a test sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class Rig:
    """A scheduler with its fake, whose programs are on PATH.

    ``states`` are what the queue may say, and what that means; ``ends`` what is said of a job that has ended, with its
    exit code; ``unknown`` is a state in no table, of which ``quoted`` must be in the message.
    """

    scheduler: Any
    fake: FakeSystem
    clock: Clock
    spec: JobSpec
    states: Sequence[tuple[Said, JobState]]
    ends: Sequence[tuple[Said, JobState, int | None]]
    unknown: Said
    quoted: str
    strangers: Sequence[str] = ("", "-u", "1;2", "1 2", "all", "1\n", "../1", "١")

    def __post_init__(self) -> None:
        words = self.fake.words
        self.submit, self.queue, self.accounts, self.cancel = (
            words.submits, words.asks[0], words.accounts, words.cancels
        )  # fmt: skip

    def start(self, number: int = 1) -> list[str]:
        """Jobs, submitted."""
        return [self.scheduler.submit(replace(self.spec, name=f"picas-a-{n}")) for n in range(1, number + 1)]

    @contextlib.contextmanager
    def told(self, command: str, mode: str) -> Iterator[None]:
        """A command does so meanwhile, and is not waited for long when it hangs."""
        patience, self.scheduler.timeout = self.scheduler.timeout, {"hang": HANGS, "lost": LOST}.get(mode, 30.0)
        self.fake.tell(**{command: mode})
        yield
        self.fake.tell(**{command: ""})
        self.scheduler.timeout = patience

    def end(self, job_id: str, said: Said | None = None) -> None:
        """A job ends, as is said or else well; where there are accounts it leaves the queue."""
        self.fake.end(job_id, **(said or self.ends[0][0]))
        if self.accounts:
            self.fake.forget(job_id)

    def state(self, job_id: str) -> JobState | None:
        job = self.scheduler.status([job_id]).get(job_id)
        return None if job is None else job.state


@contextlib.contextmanager
def rig_of(scheduler: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **said: Any) -> Iterator[Rig]:
    """A rig for a pretended system; ``said`` is the rest of it."""
    with FakeSystem(folder / scheduler.name, scheduler.name) as fake:
        monkeypatch.setenv("PATH", fake.path())
        clock = Clock()
        scheduler.book, scheduler.timeout = Book(clock), 30.0
        yield Rig(scheduler=scheduler, fake=fake, clock=clock, spec=spec_in(folder), **said)


def spec_in(folder: Path) -> JobSpec:
    """A job like any other."""
    return JobSpec(name="picas-a-1", argv=["true"], folder=folder, cores=2, time=3600.0)


class SchedulerSuite:
    """The checks; each takes a fresh `rig`."""

    def test_a_job_is_submitted_with_its_script(self, rig: Rig) -> None:
        first, second = rig.start(2)
        assert first != second
        assert set(rig.fake.jobs) == {first, second}
        assert rig.fake.jobs[first].name == "picas-a-1"
        assert rig.fake.jobs[first].script.strip() in rig.scheduler.script(replace(rig.spec, name="picas-a-1"))

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
        with rig.told(rig.queue, "fail"):
            with pytest.raises(SchedulerAway):
                rig.scheduler.status([job])
            rig.clock.now += 10 * GRACE
        assert rig.state(job) is JobState.PENDING

    @pytest.mark.parametrize("mode", ["fail", "hang", "garbage", "partial"])
    def test_a_queue_that_cannot_tell_says_nothing_of_any_job(self, rig: Rig, mode: str) -> None:
        first, second = rig.start(2)
        assert rig.state(first) is JobState.PENDING
        with rig.told(rig.queue, mode):
            for _ in range(2):
                with pytest.raises(SchedulerAway):
                    rig.scheduler.status([first, second])
                rig.clock.now += 10 * PATIENCE
        assert {job.state for job in rig.scheduler.status([first, second]).values()} == {JobState.PENDING}

    def test_a_table_that_is_cut_off_anywhere_says_nothing_that_is_not_so(self, rig: Rig) -> None:
        """Rows may be missing where nothing shows that there were more; none is another than it was."""
        jobs = rig.start(2)
        with rig.told(rig.queue, "partial"):
            for percent in range(0, 100, 4):
                rig.fake.cut = percent / 100
                with contextlib.suppress(SchedulerAway):
                    assert {job.state for job in rig.scheduler.status(jobs).values()} <= {JobState.PENDING}
                with contextlib.suppress(SchedulerAway):
                    found = {(job.id, job.name) for job in rig.scheduler.find("picas-")}
                    assert found <= set(zip(jobs, ("picas-a-1", "picas-a-2"), strict=True))

    def test_accounts_that_are_away_are_waited_for(self, rig: Rig) -> None:
        if not rig.accounts or rig.accounts == rig.queue:
            pytest.skip("its accounts are its queue")
        ended, there = rig.start(2)
        rig.end(ended)
        with rig.told(rig.accounts, "fail"):
            for _ in range(2):
                assert set(rig.scheduler.status([ended, there])) == {there}
                rig.clock.now += GRACE + 1
        assert rig.state(ended) is rig.ends[0][1]

    def test_a_queue_that_shows_nothing_does_not_end_jobs(self, rig: Rig) -> None:
        jobs = rig.start(2)
        with rig.told(rig.queue, "empty"), contextlib.suppress(SchedulerAway):
            assert not any(job.state.is_final for job in rig.scheduler.status(jobs).values())
        rig.fake.tell(**{rig.queue: ""})
        assert len(rig.scheduler.status(jobs)) == 2

    def test_a_refused_job_was_not_submitted(self, rig: Rig) -> None:
        with rig.told(rig.submit, "limit"), pytest.raises(Rejected) as caught:
            rig.start()
        assert rig.submit in str(caught.value)
        assert rig.fake.jobs == {}

    @pytest.mark.parametrize("mode", ["fail", "hang", "lost", "broken", "garbage", "partial", "empty"])
    def test_what_became_of_a_job_is_found_out_where_the_answer_was_lost(self, rig: Rig, mode: str) -> None:
        rig.fake.next_id, rig.fake.cut = 12345, 0.7
        with rig.told(rig.submit, mode), pytest.raises(SchedulerAway):
            rig.start()
        found = rig.scheduler.find("picas-a-")
        assert [(job.name, job.id) for job in found] == [("picas-a-1", job_id) for job_id in rig.fake.jobs]

    def test_find_shows_what_has_not_ended_and_is_named_so(self, rig: Rig) -> None:
        first, second, third = rig.start(3)
        rig.scheduler.submit(replace(rig.spec, name="other-1"))
        rig.end(second)
        assert [(job.id, job.name) for job in rig.scheduler.find("picas-a-")] == [
            (first, "picas-a-1"),
            (third, "picas-a-3"),
        ]
        assert rig.scheduler.find("nobody-") == []
        with rig.told(rig.queue, "fail"), pytest.raises(SchedulerAway):
            rig.scheduler.find("picas-a-")

    def test_find_shows_what_belongs_together_by_the_beginning_of_its_names(self, rig: Rig) -> None:
        """As an autopilot's jobs do, whose names have their kinds in them, too."""
        names = ["picas-here-ab12c-one-xyz", "picas-here-ab12c-four-abc"]
        for name in names:
            rig.scheduler.submit(replace(rig.spec, name=name, group="picas-here-ab12c-"))
        rig.scheduler.submit(replace(rig.spec, name="picas-here-fffff-one-xyz", group="picas-here-fffff-"))
        assert [job.name for job in rig.scheduler.find("picas-here-ab12c-")] == names

    def test_cancel_ends_jobs_and_bears_those_that_have_ended(self, rig: Rig) -> None:
        first, second = rig.start(2)
        rig.scheduler.cancel([])
        assert rig.fake.calls(rig.cancel) == []
        rig.fake.set(first, **rig.fake.words.running, **rig.fake.words.on("n1"))
        rig.scheduler.cancel([first])
        assert rig.state(first) is JobState.CANCELLED
        assert rig.state(second) is JobState.PENDING
        rig.scheduler.cancel([first])
        rig.scheduler.cancel([first, second])
        # One that had not begun leaves no record everywhere.
        assert rig.state(second) in (JobState.CANCELLED, None)
        assert rig.scheduler.find("picas-a-") == []

    @pytest.mark.parametrize("mode", ["fail", "hang"])
    def test_a_cancel_that_is_not_heard_is_said(self, rig: Rig, mode: str) -> None:
        (job,) = rig.start()
        with rig.told(rig.cancel, mode), pytest.raises(SchedulerAway):
            rig.scheduler.cancel([job])

    def test_one_command_for_all_jobs_and_one_more_for_those_that_left(self, rig: Rig) -> None:
        jobs = rig.start(5)
        rig.end(jobs[1])
        assert len(rig.scheduler.status(jobs)) == 5
        asked = {name: len(rig.fake.calls(name)) for name in (rig.queue, rig.accounts) if name}
        assert asked == ({rig.queue: 2} if rig.accounts == rig.queue else dict.fromkeys(asked, 1))
        assert len(rig.scheduler.status([jobs[1]])) == 1
        assert rig.scheduler.status([]) == {}
        # It has ended, and nothing was asked for: nobody was asked.
        assert asked == {name: len(rig.fake.calls(name)) for name in asked}

    def test_two_thousand_jobs_are_a_few_calls(self, rig: Rig) -> None:
        (job,) = rig.start()
        jobs = [job.replace("1", str(number), 1) for number in range(1, 2001)]
        for job_id in jobs:
            rig.fake.set(job_id)
        assert {found.state for found in rig.scheduler.status(jobs).values()} == {JobState.PENDING}
        assert len(rig.scheduler.status(jobs)) == 2000
        assert len(rig.fake.calls(rig.queue)) == 4
        assert len(rig.scheduler.find("picas-a-")) == 1

    def test_other_jobs_of_the_user_and_arrays_are_no_matter(self, rig: Rig) -> None:
        jobs = rig.start(2)
        said = rig.scheduler.status(jobs)
        rig.fake.others += rig.fake.words.array(90_000)
        assert rig.scheduler.status(jobs) == said
        assert {job.id for job in rig.scheduler.find("picas-a-")} == set(jobs)

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
        assert "hush-1234" not in rig.fake.jobs[job].script
