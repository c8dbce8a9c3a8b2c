"""F87: what a real Slurm can do to a job. The back end tells how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas.schedulers.base import Job, JobSpec, JobState, Rejected, Scheduler, SchedulerAway
from picas.schedulers.sites import scheduler
from picas.schedulers.slurm import Slurm as SlurmBackEnd
from support.daemons import until
from support.slurm import Slurm, get_slurm

SLEEP = "exec sleep 600"


class Jobs:
    """Jobs of one cluster, by way of the back end."""

    def __init__(self, cluster: Slurm, folder: Path, batch: Scheduler | None = None) -> None:
        self.cluster = cluster
        self.folder = folder
        self.batch = batch or scheduler("slurm")

    def submit(self, script: str, *native: str, time: float | None = None, **asked: Any) -> str:
        spec = JobSpec(
            name="job",
            argv=["sh", "-c", script],
            folder=self.folder,
            time=time,
            warning=30.0,
            native=native,
            **asked,
        )
        return self.batch.submit(spec)

    def running(self, script: str, *native: str, **asked: float) -> str:
        job_id = self.submit(script, *native, **asked)  # type: ignore[arg-type]
        self.cluster.wait(job_id, "RUNNING")
        return job_id

    def ended(self, job_id: str, seconds: float = 30.0) -> Job:
        """Ask until it has ended; it must be seen in no other state after that."""
        until(f"job {job_id} has ended", lambda: self.state(job_id).is_final, seconds)
        return self.batch.status([job_id])[job_id]

    def state(self, job_id: str) -> JobState:
        return self.batch.status([job_id])[job_id].state


@pytest.fixture
def jobs(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("SLURM_CONF", slurm.environ["SLURM_CONF"])
    yield Jobs(slurm, tmp_path)
    slurm.clear()


@pytest.fixture
def own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """On a cluster for one test, that soon notices a dead node, and soon forgets."""
    with get_slurm(SlurmdTimeout="10", MinJobAge="5") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environ["SLURM_CONF"])
        yield Jobs(cluster, tmp_path)


def test_f87_ends_of_their_own(jobs: Jobs) -> None:
    """F87: jobs end by themselves: well, with an exit code, or by a signal. They are done or failed."""
    well, badly, killed = jobs.submit("exit 0"), jobs.submit("exit 3"), jobs.submit("kill -9 $$")

    assert [jobs.ended(one).state for one in (well, badly, killed)] == ["done", "failed", "failed"]


def test_f87_scancel(jobs: Jobs) -> None:
    """F87: jobs are cancelled while they run, wait or are held. They are cancelled; it is no error to do it again."""
    running = jobs.running(SLEEP)
    waiting = jobs.submit(SLEEP, "--begin=now+3600")
    held = jobs.submit(SLEEP, "--hold")
    assert [jobs.state(one) for one in (running, waiting, held)] == ["running", "pending", "held"]

    jobs.batch.cancel([running, waiting, held])

    assert {jobs.ended(one).state for one in (running, waiting, held)} == {JobState.CANCELLED}
    jobs.batch.cancel([running, waiting, held])


def test_f87_preemption(jobs: Jobs) -> None:
    """F87: a job has to make room for an urgent one. It is preempted."""
    pushed = jobs.running(SLEEP, "--nodelist=n2", "--exclusive")

    urgent = jobs.submit("exit 0", "--partition=urgent", "--nodelist=n2", "--exclusive")

    assert jobs.ended(pushed).state == JobState.PREEMPTED
    assert jobs.ended(urgent).state == JobState.DONE


def test_f87_node_is_taken_down(jobs: Jobs) -> None:
    """F87: the administrator takes a node down. Its jobs have ended with their node, the others go on."""
    lost, stays = jobs.running(SLEEP, "--nodelist=n1"), jobs.running(SLEEP, "--nodelist=n2")

    jobs.cluster.run("scontrol", "update", "nodename=n1", "state=down", "reason=a test")

    assert jobs.ended(lost).state == JobState.NODE
    assert jobs.state(stays) == JobState.RUNNING


def test_f87_memory(jobs: Jobs) -> None:
    """F87: a job takes more memory than it asked for. It has failed; without control groups Slurm does not say why."""
    greedy = jobs.submit("x=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 60", memory=50 << 20)

    assert jobs.ended(greedy).state in (JobState.FAILED, JobState.MEMORY)


def test_f87_requeue(jobs: Jobs) -> None:
    """F87: a job is requeued by hand, though none asks for it. It waits and runs under its id, and has not ended."""
    again = jobs.running(SLEEP, "--requeue")

    jobs.cluster.requeue(again)

    jobs.cluster.wait(again, "RUNNING")
    assert jobs.state(again) == JobState.RUNNING
    jobs.batch.cancel([again])
    assert jobs.ended(again).state == JobState.CANCELLED


def test_f87_drain(jobs: Jobs) -> None:
    """F87: a node is drained. What runs there goes on to its end; what wants to go there waits, and is not failed."""
    runs = jobs.running("until [ -e go ]; do sleep 0.05; done", "--nodelist=n2")
    jobs.cluster.drain("n2")
    waits = jobs.submit("exit 0", "--nodelist=n2")
    (jobs.folder / "go").touch()

    assert jobs.ended(runs).state == JobState.DONE
    assert jobs.state(waits).is_waiting
    jobs.cluster.resume("n2")
    assert jobs.ended(waits).state == JobState.DONE


def test_f87_nodes_to_avoid(jobs: Jobs) -> None:
    """F87: a node is to be avoided. Jobs run on the other one, also those that could not all run there at once."""
    avoiding = [jobs.submit("exit 0", avoid=["n1"]) for _ in range(6)]

    assert {jobs.ended(one).node for one in avoiding} == {"n2"}


def test_f87_refusals(jobs: Jobs) -> None:
    """F87: a job asks for what is not there. It is refused, and nothing was submitted."""
    for native in ("--partition=none", "--constraint=none", "--gres=gpu:1"):
        with pytest.raises(Rejected, match="sbatch"):
            jobs.submit("exit 0", native)
    with pytest.raises(Rejected):
        jobs.submit("exit 0", memory=1 << 40)

    assert jobs.batch.find("job") == []


def test_f87_found_again_by_name(jobs: Jobs) -> None:
    """F87: the id of a job is lost. The job is found by its name while it has not ended."""
    running, ended = jobs.running(SLEEP), jobs.submit("exit 0")
    jobs.ended(ended)

    assert [job.id for job in jobs.batch.find("jo")] == [running]


def test_f87_controller_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F87: slurmctld dies, and comes back. Meanwhile nothing is said of any job, least of all that it has ended."""
    with get_slurm(nodes=1) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environ["SLURM_CONF"])
        batch = SlurmBackEnd()
        jobs = Jobs(cluster, tmp_path, batch)
        running = jobs.running(SLEEP)
        cluster.kill_controller()
        batch.timeout = 1.0  # its commands try for longer than that
        with pytest.raises(SchedulerAway):
            jobs.batch.status([running])

        cluster.start_controller()
        batch.timeout = 20.0

        assert not jobs.state(running).is_final


