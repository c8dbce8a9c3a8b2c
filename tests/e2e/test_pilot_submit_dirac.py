"""Pilots on the Grid: what `picas pilot submit dirac` hands in runs where only Python is, in an empty folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas.pool import Pool, connect
from support.cli import Cli
from support.couchdb_server import CouchServer
from support.daemons import until
from support.dialects.dirac import Dirac, attribute
from support.fake_systems import FakeSystem
from support.pythons import SYSTEM

AUTOPILOT = """
[site.grid]
system = "dirac"
native = ["InputSandbox=picas.password"]

[site.grid.kind.one]
max = 1
idle = "1s"
"""


@pytest.fixture
def dirac(tmp_path: Path) -> Iterator[FakeSystem]:
    """A pretended DIRAC, whose jobs run with their sandbox alone."""
    with FakeSystem(tmp_path / "dirac", "dirac", runs=True) as fake:
        assert isinstance(fake.words, Dirac)
        fake.words.environ = {"PATH": "/usr/bin:/bin", "PICAS_PYTHON": SYSTEM}
        yield fake


@pytest.fixture
def pool(couchdb_server: CouchServer) -> Iterator[Pool]:
    with connect(couchdb_server.address(couchdb_server.database("grid")), create=True) as opened:
        yield opened
        opened.store.drop()


@pytest.fixture
def picas(tmp_path: Path, dirac: FakeSystem, pool: Pool, couchdb_server: CouchServer) -> Cli:
    """The commands of somebody who has the pool's password in a file for pilots on the Grid."""
    if not couchdb_server.password:
        pytest.skip("the server has no administrator, and so no password")
    here = tmp_path / "here"
    here.mkdir()
    address = pool.url.replace("://", f"://{couchdb_server.admin}@")
    made = Cli(here, PICAS_POOL=address, PATH=dirac.path(), PICAS_PASSWORD=couchdb_server.password)
    made.environ.pop("XDG_STATE_HOME", None)
    (here / "picas.password").write_text(f"{couchdb_server.password}\n")
    (here / "picas.password").chmod(0o600)
    return made


def rows(picas: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(picas.ok("pilot", "ls", "-o", "json").out)["rows"]
    return found


def files_with(folder: Path, needle: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]


def test_jobs_do_their_work_with_what_is_in_their_sandbox(
    picas: Cli, dirac: FakeSystem, pool: Pool, couchdb_server: CouchServer
) -> None:
    secret = couchdb_server.password or ""
    pool.add({"_id": f"t{number}", "command": "echo $PICAS_TOKEN_ID; env"} for number in range(6))

    answer = picas.ok(
        "pilot", "submit", "dirac", "-n", "2", "--cores", "2", "--time", "1h", "--", "InputSandbox=picas.password"
    )

    assert answer.out == "1\n2\n"
    until("all are done", lambda: pool.count()["done"] == 6, 60)  # type: ignore[index]
    until("both have ended", lambda: not dirac.alive, 60)
    (folder,) = picas.folder.glob(".local/state/picas/jobs/picas-*")
    assert f"what they were submitted with is in {folder}" in answer.err
    for job in dirac.jobs.values():
        assert job.said["Status"] == "Done"
        sandbox = attribute(job.script, "InputSandbox")
        assert [Path(name).name for name in sandbox] == [f"{job.name}.sh", "picas.sh", "picas.pyz", "picas.password"]
        # The password was removed when it had been read; all else is what came with the job, and what it printed.
        worker = dirac.folder / f"worker-{job.id}"
        assert sorted(path.name for path in worker.iterdir()) == sorted(
            [f"{job.name}.sh", "picas.sh", "picas.pyz", f"{job.name}.out", f"{job.name}.err"]
        )
        assert "pilot ended, no work is left" in (worker / f"{job.name}.err").read_text()
    assert {doc["dirac_job_id"] for doc in pool.store.get(["t0", "t5"]) if doc} <= {"1", "2"}
    assert rows(picas) == []
    # It is in the file that the user made, and nowhere else: no description, script, output, log or variable has it.
    assert secret not in dirac.told()
    assert files_with(picas.folder, secret) == ["picas.password"]
    assert files_with(dirac.folder, secret) == []
    assert secret not in picas.ok("logs", "t0").out


def test_an_autopilot_has_them_do_the_same(picas: Cli, dirac: FakeSystem, pool: Pool) -> None:
    pool.add({"command": "true"} for _ in range(3))
    (picas.folder / "auto.toml").write_text(AUTOPILOT)

    answer = picas.ok("autopilot", "run", "--once", "auto.toml")

    assert "grid/one: submitted 1" in answer.err
    until("all are done", lambda: pool.count()["done"] == 3, 60)  # type: ignore[index]


def test_a_dry_run_shows_what_would_be_handed_in(picas: Cli, dirac: FakeSystem) -> None:
    answer = picas.ok("pilot", "submit", "dirac", "--dry-run", "--", "InputSandbox=picas.password")
    lines = [line.strip() for line in answer.out.splitlines()]
    assert lines[0] == "["
    assert f"export PICAS_POOL={picas.environ['PICAS_POOL']}" in lines
    assert lines[-1] == "exec /bin/sh picas.sh run --cores 1"
    assert dirac.calls("dirac-wms-job-submit") == []
    assert not (picas.folder / ".local").exists()


def test_a_pool_that_no_pilot_there_would_reach(picas: Cli, dirac: FakeSystem) -> None:
    (picas.folder / "open").mkdir()
    (picas.folder / "open/picas.password").write_text("x\n")
    (picas.folder / "open/picas.password").chmod(0o644)
    for words, environ, said in (
        ((), {}, "a job would not find the pool's password"),
        (("--", "InputSandbox=open/picas.password"), {}, "others can read it"),
        (("--", "InputSandbox=none/picas.password"), {}, "there is no such file"),
        ((), {"PICAS_POOL": "postgresql://h/db"}, "a bundle does not reach postgresql://h/db"),
        ((), {"PICAS_POOL": str(picas.folder / "picas.db")}, "a bundle does not reach"),
    ):
        answer = picas("pilot", "submit", "dirac", *words, **environ)
        assert (answer.code, answer.out) == (3, ""), answer
        assert said in answer.err
        assert len(answer.err.splitlines()) == 2
    assert dirac.calls("dirac-wms-job-submit") == []
