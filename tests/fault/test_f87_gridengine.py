"""F87: what a real GridEngine can do to a job. The back end tells how it ended, and pilots there hand tokens back."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from picas.schedulers import gridengine as back_end
from picas.schedulers.base import Job, JobSpec, JobState, Rejected, SchedulerAway
from picas.schedulers.book import GRACE, Book
from support.checker import SIDE
from support.daemons import until
from support.gridengine import GridEngine
from support.pilots import Site
from support.scheduler_suite import Clock

SLEEP = "exec sleep 600"


class Jobs:
    """Jobs of the cluster, by way of the back end."""

    def __init__(self, cluster: GridEngine, folder: Path) -> None:
        self.cluster = cluster
        self.batch = back_end.make()
        self.clock = Clock()
        self.batch.book = Book(self.clock)
        self.spec = JobSpec(name="job", argv=["true"], folder=folder)
        self.ids: list[str] = []

    def submit(self, script: str, *native: str, time: float | None = None) -> str:
        return self.start(replace(self.spec, argv=["sh", "-c", script], native=native, time=time))

    def start(self, spec: JobSpec) -> str:
        self.ids.append(self.batch.submit(spec))
        return self.ids[-1]

    def state(self, job_id: str) -> JobState | None:
        job = self.batch.status([job_id]).get(job_id)
        return None if job is None else job.state

    def until(self, job_id: str, state: JobState, seconds: float = 60.0) -> Job:
        seen: set[JobState | None] = set()

        def is_there() -> bool:
            seen.add(found := self.state(job_id))
            return found is state

        try:
            until(f"job {job_id} is {state}", is_there, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {sorted(map(str, seen))}") from None
        return self.batch.status([job_id])[job_id]


@pytest.fixture
def jobs(gridengine: GridEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    for name, value in gridengine.environ.items():
        monkeypatch.setenv(name, value)
    made = Jobs(gridengine, tmp_path)
    yield made
    with contextlib.suppress(SchedulerAway):
        made.batch.cancel(made.ids)


def test_f87_gridengine_ends_of_their_own(jobs: Jobs) -> None:
    """F87: jobs end by themselves: well, with an exit code, or by a signal. They are done or failed."""
    well, badly, killed = jobs.submit("exit 0"), jobs.submit("exit 3"), jobs.submit("kill -SEGV $$")

    assert jobs.until(well, JobState.DONE).exit_code == 0
    assert jobs.until(badly, JobState.FAILED).exit_code == 3
    assert jobs.until(killed, JobState.FAILED).exit_code == -11


def test_f87_gridengine_qdel(jobs: Jobs) -> None:
    """F87: a job that runs is deleted. It is ending, then cancelled. One that waits leaves no trace, and is gone."""
    deaf = jobs.spec.folder / "deaf"
    with jobs.cluster.impatient():
        running, waiting = jobs.submit(f"trap '' USR2; touch {deaf}; {SLEEP[5:]}"), jobs.submit(SLEEP, "-h")
        jobs.until(running, JobState.RUNNING)
        until("it takes no notice of its warning", deaf.exists, 30.0)
        jobs.until(waiting, JobState.HELD)

        jobs.batch.cancel([running, waiting])
        jobs.until(running, JobState.ENDING)
        jobs.batch.cancel([running, waiting])

        assert jobs.until(running, JobState.CANCELLED).exit_code == -9
    assert jobs.state(waiting) is None
    jobs.clock.now += GRACE + 1
    assert jobs.state(waiting) is JobState.GONE
    assert jobs.state(running) is not JobState.GONE


def test_f87_gridengine_time(jobs: Jobs) -> None:
    """F87: the time of a job is over. It is said so, also of one that takes no notice of its warning."""
    with jobs.cluster.impatient():
        sleeps, deaf = jobs.submit(SLEEP, time=2.0), jobs.submit("trap '' USR2; sleep 600", time=2.0)

        assert {jobs.until(job, JobState.TIMEOUT).state for job in (sleeps, deaf)} == {JobState.TIMEOUT}


def test_f87_gridengine_cannot_start(jobs: Jobs) -> None:
    """F87: a job cannot be started. It is held until somebody looks, and never taken for running or ended."""
    job = jobs.start(replace(jobs.spec, argv=["true"], native=["-wd", "/no/such/folder"]))

    assert jobs.until(job, JobState.HELD).reason == "Eqw"


def test_f87_gridengine_nodes_to_avoid(jobs: Jobs) -> None:
    """F87: nodes are to be avoided. A job runs on another one; where there is none, it waits and is not run."""
    (host,) = jobs.cluster.run("qconf", "-sel").split()
    waits = jobs.start(replace(jobs.spec, avoid=["no-such-host", host]))
    runs = jobs.start(replace(jobs.spec, avoid=["no-such-host", "nor-this"]))

    assert jobs.until(runs, JobState.DONE).exit_code == 0
    assert jobs.state(waits) is JobState.PENDING


def test_f87_gridengine_refuses_and_is_away(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """F87: a job is refused, which nothing comes of; the master is away, which says nothing of any job."""
    job = jobs.submit(SLEEP)
    jobs.until(job, JobState.RUNNING)
    for native in (["-q", "nosuch.q"], ["-l", "nosuch=1"], ["-pe", "nosuch", "2"]):
        with pytest.raises(Rejected, match="qsub: Unable to run job"):
            jobs.batch.submit(replace(jobs.spec, name="bad", native=native))
    assert jobs.batch.find("bad") == []

    monkeypatch.setenv("SGE_QMASTER_PORT", "9")
    for _ in range(2):
        with pytest.raises(SchedulerAway):
            jobs.batch.status([job])
        jobs.clock.now += 10 * GRACE
    for call in (
        lambda: jobs.batch.submit(jobs.spec),
        lambda: jobs.batch.cancel([job]),
        lambda: jobs.batch.find("job"),
    ):
        with pytest.raises(SchedulerAway):
            call()

    monkeypatch.setenv("SGE_QMASTER_PORT", jobs.cluster.environ["SGE_QMASTER_PORT"])
    assert jobs.state(job) is JobState.RUNNING


def test_f87_gridengine_takes_what_cannot_run_yet(jobs: Jobs) -> None:
    """F87: no queue takes this user's jobs at present. ``qsub`` warns, with exit code 1, and takes one: it waits."""
    jobs.cluster.run("qconf", "-mattr", "queue", "user_lists", "deadlineusers", "all.q")
    try:
        job = jobs.start(replace(jobs.spec, name="picas-w-1"))
    finally:
        jobs.cluster.run("qconf", "-dattr", "queue", "user_lists", "deadlineusers", "all.q")

    assert jobs.until(job, JobState.DONE).name == "picas-w-1"


