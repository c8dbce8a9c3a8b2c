"""Pilots on a real Slurm, by the commands that a user has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.lifecycle import State
from support.couchdb_server import CouchServer
from support.daemons import until
from support.pilot_jobs import SIDE, SLEEPS, TOGETHER, PilotJobs
from support.slurm import Slurm, get_slurm


@pytest.fixture
def pilots(slurm: Slurm, tmp_path: Path) -> Iterator[PilotJobs]:
    jobs = PilotJobs("slurm", tmp_path, slurm.environ)
    jobs.picas.inside("init")
    yield jobs
    slurm.clear()


def test_four_pilots_work_two_hundred_tokens(slurm: Slurm, pilots: PilotJobs) -> None:
    """All of them take part, no token is run twice, and the jobs end well and are listed no more."""
    pilots.add(*[TOGETHER] * 200)

    jobs = pilots.submit("-n", "4")

    assert len(set(jobs)) == 4
    for job in jobs:
        slurm.wait(job, "COMPLETED", seconds=120)
    assert len(list(pilots.folder.glob("at-work-*"))) == 4
    pilots.assert_all_done_once()
    assert pilots.listed() == []


def test_an_array_is_as_good(slurm: Slurm, pilots: PilotJobs) -> None:
    """Its elements are pilots, too."""
    pilots.add(*[TOGETHER] * 8)

    jobs = pilots.submit("-n", "4", "--array")

    pilots.until_settled(State.DONE)
    assert [job.partition("_")[2] for job in jobs] == ["1", "2", "3", "4"]
    pilots.assert_all_done_once()


def test_a_warned_pilot_gives_its_tokens_back(slurm: Slurm, pilots: PilotJobs) -> None:
    """The signal that Slurm sends before the limit reaches the pilot itself, for the script has become it."""
    pilots.add(*[SLEEPS] * 2)
    (job,) = pilots.submit("--cores", "2", "--time", "10m", "--grace", "1s")
    pilots.until_started(2)

    slurm.run("scancel", "--signal=TERM", "--batch", job)

    assert slurm.wait(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED", pilots.said()
    pilots.assert_given_back()


@pytest.mark.soak
def test_a_pilot_ends_before_its_time_limit(slurm: Slurm, pilots: PilotJobs) -> None:
    """What it could not finish waits again, uncharged, before Slurm would have ended the job."""
    pilots.add(*[SLEEPS] * 2)

    (job,) = pilots.submit("--cores", "2", "--time", "2m", "--warning", "60s", "--grace", "1s")

    ended = slurm.wait(job, "COMPLETED", "TIMEOUT", "FAILED", seconds=170)
    assert (ended["JobState"], ended["TimeLimit"]) == ("COMPLETED", "00:02:00"), pilots.said()
    pilots.assert_given_back()


def test_scancel_costs_tokens_nothing(slurm: Slurm, pilots: PilotJobs) -> None:
    """Slurm sends TERM to the commands, too: that they die of it is not held against them."""
    pilots.add(*[SLEEPS] * 4)
    (job,) = pilots.submit("--cores", "4", "--grace", "1s")
    pilots.until_started(4)

    slurm.run("scancel", job)

    slurm.wait(job, "CANCELLED")
    pilots.until_settled(State.TODO)
    pilots.assert_given_back()


def test_a_requeued_job_is_another_pilot(slurm: Slurm, pilots: PilotJobs) -> None:
    """Its first run gives back what it has; its second does all of it, once."""
    pilots.add(*[f"if [ ! -e again ]; then {SLEEPS}; fi; {SIDE}"] * 3)
    (job,) = pilots.submit("--cores", "3", "--grace", "1s", "--", "--requeue")
    pilots.until_started(3)

    (pilots.folder / "again").touch()
    slurm.requeue(job)

    assert slurm.wait(job, "COMPLETED", seconds=60)["Restarts"] == "1"
    pilots.assert_all_done_once()


def test_a_drained_node_finishes_what_it_has(slurm: Slurm, pilots: PilotJobs) -> None:
    """Its pilot goes on to the end of the pool; the job that waits for it starts elsewhere when it may."""
    pilots.add(*[f"touch runs; until [ -e go ]; do sleep 0.05; done; {SIDE}"] * 4)
    (runs,) = pilots.submit("--", "--nodelist=n1")
    until("a command runs", (pilots.folder / "runs").exists, 60)

    slurm.drain("n1")
    (waits,) = pilots.submit("--", "--nodelist=n1")
    (pilots.folder / "go").touch()

    slurm.wait(runs, "COMPLETED", seconds=60)
    pilots.assert_all_done_once()
    assert slurm.job(waits)["JobState"] == "PENDING"
    assert [(row["job"], row["state"]) for row in pilots.listed()] in ([(waits, "pending")], [(waits, "held")])


def test_a_pilot_on_a_dead_node_is_replaced(slurm: Slurm, pilots: PilotJobs) -> None:
    """All of a job dies at once. After its lease the tokens are done by another."""
    pilots.add(*[f"if [ ! -e again ]; then echo $PPID >> pilot; {SLEEPS}; fi; {SIDE}"] * 2)
    (lost,) = pilots.submit("--cores", "2", "--lease", "5s", "--", "--nodelist=n1")
    pilots.until_started(2)
    (pilots.folder / "again").touch()

    slurm.run("scancel", "--signal=KILL", "--full", lost)

    slurm.wait(lost, "CANCELLED", "FAILED")
    (other,) = pilots.submit("--cores", "2", "--lease", "5s", "--idle", "30s", "--", "--nodelist=n2")
    pilots.until_settled(State.DONE)
    pilots.assert_all_done_once()
    slurm.run("scancel", other)


@pytest.mark.soak
def test_a_pilot_outlives_its_nodes_daemon(tmp_path: Path) -> None:
    """Slurm gives the node up, and its job; its pilot works on, beside another, and nothing is done twice."""
    with get_slurm(SlurmdTimeout="10") as cluster:
        pilots = PilotJobs("slurm", tmp_path, cluster.environ)
        pilots.picas.ok("init")
        pilots.add(*[f"echo $PICAS_TOKEN_ID >> started; until [ -e go ]; do sleep 0.05; done; {SIDE}"] * 4)
        (lost,) = pilots.submit("--cores", "2", "--", "--nodelist=n1")
        pilots.until_started(2)
        cluster.kill_node("n1")
        cluster.wait(lost, "NODE_FAIL", seconds=120)
        pilots.submit("--cores", "2", "--", "--nodelist=n2")
        pilots.until_started(4)

        (tmp_path / "go").touch()

        pilots.until_settled(State.DONE)
        pilots.assert_all_done_once()


def test_no_secret_is_known_to_slurm(slurm: Slurm, couchdb_server: CouchServer, tmp_path: Path) -> None:
    """A job on a CouchDB pool finds its password where this user's commands do; Slurm has it nowhere."""
    server, password = couchdb_server, couchdb_server.password
    assert password
    address = f"{server.url.replace('://', f'://{server.admin}@', 1)}/{server.database('slurm')}"
    pilots = PilotJobs("slurm", tmp_path, slurm.environ, address)
    pilots.picas.ok("init", stdin=f"{password}\n")
    pilots.add(*[SIDE] * 3)

    (job,) = pilots.submit("--", "--hold")

    known = slurm.run("scontrol", "show", "job", "-d", job) + slurm.run("scontrol", "write", "batch_script", job, "-")
    kept = [path.read_bytes() for path in slurm.folder.rglob("*") if path.is_file() and f"job.{job}" in str(path)]
    assert kept
    assert not [one for one in (known.encode(), *kept) if password.encode() in one]
    slurm.run("scontrol", "release", job)
    assert slurm.wait(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED", pilots.said()
    pilots.assert_all_done_once()
