"""A proxy before a PostgreSQL server that does to its connections what networks and servers do to them.

What a client sends before it waits for an answer is a *trip*; each goes to the server, unless the plan says otherwise::

    with PostgresProxy("127.0.0.1", 5432) as proxy:
        proxy.plan(lambda trip: lose_answer() if trip.commits else None)
        ...  # connect to proxy.port, without TLS

Trips are numbered from 1, over all connections, in the order in which they came; each ``plan`` begins at 1 again.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from support.door import Door

__all__ = [
    "Fault",
    "PostgresProxy",
    "Rule",
    "Trip",
    "cut_answer",
    "cut_before",
    "cut_before_commit",
    "delay",
    "hang",
    "lose_answer",
    "refuse",
    "slow",
    "stall",
]

_SLICE: Final = 64 * 1024
_ABORT: Final = struct.pack("ii", 1, 0)
"""Linger for 0 seconds: the connection is reset when it is closed."""
_ENDS: Final = b"QSHcp"
"""Messages after which a client waits: a simple query, Sync, Flush, the end of COPY, a password."""
_READY: Final = b"Z\0\0\0\5"
"""With what the end of an answer begins; one byte follows."""
_QUIET: Final = 0.05
"""Seconds without a byte after which an answer whose end cannot be told counts as whole."""


@dataclass(frozen=True)
class _Message:
    """One message of a client; ``text`` is the statement that it carries out, if any."""

    kind: bytes
    data: bytes
    text: str = ""

    @property
    def commits(self) -> bool:
        return self.text.strip().upper() == "COMMIT"


@dataclass(frozen=True)
class Trip:
    """What a client sends before it waits. The first of a connection has no statements, nor have passwords."""

    number: int
    messages: tuple[_Message, ...]

    @property
    def statements(self) -> list[str]:
        """The statements that are carried out, in order."""
        return [message.text for message in self.messages if message.text]

    @property
    def commits(self) -> bool:
        """Whether a COMMIT is among them."""
        return any(message.commits for message in self.messages)

    @property
    def starts(self) -> bool:
        """Whether a connection begins with it."""
        return self.messages[0].kind == b""

    @property
    def data(self) -> bytes:
        return b"".join(message.data for message in self.messages)

    @property
    def before_commit(self) -> bytes:
        """What comes before the statement that commits; the preparation of it goes through, if it is there."""
        kept = b""
        for message in self.messages:
            if message.commits:
                break
            kept += message.data
        return kept


class _End(Exception):
    """The connection is to be reset now."""


Fault = Callable[["_Link", Trip], None]
"""What happens to a trip instead of being forwarded."""

Rule = Callable[[Trip], "Fault | None"]
"""From a trip to what happens to it; None for nothing. Never called twice at a time."""


class PostgresProxy(Door):
    """A proxy before one server, in threads; ``close`` ends them and their connections."""

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self.seen: list[Trip] = []
        """Every trip that came so far, the last one last."""
        self._rule: Rule | None = None
        self._number = 0
        self._links: set[_Link] = set()
        super().__init__()

    def __enter__(self) -> PostgresProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, rule: Rule | None) -> None:
        """Let this rule decide what happens to each trip from now on; without one, nothing does."""
        with self._lock:
            self._rule = rule
            self._number = 0

    def reset(self) -> None:
        """End all connections that are open; new ones are accepted as before."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.ended = True

    def met(self, messages: list[_Message]) -> tuple[Trip, Fault | None]:
        """Note a trip; it, and what is to happen to it."""
        with self._lock:
            self._number += 1
            trip = Trip(self._number, tuple(messages))
            self.seen.append(trip)
            return trip, self._rule(trip) if self._rule else None

    def serve(self, client: socket.socket) -> None:
        """One connection, and the one to the server that belongs to it."""
        try:
            server = socket.create_connection(self.upstream)
        except OSError:
            _reset(client)
            return
        link = _Link(self, client, server)
        with self._lock:
            self._links.add(link)
        try:
            link.run()
        except (_End, OSError):
            pass
        finally:
            with self._lock:
                self._links.discard(link)
            server.close()
            _reset(client)


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.ended = False
        self.left: int | None = None
        """How many bytes of answers still go through before the connection is reset; None for all."""
        self.per_second: float | None = None
        self._rest = b""
        self._is_new = True
        self._names: dict[bytes, str] = {}
        self._came: list[_Message] = []
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Forward everything, to the connection's end."""
        while True:
            ready = self.wait([self.client, self.server])
            if self.server in ready:
                data = self.server.recv(_SLICE)
                if not data:
                    return
                self._answer(data)
            if self.client in ready:
                data = self.client.recv(_SLICE)
                if not data:
                    return
                self._take(data)

    def wait(self, sockets: list[socket.socket], seconds: float = float("inf")) -> list[socket.socket]:
        """Those from which something came, none when it took too long; raises when the connection is to end."""
        until = time.monotonic() + seconds
        while True:
            if self.ended or self.proxy.closing.is_set():
                raise _End
            ready = select.select(sockets, [], [], min(0.02, max(0.0, until - time.monotonic())))[0]
            if ready or time.monotonic() >= until:
                return ready

    def swallow(self, trip: Trip) -> None:
        """Take the server's answer to a trip, to the end."""
        is_copy = any(statement.startswith("COPY") for statement in trip.statements)
        is_told = trip.messages[-1].kind in (b"Q", b"S") and not is_copy
        answer = b""
        while self.wait([self.server], float("inf") if is_told or not answer else _QUIET):
            data = self.server.recv(_SLICE)
            answer = (answer + data)[-len(_READY) - 1 :]
            if not data or (is_told and answer[:-1] == _READY):
                return

    def _answer(self, data: bytes) -> None:
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        if self.per_second is not None:
            for place in range(len(data)):
                self.client.sendall(data[place : place + 1])
                self.wait([], 1 / self.per_second)
        else:
            self.client.sendall(data)
        if self.left == 0:
            raise _End

    def _take(self, data: bytes) -> None:
        self._rest += data
        while (message := self._next()) is not None:
            if message.kind == b"X":
                self.server.sendall(message.data)
                continue
            self._came.append(message)
            if message.kind == b"" or message.kind in _ENDS:
                trip, fault = self.proxy.met(self._came)
                self._came = []
                if fault is None:
                    self.server.sendall(trip.data)
                else:
                    fault(self, trip)

    def _next(self) -> _Message | None:
        """The next whole message of the client."""
        head = 0 if self._is_new else 1
        if len(self._rest) < head + 4:
            return None
        size = head + struct.unpack_from("!I", self._rest, head)[0]
        if len(self._rest) < size:
            return None
        data, self._rest = self._rest[:size], self._rest[size:]
        kind, self._is_new = data[:head], False
        return _Message(kind, data, self._statement(kind, data[head + 4 :]))

    def _statement(self, kind: bytes, body: bytes) -> str:
        if kind == b"Q":
            return body.rstrip(b"\0").decode()
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._names[name] = text.decode()
        if kind == b"B":
            return self._names.get(body.split(b"\0", 2)[1], "")
        return ""