def _pilot(site: Site, jobs: Jobs, number: int) -> str:
    words = [sys.executable, "-m", "picas", "run", "--cores", "2", "--grace", "1s", "--pool", str(site.pool.url)]
    return jobs.start(
        replace(
            jobs.spec, name=f"picas-a-{number}", argv=words, cores=2, environment={"SIDE": str(site.side)}, time=600.0
        )
    )


def test_f87_gridengine_pilots(site: Site, jobs: Jobs) -> None:
    """F87: four jobs are pilots. Each token is run once, and the jobs end well."""
    site.add(*[["sh", "-c", SIDE]] * 40)

    pilots = [_pilot(site, jobs, number) for number in range(4)]

    assert {jobs.until(job, JobState.DONE).exit_code for job in pilots} == {0}
    assert {state_of(site.doc(token)) for token in site.ids} == {State.DONE}
    assert len(site.lines()) == 40


def test_f87_gridengine_deleted_pilot(site: Site, jobs: Jobs) -> None:
    """F87: the job of a pilot is deleted. It is warned (USR2), and gives its tokens back at no cost to them."""
    site.add(*[["sh", "-c", 'echo started >> "$SIDE"; exec sleep 600']] * 2)
    job = _pilot(site, jobs, 1)
    until("both run", lambda: site.lines().count("started") == 2, 60.0)

    jobs.batch.cancel([job])

    assert jobs.until(job, JobState.DONE).exit_code == 0
    for token in site.ids:
        doc = site.doc(token)
        assert (state_of(doc), doc["released"], doc["scrub_count"]) == (State.TODO, 1, 0)
        assert doc.get("lost", 0) == 0
