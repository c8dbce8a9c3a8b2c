"""F90: a log of 10 MB is read slowly, or left in its midst. Others are served, and memory is bounded."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.cli import Cli
from support.pilots import until
from support.web import Web, serving

SIZE = 10_000_000
MIB = 1 << 20
FILES = 20
"""That are sent at once, at most."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page of a pool of one token, whose output is large."""
    picas = Cli(tmp_path, PICAS_POOL=str(tmp_path / "tokens.db"))
    picas.ok("init")
    picas.ok("add", "--", f"yes 0123456 | head -c {SIZE}")
    picas.ok("run", "--output-cap", "20M")
    with serving(picas) as running:
        yield running


def path_of(web: Web) -> str:
    """Where the output is."""
    (token,) = web.get("/api/v1/tokens").json["tokens"]
    return f"/file?id={token['id']}&name=logs_{token['id']}.out"


class Reader:
    """Somebody who asks for a file, takes the beginning, and then nothing."""

    def __init__(self, web: Web, path: str) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(30)
        self.sock.connect((web.host, web.port))
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {web.host}:{web.port}\r\n\r\n".encode())
        self.status = int(self.sock.recv(64).split()[1])

    def leave(self) -> None:
        self.sock.close()


def test_slow_readers_and_those_who_leave_hold_up_nobody(web: Web) -> None:
    path = path_of(web)
    process = psutil.Process(web.process.pid)
    slow = [Reader(web, path) for _ in range(FILES)]
    assert {one.status for one in slow} == {200}
    # No more files for now, which is said; all else is answered.
    assert web.ask("GET", path).status == 503
    for page in ("/", "/live/overview", "/tokens", "/pilots", "/metrics"):
        assert web.get(page).body
    assert process.memory_info().rss < 300 * MIB

    for one in slow:
        one.leave()
    until("they are missed", lambda: web.ask("GET", path).status == 200, 30.0)
    for _ in range(3 * FILES):
        Reader(web, path).leave()
    until("those who left are missed", lambda: web.ask("GET", path).status == 200, 30.0)
    # The whole of it, as it was written; and nothing is kept of all that.
    whole = b"0123456\n" * (SIZE // 8)
    assert hashlib.sha256(web.get(path).body).digest() == hashlib.sha256(whole).digest()
    assert process.memory_info().rss < 300 * MIB
    until("their connections are closed", lambda: len(process.net_connections("tcp")) < FILES, 30.0)


def test_a_page_of_a_token_with_a_large_log_shows_its_end(web: Web) -> None:
    (token,) = web.get("/api/v1/tokens").json["tokens"]
    page = web.get(f"/token?id={token['id']}").body
    assert len(page) < MIB
    assert b"0123456" in page


def test_a_page_goes_last_where_the_processor_is_wanted(web: Web) -> None:
    """F90: a page is looked at by many. Pilots of the same machine go first."""
    assert psutil.Process(web.process.pid).nice() == min(19, psutil.Process().nice() + 10)
