"""F85: an autopilot killed at any point around a submission: the next one finds its job by name. No unknown pilots."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.pool import connect
from support.cli import Cli
from support.couchdb_server import CouchServer
from support.fake_systems import SYSTEMS, FakeSystem
from support.pilot_jobs import half_a_minute_later

CONFIG = """
[site.cluster]
system = "{system}"
max = 3
native = [{native}]

[site.cluster.kind.k]
max = 3
"""

SUBMIT = {"slurm": "picas.schedulers.slurm:Slurm.submit", "local": "picas.schedulers.local:Local.submit"}
POINTS = {
    "before it is written down": ("picas.autopilot.journal:Journal.write", "before", 1),
    "written down, not submitted": ("submit", "before", 1),
    "submitted, not written down": ("submit", "after", 1),
    "before the id is written down": ("picas.autopilot.journal:Journal.write", "before", 2),
    "in the middle of writing": ("picas.files:write_new", "before", 2),
    "written, not yet in its place": ("picas.files:write_new", "after", 2),
    "after the id was written down": ("picas.autopilot.journal:Journal.write", "after", 2),
    "the second job submitted": ("submit", "after", 2),
    "the third job submitted": ("submit", "after", 3),
    "all done": ("picas.autopilot.site:SiteAutopilot.announce", "after", 2),
}
OTHERS = [system for system in (*SYSTEMS, "local") if system != "slurm"]
FIRST = "submitted, not written down"
CASES = [*[("slurm", point) for point in POINTS], *[(system, FIRST) for system in OTHERS]]
SOAKS = [pytest.param(system, point, marks=pytest.mark.soak) for system in OTHERS for point in POINTS if point != FIRST]

KILLED = """
import importlib, os, signal, sys
where, when, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
module, path = where.split(":")
owner = importlib.import_module(module)
*outer, name = path.split(".")
for part in outer:
    owner = getattr(owner, part)
real, calls = getattr(owner, name), 0
def patched(*args, **named):
    global calls
    calls += 1
    if calls == nth and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = real(*args, **named)
    if calls == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
setattr(owner, name, patched)
import picas.files
picas.files.replace.__globals__["write_new"] = picas.files.write_new
from picas.cli.main import main
sys.exit(main(["autopilot", "run", "auto.toml", "--once"]))
"""


class Cluster:
    """A pool with twenty tokens, a configuration for three pilots, and what a system has of their jobs."""

    def __init__(self, folder: Path, system: str, fake: FakeSystem | None, server: CouchServer | None) -> None:
        self.fake = fake
        self.system = system
        address = server.address(server.database("f85")) if server else str(folder / "picas.db")
        native = '"InputSandbox=picas.password"' if server else ""
        (folder / "auto.toml").write_text(CONFIG.format(system=system, native=native))
        (folder / "picas.password").touch(0o600)
        path = fake.path() if fake else os.environ["PATH"]
        self.picas = Cli(folder, XDG_STATE_HOME=str(folder / "state"), PATH=path, PICAS_POOL=address)
        with connect(address, create=True) as pool:
            pool.add({"command": "exec sleep 600"} for _ in range(20))

    @property
    def jobs(self) -> dict[str, str]:
        """The names of all jobs there have been, by their ids."""
        if self.fake:
            return {job_id: job.name for job_id, job in self.fake.jobs.items()}
        records = self.picas.folder.glob("state/picas/local/*/*/job.json")
        return {path.parent.name: json.loads(path.read_text())["name"] for path in records}

    @property
    def journal(self) -> Path:
        return next(self.picas.folder.glob("state/picas/autopilot/*.json"))

    def close(self) -> None:
        """End what really runs."""
        for path in self.picas.folder.glob("state/picas/local/*/*/stat"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)


@contextlib.contextmanager
def cluster_of(folder: Path, system: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        fake = None if system == "local" else stack.enter_context(FakeSystem(folder / "programs", system))
        # Pilots on the Grid reach pools on CouchDB servers alone.
        server = request.getfixturevalue("couchdb_server") if system == "dirac" else None
        made = Cluster(folder, system, fake, server)
        stack.callback(made.close)
        yield made


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster_of(tmp_path, "slurm", request) as made:
        yield made


@pytest.mark.parametrize(("system", "point"), [*CASES, *SOAKS])
def test_its_jobs_are_found_again_and_none_is_made_twice(
    tmp_path: Path, request: pytest.FixtureRequest, system: str, point: str
) -> None:
    with cluster_of(tmp_path, system, request) as cluster:
        where, when, nth = POINTS[point]
        where = where if where != "submit" else SUBMIT.get(system, "picas.schedulers.batch:Batch.submit")
        picas = cluster.picas
        argv = [sys.executable, "-c", KILLED, where, when, str(nth)]
        killed = subprocess.run(argv, cwd=picas.folder, env=picas.environ, capture_output=True, timeout=60)
        assert killed.returncode == -9, killed.stderr.decode()

        before = set(cluster.jobs)
        for _ in range(2):
            half_a_minute_later(cluster.picas.folder / "state")
            answer = picas.inside("autopilot", "run", "auto.toml", "--once")
            assert answer.code == 0, answer
        entries = json.loads(cluster.journal.read_text())["jobs"].values()
        jobs = cluster.jobs
        assert before <= set(jobs)
        # Each job is in the journal with its id, and there are no more than max, those in doubt among them.
        assert set(jobs.items()) == {(entry["id"], entry["name"]) for entry in entries if entry["id"]}
        assert len(jobs) <= 3
        assert len(entries) == 3
        assert cluster.journal.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("system", SYSTEMS)
def test_without_its_journal_it_finds_all_its_jobs_by_their_names(
    tmp_path: Path, request: pytest.FixtureRequest, system: str
) -> None:
    with cluster_of(tmp_path, system, request) as cluster:
        cluster.picas.inside("autopilot", "run", "auto.toml", "--once")
        assert len(cluster.jobs) == 3
        cluster.journal.unlink()
        answer = cluster.picas.inside("autopilot", "run", "auto.toml", "--once")
        assert len(cluster.jobs) == 3
        assert answer.err.count("adopted job") == 3


def test_an_answer_that_was_lost_is_no_second_job(cluster: Cluster) -> None:
    assert cluster.fake
    cluster.fake.tell(sbatch="garbage")
    answer = cluster.picas("autopilot", "run", "auto.toml", "--once")
    assert answer.code == 9
    assert "it is not known whether job" in answer.err
    assert len(cluster.jobs) == 1
    cluster.fake.tell(sbatch="")
    half_a_minute_later(cluster.picas.folder / "state")
    cluster.picas.ok("autopilot", "run", "auto.toml", "--once")
    assert len(cluster.jobs) == 3
    assert len(cluster.fake.calls("sbatch")) == 3


def test_two_do_not_act_for_one_site_on_one_machine(cluster: Cluster) -> None:
    picas = cluster.picas
    argv = picas.argv(["autopilot", "run", "auto.toml"])
    first = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.PIPE)
    assert first.stderr is not None
    first.stderr.readline()
    try:
        second = picas("autopilot", "run", "auto.toml", "--once")
        assert second.code == 5
        assert "another autopilot acts for this site" in second.err
        # To look is not to act.
        picas.ok("autopilot", "plan", "auto.toml")
    finally:
        first.terminate()
        assert first.wait(10) == 0
        first.stderr.close()
    assert len(cluster.jobs) <= 3
