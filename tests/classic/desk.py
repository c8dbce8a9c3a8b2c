"""Where programs are run against a pool, in processes of their own, and what they leave is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from picas.clients import CouchDB
from picas.documents import Document, Task

__all__ = ["Desk", "ended", "is_alive"]

PROGRAMS = Path(__file__).parent / "programs"


class Desk:
    """A pool, a folder to run programs in, and the logbook in which they write what they run."""

    def __init__(self, folder: Path, pool: dict[str, str]) -> None:
        self.folder = folder
        self.pool = pool
        self.logbook = folder / "logbook"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICAS_", "SLURM_", "PBS_"))}
        names = {"PICAS_HOST_URL": "url", "PICAS_DATABASE": "db", "PICAS_USERNAME": "username"}
        own = {name: pool[part] or "nobody" for name, part in names.items()}
        secret = {"PICAS_PASSWORD": pool["password"] or "none", "PYTHONWARNINGS": "error"}
        self.environ = {**kept, **own, **secret, "HOME": str(folder), "LOGBOOK": str(self.logbook)}

    def start(self, program: str, *words: str) -> subprocess.Popen[str]:
        """Start a program."""
        command = [sys.executable, str(PROGRAMS / program), *words]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how: dict[str, Any] = {"cwd": self.folder, "env": self.environ, "start_new_session": True}
        return subprocess.Popen(command, text=True, **pipes, **how)

    def run(self, program: str, *words: str) -> str:
        """Run a program to its proper end; what it printed."""
        return ended(self.start(program, *words))

    def lines(self, beginning: str) -> list[str]:
        """What is in the logbook that begins so."""
        lines = self.logbook.read_text().splitlines() if self.logbook.exists() else []
        return [line for line in lines if line.startswith(beginning)]

    def ran(self) -> list[str]:
        """The ids of the tokens that were run, in order."""
        return [line.split()[1] for line in self.lines("ran ")]

    @contextmanager
    def client(self) -> Iterator[CouchDB]:
        opened = CouchDB(**self.pool)
        try:
            yield opened
        finally:
            opened.db.close()

    def add(self, **tokens: dict[str, Any]) -> None:
        with self.client() as client:
            docs = [Task({"_id": name, "type": "token", **fields}) for name, fields in tokens.items()]
            assert all(client.save_documents(docs))

    def docs(self, view: str) -> dict[str, Document]:
        with self.client() as client:
            return {doc.id: doc for doc in client.get_from_view(view)}

    def overview(self) -> dict[str, int]:
        with self.client() as client:
            return {row.key: row.value for row in client.view("overview_total", group=True)}

    def file(self, token_id: str, name: str) -> tuple[str, bytes]:
        """Type and bytes of a token's attachment."""
        with self.client() as client:
            found = client.get(token_id).get_attachment(name, retrieve_from_database=client)
            return found["content_type"], found["data"]


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a program's proper end; what it printed."""
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Traceback" not in err, err
    return out


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
