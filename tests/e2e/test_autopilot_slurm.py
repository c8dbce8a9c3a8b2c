"""The autopilot on a real Slurm: pilots of two kinds come when there is work for them, and end when there is none."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from support.daemons import until
from support.pilot_jobs import PilotJobs, half_a_minute_later
from support.slurm import Slurm

CONFIG = """
[site.cluster]
system = "slurm"
interval = "2s"

[site.cluster.kind.single]
where = "tags.width='single'"
max = 3
backlog = 20
idle = "1s"

[site.cluster.kind.four]
where = "tags.width='four'"
cores = 4
max = 2
backlog = 10
idle = "1s"
"""


@pytest.fixture
def pool(slurm: Slurm, tmp_path: Path) -> Iterator[PilotJobs]:
    (tmp_path / "auto.toml").write_text(CONFIG)
    jobs = PilotJobs("slurm", tmp_path, {**slurm.environ, "XDG_STATE_HOME": str(tmp_path / "state")})
    jobs.picas.inside("init")
    yield jobs
    slurm.clear()


@contextmanager
def _autopilot(pool: PilotJobs, log: Path) -> Iterator[None]:
    with log.open("w") as err:
        argv = pool.picas.argv(["autopilot", "run", "auto.toml"])
        running = subprocess.Popen(argv, cwd=pool.folder, env=pool.picas.environ, stderr=err)
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0, log.read_text()


def _jobs(slurm: Slurm) -> dict[str, str]:
    """All jobs that the cluster remembers, with their states."""
    rows = slurm.run("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
    return dict(row.split() for row in rows)


def _submitted(said: str, kind: str) -> int:
    return sum(int(count) for count in re.findall(rf"cluster/{kind}: submitted (\d+): ", said))


def test_work_brings_pilots_of_its_kind_and_no_work_ends_them(slurm: Slurm, pool: PilotJobs, tmp_path: Path) -> None:
    log, before = tmp_path / "log", _jobs(slurm)

    def new_ones() -> list[str]:
        return [state for job, state in _jobs(slurm).items() if job not in before]

    with _autopilot(pool, log):
        until("it has looked", lambda: log.read_text().count("no token is ready") == 2, 60)
        assert _jobs(slurm) == before

        picas = pool.picas
        picas.ok("add", "--range", "1-80", "--tag", "width=single", "--", "sleep", "0.1")
        picas.ok("add", "--range", "1-20", "--tag", "width=four", "--requires", "cores=4", "--", "sleep", "0.1")
        until("all are done", lambda: all(state_of(doc) is State.DONE for doc in pool.docs()), 120)
        idle = '"state":"alive"'
        until("they end", lambda: idle not in picas.ok("pilot", "ls", "-o", "jsonl").out.replace(" ", ""), 60)
        until("their jobs have ended", lambda: new_ones() == ["COMPLETED"] * 5, 30)
    # It looks at a batch system twice a minute: the next one sees their end, when that is over.
    half_a_minute_later(tmp_path / "state")
    seen = picas.ok("autopilot", "run", "auto.toml", "--once").err

    said = log.read_text()
    assert len(re.findall("job [0-9]+ of .* is done", said + seen)) == 5
    assert _submitted(said, "single") == 3, said
    assert _submitted(said, "four") == 2, said
    for doc in pool.docs():
        (attempt,) = doc["attempts"]
        assert attempt["pilot_cores"] == (4 if doc["tags"]["width"] == "four" else 1)
