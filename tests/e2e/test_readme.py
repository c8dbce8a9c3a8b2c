"""The commands of the README and of the page on CouchDB, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.cli import Cli
from support.couchdb_server import CouchServer

ROOT = Path(__file__).parents[2]
ON_COUCHDB = "On CouchDB"


class Reader:
    """Somebody who types what a page says into one shell, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.picas = Cli(folder)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "picas").write_text(f'#!/bin/sh\nexec {sys.executable} -m picas "$@"\n')
        (programs / "picas").chmod(0o755)
        self.picas.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def type(self, command: str, stdin: str = "") -> str:
        """What one command prints, which must succeed."""
        if export := re.fullmatch(r"export (\w+)=(\S+)", command):
            self.picas.environ[export[1]] = export[2]
            return ""
        words, environ = ["bash", "-c", command], self.picas.environ
        done = subprocess.run(
            words, cwd=self.picas.folder, env=environ, input=stdin, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout + done.stderr


def commands(page: str) -> list[tuple[str, str]]:
    """Each command of a page, behind the heading under which it stands."""
    found = []
    for section in re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
            found += [(heading, line.removeprefix("$ ")) for line in block.splitlines()]
    return found


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    wanted = [command for heading, command in commands("README.md") if heading != ON_COUCHDB]
    assert len(wanted) >= 12
    printed = "".join(reader.type(command) for command in wanted)
    assert "999 done, 1 failed" in printed
    assert json.loads(reader.picas.ok("status", "-o", "json").out)["counts"]["done"] == 999 + 6


class Visitor(Reader):
    """A reader with a server, who puts its address in place of the one in the page, and types its password."""

    def __init__(self, folder: Path, server: CouchServer) -> None:
        super().__init__(folder)
        self.server = server
        self.user = f"pilot-{uuid.uuid4().hex}"
        parts = urlsplit(f"{server.url}/{server.database('docs')}")
        login = f"{server.admin}@" if server.admin else ""
        self.address = parts._replace(netloc=login + parts.netloc).geturl()

    def type(self, command: str, stdin: str = "") -> str:
        command = re.sub(r"couchdbs?://\S+", self.address, command)
        # A server that is not ours may have somebody of that name.
        command = command.replace("user add pilot", f"user add {self.user}")
        return super().type(command, stdin or f"{self.server.password}\n")

    def leave(self) -> None:
        """Remove what was made."""
        if self.server.admin:
            path = f"/_users/org.couchdb.user:{self.user}"
            if rev := self.server.request("GET", path).json().get("_rev"):
                self.server.request("DELETE", f"{path}?rev={rev}")
        self.picas("pool", "drop", "--yes")


@pytest.fixture
def visitor(tmp_path: Path, couchdb_server: CouchServer) -> Iterator[Visitor]:
    made = Visitor(tmp_path, couchdb_server)
    yield made
    made.leave()


def test_the_commands_of_the_readme_on_couchdb(visitor: Visitor) -> None:
    wanted = [command for heading, command in commands("README.md") if heading == ON_COUCHDB]
    assert wanted[0].startswith("export PICAS_POOL=couchdb://")
    printed = "".join(visitor.type(command) for command in wanted)
    assert "99 done, 1 failed" in printed
    assert json.loads(visitor.picas.ok("status", "-o", "json").out)["counts"] == {
        "held": 0, "todo": 0, "locked": 0, "done": 99, "error": 1,
    }  # fmt: skip


def test_the_commands_of_the_page_on_couchdb(visitor: Visitor) -> None:
    if not visitor.server.admin:
        pytest.skip("the server has no administrator, and so no users")
    wanted = [command for _, command in commands("docs/couchdb.md")]
    assert len(wanted) >= 8
    printed = "".join(visitor.type(command) for command in wanted)
    assert f"added user {visitor.user}, a member of this pool" in printed
    assert "Wide/todo has 10 tokens" in printed
    assert printed.count(" 10 done") == 2
    assert f"logged in as {visitor.server.admin}, administrator of this database" in printed
