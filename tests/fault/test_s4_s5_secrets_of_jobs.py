"""The pool's password and batch jobs: it is on no command line, in no script, and in nothing that is handed on."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cli import Cli
from support.couchdb_server import CouchServer
from support.fake_systems import FakeSystem
from support.pilots import until

CANARY = "canary-Zx81%2F"


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[FakeSystem]:
    """A pretended Slurm whose jobs really run, with the environment that ``sbatch`` had."""
    with FakeSystem(tmp_path / "slurm", "slurm", runs=True) as fake:
        yield fake


@contextmanager
def watching(needle: str) -> Iterator[list[str]]:
    """All command lines of this machine's processes in which a text is seen, looked at every few milliseconds."""
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        line = (entry / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if needle.encode() in line:
                        seen.append(line.decode(errors="replace"))
            over.wait(0.01)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def files_with(folder: Path, needle: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]


def test_s4_s5_a_password_that_is_nowhere_safe_is_not_submitted(tmp_path: Path, slurm: FakeSystem) -> None:
    """S4, S5: the password is in a variable alone. Nothing is submitted, and one line says what to do."""
    picas = Cli(tmp_path, PATH=slurm.path())
    for environ in (
        {"PICAS_POOL": f"couchdb://me:{CANARY}@127.0.0.1:1/db"},
        {"PICAS_POOL": "couchdb://me@127.0.0.1:1/db", "PICAS_PASSWORD": CANARY},
        {"PICAS_POOL": "postgresql://me@127.0.0.1:1/db", "PGPASSWORD": CANARY},
    ):
        for words in ((), ("--dry-run",)):
            with watching(CANARY) as seen:
                answer = picas("pilot", "submit", "slurm", *words, **environ)
            assert answer.code == 3, answer
            assert "a job would not find the pool's password" in answer.err
            assert CANARY not in answer.out + answer.err
            assert seen == []
    assert slurm.calls("sbatch") == []
    assert files_with(tmp_path, CANARY) == []


def test_s4_s5_a_password_in_the_configuration_file_stays_there(
    tmp_path: Path, couchdb_server: CouchServer, slurm: FakeSystem
) -> None:
    """S4, S5: pilots on a pool with a password do their work. It is in no command line, script, output or variable."""
    if not couchdb_server.admin:
        pytest.skip("the server has no administrator, and so no password")
    secret = couchdb_server.password
    address = couchdb_server.address(couchdb_server.database("s4"))
    bare = address.replace(f":{secret}@", "@")
    picas = Cli(tmp_path, PATH=slurm.path(), PICAS_POOL=bare)
    try:
        picas.ok("init", stdin=f"{secret}\n")
        picas.ok("add", "--range", "1-10", "--", "env; cat /proc/$PPID/cmdline")
        with watching(secret) as seen:
            picas.ok("pilot", "submit", "slurm", "-n", "2", PICAS_PASSWORD=secret)
            until("all are done", lambda: json.loads(picas.ok("status", "-o", "json").out)["counts"]["done"] == 10, 60)
        assert seen == []
        assert len(slurm.jobs) == 2
        logs = "".join(picas.ok("logs", doc).out for doc in picas.ok("ls", "done", "-o", "id").out.split())
        assert "PICAS_TOKEN_ID" in logs
        assert secret not in logs
        # All that sbatch was told and given, the scripts, the output of the jobs, and what picas keeps.
        assert secret not in slurm.told()
        assert files_with(tmp_path, secret) == []
    finally:
        picas("pool", "drop", "--yes")


def test_s5_an_address_with_its_password_in_a_private_file(
    tmp_path: Path, couchdb_server: CouchServer, slurm: FakeSystem
) -> None:
    """S5: the address and the password are in a file that only the user can read. Jobs read it themselves."""
    if not couchdb_server.admin:
        pytest.skip("the server has no administrator, and so no password")
    file = tmp_path / "picas.toml"
    file.write_text(f'pool = "{couchdb_server.address(couchdb_server.database("s5"))}"')
    file.chmod(0o600)
    picas = Cli(tmp_path, PATH=slurm.path())
    try:
        picas.ok("init")
        picas.ok("add", "--range", "1-10", "--", "true")
        picas.ok("pilot", "submit", "slurm")
        until("all are done", lambda: json.loads(picas.ok("status", "-o", "json").out)["counts"]["done"] == 10, 60)
        assert couchdb_server.password not in slurm.told()
        assert files_with(tmp_path, couchdb_server.password) == [str(file)]
    finally:
        picas("pool", "drop", "--yes")


def test_s4_local_jobs(tmp_path: Path) -> None:
    """S4: jobs of this machine are given no password either, whatever variables there are."""
    picas = Cli(tmp_path)
    picas.ok("init")
    picas.ok("add", "--", "env")
    with watching(CANARY) as seen:
        picas.ok("pilot", "submit", "local", PICAS_PASSWORD=CANARY, MY_SECRET=CANARY)
        until("it is done", lambda: json.loads(picas.ok("status", "-o", "json").out)["counts"]["done"] == 1, 60)
    assert seen == []
    (token,) = picas.ok("ls", "done", "-o", "id").out.split()
    assert CANARY not in picas.ok("logs", token).out
    assert files_with(tmp_path, CANARY) == []


def test_the_watcher_sees_a_secret() -> None:
    """S4: a test that cannot fail is none: a command line with the text in it is seen."""
    with watching(CANARY) as seen:
        subprocess.run(["sh", "-c", f"sleep 0.2; : {CANARY}"], check=True)
        time.sleep(0.05)
    assert any(str(os.getpid()) or line for line in seen)
    assert any(CANARY in line for line in seen)
