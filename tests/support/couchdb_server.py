"""A CouchDB for tests: the one that ``PICAS_TEST_COUCHDB`` names, or one in memory from npm, started here.

Both speak CouchDB's protocol; ``flavour`` says which it is, for the few tests where they differ.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
import uuid
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import urllib3

from support.installing import SERVERS, Missing, one_at_a_time, program, run

__all__ = ["AS_ADMIN", "CouchServer", "Missing", "get_server"]

VARIABLE = "PICAS_TEST_COUCHDB"
AS_ADMIN: Final = ("", "")
"""The user of a request that is to be made as the server's administrator."""

_START_SECONDS = 30.0


class CouchServer:
    """One server; databases that were asked of it are deleted when it is closed.

    ``url`` has no credentials in it; those are ``admin`` and ``password``, or None where anybody may do anything.
    """

    def __init__(self, url: str, admin: str | None, password: str | None) -> None:
        self.url = url.rstrip("/")
        self.admin = admin
        self.password = password
        self._http = urllib3.PoolManager(maxsize=8, retries=False, timeout=60.0)
        self._databases: list[str] = []
        welcome = self.request("GET", "/").json()
        self.version: str = welcome["version"]
        self.flavour = "couchdb" if "couchdb" in welcome else "pouchdb"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: tuple[str, str] | None = AS_ADMIN,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Make one request, whatever the answer is; a body that is not bytes is sent as JSON; no user is nobody."""
        given = dict(headers or {})
        if user == AS_ADMIN:
            user = None if self.admin is None else (self.admin, self.password or "")
        if user is not None:
            given["Authorization"] = "Basic " + b64encode(":".join(user).encode()).decode()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        return self._http.request(method, self.url + path, body=body, headers=given)

    def database(self, prefix: str = "test") -> str:
        """A name that no database has; whoever asks makes the database, and it is deleted in the end."""
        name = f"{prefix}-{uuid.uuid4().hex}"
        self._databases.append(name)
        return name

    def address(self, database: str) -> str:
        """The URL of a database, with the administrator's name and password in it."""
        parts = urlsplit(self.url)
        login = "" if self.admin is None else f"{quote(self.admin, '')}:{quote(self.password or '', '')}@"
        return urlunsplit((parts.scheme, login + parts.netloc, f"{parts.path}/{quote(database, '')}", "", ""))

    def close(self) -> None:
        """Delete the databases that the tests made."""
        for name in self._databases:
            self.request("DELETE", f"/{quote(name, '')}")
        self._http.clear()


class _OwnServer(CouchServer):
    """A server in memory, in a process of ours."""

    def __init__(self, folder: Path) -> None:
        admin, password = "admin", secrets.token_urlsafe(16)
        self._log_path = folder / "server.log"
        self._process = _start(folder, {admin: password})
        try:
            super().__init__(f"http://127.0.0.1:{self._port()}", admin, password)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End the process; its databases go with it."""
        self._http.clear()
        self._end()

    def _port(self) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            said = re.match(r"port (\d+)\n", self._log_path.read_text())
            if said:
                return int(said[1])
            time.sleep(0.01)
        raise RuntimeError(f"the CouchDB server of the tests does not start: {self._log_path.read_text()[-2000:]}")

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def get_server(folder: Path) -> CouchServer:
    """A server, whose configuration and log are in this folder if it is ours; raises Missing. The caller closes it."""
    named = os.environ.get(VARIABLE)
    return _named_server(named) if named else _OwnServer(folder)


def _named_server(url: str) -> CouchServer:
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    name, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return CouchServer(bare, name, password)


def _start(folder: Path, admins: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server; it ends when its standard input is closed, by us or by our end."""
    _install()
    config = folder / "config.json"
    command = [program("node", "nodejs"), str(SERVERS / "couchdb.js"), str(config)]
    with open(config, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump({"admins": admins, "log": {"file": str(folder / "requests.log")}}, file)
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log)


def _install() -> None:
    """Install what the lock file names, unless that is there already; one process at a time."""
    lock = SERVERS / "package-lock.json"
    stamp = SERVERS / "node_modules" / ".installed.json"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    npm = program("npm", "nodejs", "npm")
    with one_at_a_time():
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], SERVERS)
            stamp.write_bytes(lock.read_bytes())
