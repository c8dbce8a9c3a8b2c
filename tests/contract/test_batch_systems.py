"""The batch systems of the tests do for real what the tests of the back ends take for granted of them.

What F87 asks of them by way of the back ends, in CI too, is asked of their own commands in the soak.
"""

from __future__ import annotations

import psutil
import pytest

from support.daemons import until
from support.gridengine import GridEngine, get_gridengine
from support.slurm import Slurm, get_slurm

SLEEP = "exec sleep 600"


def test_slurm_runs_a_job(slurm: Slurm) -> None:
    """It has a node, and ends well."""
    out = slurm.folder / "ran.out"

    job = slurm.wait(slurm.submit("echo $SLURM_JOB_ID", f"--output={out}"), "COMPLETED")

    assert job["ExitCode"] == "0:0"
    assert job["NodeList"] in slurm.nodes
    assert out.read_text().strip() == job["JobId"]


def test_slurm_tells_how_a_job_failed(slurm: Slurm) -> None:
    """Its exit code, or its signal."""
    exits, killed = slurm.submit("exit 3"), slurm.submit("kill -9 $$")
    assert slurm.wait(exits, "FAILED")["ExitCode"] == "3:0"
    assert slurm.wait(killed, "FAILED")["ExitCode"] == "0:9"


@pytest.mark.soak
def test_slurm_cancels_a_job(slurm: Slurm) -> None:
    """Running or waiting."""
    running = slurm.submit(SLEEP)
    slurm.wait(running, "RUNNING")
    waiting = slurm.submit(SLEEP, "--begin=now+1hour")

    slurm.run("scancel", running, waiting)

    assert slurm.wait(running, "CANCELLED")["JobState"] == slurm.wait(waiting, "CANCELLED")["JobState"]


@pytest.mark.soak
def test_slurm_starts_a_requeued_job_again(slurm: Slurm) -> None:
    """At once, in the tests; it is the same job, in its second run."""
    job = slurm.submit(SLEEP, "--requeue")
    slurm.wait(job, "RUNNING")

    slurm.requeue(job)

    assert slurm.wait(job, "RUNNING")["Restarts"] == "1"
    slurm.run("scancel", job)


@pytest.mark.soak
def test_slurm_starts_nothing_on_a_drained_node(slurm: Slurm) -> None:
    """What runs there ends in peace; what wants to go there waits until it is resumed."""
    go = slurm.folder / "go"
    ends = slurm.submit(f"until [ -e {go} ]; do sleep 0.05; done", "-w", "n2")
    slurm.wait(ends, "RUNNING")
    slurm.drain("n2")
    waits = slurm.submit("exit 0", "-w", "n2")
    go.touch()
    slurm.wait(ends, "COMPLETED")
    assert slurm.job(waits)["JobState"] == "PENDING"

    slurm.resume("n2")

    slurm.wait(waits, "COMPLETED")


@pytest.mark.soak
def test_slurm_pushes_a_job_out_for_an_urgent_one(slurm: Slurm) -> None:
    """It is PREEMPTED, which is an end like others."""
    pushed = slurm.submit(SLEEP, "--nodes=2", "--exclusive")
    slurm.wait(pushed, "RUNNING")
    urgent = slurm.submit("exit 0", "--nodes=2", "--exclusive", "--partition=urgent")

    slurm.wait(pushed, "PREEMPTED")
    slurm.wait(urgent, "COMPLETED")


@pytest.mark.soak
def test_slurm_ends_a_job_at_its_time_limit(slurm: Slurm) -> None:
    """Limits are in minutes. The script is warned, then all of it is ended."""
    warned = slurm.folder / "warned"
    script = f"trap 'touch {warned}' TERM; while :; do sleep 1; done"

    job = slurm.submit(script, "--time=1", "--signal=B:TERM@30")

    slurm.wait(job, "TIMEOUT", seconds=170)
    assert warned.exists()


def test_a_slurm_leaves_nothing(slurm: Slurm) -> None:
    """Two at once are apart, and one that ends takes its jobs and its minders with it, and no other's."""
    with get_slurm(nodes=1) as other:
        began = other.folder / "began"
        other.submit(f"touch {began}; {SLEEP}")
        # Slurm says RUNNING before the job's minder is there, and a killed node starts none.
        until("its job has begun", began.exists, 30)
        other.kill_node("n1")
        own = [process for process in psutil.process_iter() if other.is_ours(process)]
        assert any(process.name().startswith("slurmstepd") for process in own)

    psutil.wait_procs(own, timeout=10)
    assert not [one for one in own if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not other.folder.exists()
    slurm.wait(slurm.submit("exit 0"), "COMPLETED")


def test_slurm_is_asked_in_vain_while_it_is_away() -> None:
    """Its commands fail; when it is back, jobs that ran meanwhile are known."""
    with get_slurm(nodes=1) as own:
        job = own.submit("sleep 1")
        own.wait(job, "RUNNING")
        own.kill_controller()
        assert own.ask("scontrol", "ping").returncode != 0

        own.start_controller()

        assert own.job(job)["JobState"] in ("RUNNING", "COMPLETED", "PENDING")


def test_gridengine_runs_a_job(gridengine: GridEngine) -> None:
    """With as many slots as it asked for."""
    out = gridengine.folder / "ran.out"

    account = gridengine.ended(gridengine.submit("echo $JOB_ID $NSLOTS", "-pe", "smp", "2", "-o", str(out)))

    assert (account["failed"], account["exit_status"], account["slots"]) == ("0", "0", "2")
    assert out.read_text().split() == [account["jobnumber"], "2"]


def test_gridengine_tells_how_a_job_failed(gridengine: GridEngine) -> None:
    """Its exit code, or that of its signal."""
    exits, killed = gridengine.submit("exit 3"), gridengine.submit("kill -9 $$")
    assert gridengine.ended(exits)["exit_status"] == "3"
    assert gridengine.ended(killed)["exit_status"].split()[0] == "137"


@pytest.mark.soak
def test_gridengine_cancels_a_job(gridengine: GridEngine) -> None:
    """One that ran is on record as ended by a signal; one that waited leaves no trace."""
    running = gridengine.submit(SLEEP)
    gridengine.wait(running, "r")
    waiting = gridengine.submit(SLEEP, "-h")
    gridengine.wait(waiting, "hqw")

    gridengine.run("qdel", running, waiting)

    assert gridengine.ended(running)["failed"].startswith("100")
    assert waiting not in gridengine.states()
    assert gridengine.account(waiting) == {}


@pytest.mark.soak
def test_gridengine_ends_a_job_at_its_time_limit(gridengine: GridEngine) -> None:
    """Limits are in seconds. A soft one is a signal to the job, a hard one its end."""
    warned = gridengine.submit("trap 'exit 9' USR1; sleep 60", "-l", "s_rt=1")
    ended = gridengine.submit(SLEEP, "-l", "h_rt=1")
    assert gridengine.ended(warned)["exit_status"] == "9"
    assert gridengine.ended(ended)["failed"].startswith("37")


def test_a_gridengine_leaves_nothing(gridengine: GridEngine) -> None:
    """Two at once are apart, and one that ends takes its jobs with it, and no other's."""
    with get_gridengine() as other:
        other.wait(other.submit(SLEEP), "r")
        own = [process for process in psutil.process_iter() if other.is_ours(process)]

    psutil.wait_procs(own, timeout=10)
    assert not [one for one in own if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert gridengine.ended(gridengine.submit("exit 0"))["exit_status"] == "0"