@pytest.mark.soak
def test_f87_time_limit(jobs: Jobs) -> None:
    """F87: a job runs into its time limit. It has timed out."""
    assert jobs.ended(jobs.running("trap '' TERM; sleep 600", time=60.0), 180.0).state == JobState.TIMEOUT


@pytest.mark.soak
def test_f87_node_dies(own_jobs: Jobs) -> None:
    """F87: a node is cut off. Its job ends with its node when Slurm notices, and stays so when the node is back."""
    lost = own_jobs.running(SLEEP, "--nodelist=n1")
    own_jobs.cluster.kill_node("n1")

    assert own_jobs.ended(lost, 120.0).state == JobState.NODE
    own_jobs.cluster.start_node("n1")
    assert own_jobs.state(lost) == JobState.NODE


@pytest.mark.soak
def test_f87_slurm_forgets(own_jobs: Jobs) -> None:
    """F87: Slurm forgets a job before anybody asked, and has no accounts. The job is gone after a time, not done."""
    forgotten = own_jobs.submit("exit 0")
    cluster = own_jobs.cluster
    until("Slurm knows it no more", lambda: cluster.ask("scontrol", "show", "job", forgotten).returncode != 0, 120.0)
    assert own_jobs.batch.status([forgotten]) == {}

    until("it is settled", lambda: bool(own_jobs.batch.status([forgotten])), 170.0)

    assert own_jobs.state(forgotten) == JobState.GONE