# What can happen to a trip


def cut_before() -> Fault:
    """The connection is reset; the server never sees the trip."""

    def meet(link: _Link, trip: Trip) -> None:
        raise _End

    return meet


def cut_before_commit() -> Fault:
    """The server sees what comes before COMMIT, and then the connection's end."""

    def meet(link: _Link, trip: Trip) -> None:
        link.server.sendall(trip.before_commit)
        raise _End

    return meet


def lose_answer() -> Fault:
    """The server carries it out; then the connection is reset."""

    def meet(link: _Link, trip: Trip) -> None:
        link.server.sendall(trip.data)
        link.swallow(trip)
        raise _End

    return meet


def cut_answer(after_bytes: int) -> Fault:
    """So much of the answer arrives; then the connection is reset."""

    def meet(link: _Link, trip: Trip) -> None:
        link.server.sendall(trip.data)
        link.left = after_bytes

    return meet


def hang() -> Fault:
    """The server never sees the trip, and the client is left to wait."""

    def meet(link: _Link, trip: Trip) -> None:
        while link.wait([link.client]) and link.client.recv(_SLICE):
            pass
        raise _End

    return meet


def stall() -> Fault:
    """The server carries it out; its answer never comes, and the client is left to wait."""

    def meet(link: _Link, trip: Trip) -> None:
        link.server.sendall(trip.data)
        hang()(link, trip)

    return meet


def delay(seconds: float) -> Fault:
    """The trip reaches the server so much later."""

    def meet(link: _Link, trip: Trip) -> None:
        link.wait([], seconds)
        link.server.sendall(trip.data)

    return meet


def slow(bytes_per_second: float) -> Fault:
    """From now on all answers on this connection come byte by byte."""

    def meet(link: _Link, trip: Trip) -> None:
        link.per_second = bytes_per_second
        link.server.sendall(trip.data)

    return meet


def refuse(then: Fault | None = None) -> Fault:
    """From now on connections are refused, and all open ones end, until ``proxy.accept()``; ``then`` comes before."""

    def meet(link: _Link, trip: Trip) -> None:
        try:
            if then is not None:
                then(link, trip)
        finally:
            link.proxy.refuse()

    return meet


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    sock.close()
