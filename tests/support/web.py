"""``picas web`` in a process of its own, spoken to over HTTP byte by byte, so that no client adds or mends anything."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from support.cli import Cli
from support.pilots import until

__all__ = ["Answer", "Web", "piloted", "serving", "states"]

_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Web:
    """A running page, its address and, where people must log in, the token."""

    def __init__(self, process: subprocess.Popen[bytes], said: str) -> None:
        self.process = process
        found = re.search(r"is at http://(\S+):(\d+)/", said)
        assert found is not None, said
        self.host, self.port = found[1], int(found[2])
        token = re.search(r"log in with the token (\S+)", said)
        self.token = token[1] if token else ""
        self.cookie = ""

    @property
    def url(self) -> str:
        """The address of the first page."""
        return f"http://{self.host}:{self.port}/"

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """One request with these headers and no others but Host and the length, and the cookie when we are logged in.

        A header that is None is not sent, the Host neither.
        """
        given: dict[str, str | None] = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(body))}
        if self.cookie:
            given["Cookie"] = self.cookie
        given |= headers or {}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_SECONDS)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """A page that must be there."""
        answer = self.ask("GET", path, headers)
        assert answer.status == 200, (path, answer)
        return answer

    def log_in(self, token: str | None = None) -> Answer:
        """Send the form as a browser does, and keep the cookie."""
        body = f"token={self.token if token is None else token}&to=/".encode()
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.ask("POST", "/login", headers, body)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer


@contextmanager
def serving(picas: Cli, *words: str, **environ: str) -> Iterator[Web]:
    """``picas web`` on a free port, until the end of the block; then it must end by itself when it is told to."""
    err = picas.folder / "web.err"
    with err.open("wb") as file:
        argv = picas.argv(("-vv", "web", "--port", "0", *words))
        process = subprocess.Popen(
            argv, cwd=picas.folder, env={**picas.environ, **environ}, stdout=subprocess.DEVNULL, stderr=file
        )
    try:
        until("it says where it is", lambda: process.poll() is not None or b"is at http" in err.read_bytes(), _SECONDS)
        # The line with the token, if any, comes after that with the address, in one write each.
        needs_token = "--login" in words or "--write" in words
        until("it says its token", lambda: not needs_token or b"token" in err.read_bytes() or environ, _SECONDS)
        yield Web(process, err.read_text())
        assert process.poll() is None, err.read_text()
        process.terminate()
        assert process.wait(15) == 0, err.read_text()
        assert "Traceback" not in err.read_text(), err.read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def piloted(picas: Cli, *words: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A pilot that beats often, until the end of the block, even if it was stopped in it."""
    argv = picas.argv(("run", "--lease", "3s", *words))
    with (picas.folder / "run.err").open("ab") as log:
        process = subprocess.Popen(argv, cwd=picas.folder, env={**picas.environ, **environ}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(30)


def states(picas: Cli) -> dict[str, str]:
    """The state of each token."""
    rows = [json.loads(line) for line in picas.ok("ls", "-o", "jsonl").out.splitlines()]
    listed = [line.split("\t") for line in picas.ok("ls", "-o", "plain").out.splitlines()]
    assert len(rows) == len(listed)
    return {row[0]: row[1] for row in listed}
