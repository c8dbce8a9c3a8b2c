"""The proxy of ``support.faults``: how it listens, forwards and ends; what it does to a request, a fault says."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, parse_headers
from io import BufferedReader, BytesIO
from typing import Final

from support.door import LOOPBACK, Door

__all__ = ["Exchange", "Fault", "FaultProxy", "Reply", "Rule", "Seen", "Stop"]

_SLICE: Final = 64 * 1024
_OWN_HEADERS: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
"""What holds for one connection only, or is reckoned anew."""
_ABORT: Final = struct.pack("ii", 1, 0)
"""Linger for 0 seconds: the connection is reset when it is closed."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that came; the status is None until the client has the reply, and stays so if it never gets it all."""

    method: str
    path: str
    headers: HTTPMessage
    seconds: float = 0.0
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    headers: HTTPMessage
    body: bytes
    closes: bool


@dataclass(frozen=True, kw_only=True)
class Reply:
    """``length`` is what is said of the body's length, where that is not the truth."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int | None = None

    def head(self) -> bytes:
        return _head(self.status, [*self.headers, ("Content-Length", str(self.said_length))])

    @property
    def said_length(self) -> int:
        return len(self.body) if self.length is None else self.length


class Stop(Exception):
    """The client's connection is to be closed now, or reset."""

    def __init__(self, *, resets: bool) -> None:
        super().__init__()
        self.resets = resets


@dataclass(frozen=True)
class Exchange:
    """One request on its way."""

    proxy: FaultProxy
    client: socket.socket
    request: Request

    def forward(self, *, plain: bool = False) -> Reply:
        """The upstream server's reply; uncompressed, if plain."""
        with self.proxy._asked(self.request, plain=plain) as response:
            length = response.getheader("Content-Length") if self.request.method == "HEAD" else None
            headers = _kept(response.getheaders())
            body = response.read()
        return Reply(status=response.status, headers=headers, body=body, length=None if length is None else int(length))

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than the proxy is open."""
        if self.proxy.closing.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise Stop(resets=True)


class Fault:
    """What happens to one request: where its reply comes from, and how it is sent."""

    def answer(self, exchange: Exchange) -> Reply:
        """The reply; raises ``Stop`` for none."""
        return exchange.forward()

    def send(self, exchange: Exchange, reply: Reply) -> None:
        """Send the reply; raises ``Stop`` if the connection must not be used again."""
        exchange.client.sendall(reply.head() + reply.body)


Rule = Callable[[str, str, int], Fault | None]
"""From a request's method, path and number to what happens to it; None for nothing. Never called twice at a time."""


class FaultProxy(Door):
    """A proxy before one server, in threads; ``close`` ends them and their connections."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._rule: Rule | None = None
        self._number = 0
        self._seen: list[Seen] = []
        super().__init__()
        self.url = f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seen(self) -> list[Seen]:
        """Every request that came so far, the last one last."""
        with self._lock:
            return list(self._seen)

    def plan(self, rule: Rule | None) -> None:
        """Let this rule decide what happens to each request from now on; without one, nothing does."""
        with self._lock:
            self._rule = rule
            self._number = 0

    def reset(self) -> None:
        """End all connections that are open, to the server too."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with suppress(OSError):  # it may have gone already
                each.shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        """One connection, to its end."""
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client.makefile("rb") as stream:
                while (request := _read_request(stream, client)) is not None:
                    self._handle(Exchange(self, client, request))
                    if request.closes:
                        break
        except Stop as stop:
            if stop.resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        except (OSError, ValueError):
            pass  # the client went away, or never spoke HTTP

    def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        began = time.monotonic()
        with self._lock:
            self._number += 1
            fault = self._rule and self._rule(request.method, request.path, self._number)
            index = len(self._seen)
            self._seen.append(Seen(method=request.method, path=request.path, headers=request.headers))

        def note(status: int | None) -> None:
            with self._lock:
                self._seen[index] = replace(self._seen[index], status=status, seconds=time.monotonic() - began)

        try:
            if fault is None:
                self._relay(exchange, note)
            else:
                reply = fault.answer(exchange)
                note(reply.status)
                fault.send(exchange, reply)
        except (Stop, OSError):
            note(None)
            raise

    def _relay(self, exchange: Exchange, note: Callable[[int | None], None]) -> None:
        """The reply as it comes, piece by piece: some take a minute, and say now and then that they live."""
        with self._asked(exchange.request) as response:
            send = exchange.client.sendall
            headers = _kept(response.getheaders())
            length = response.getheader("Content-Length")
            is_bodyless = exchange.request.method == "HEAD" or response.status in {204, 304}
            if length is not None:
                headers.append(("Content-Length", length))
            elif not is_bodyless:
                headers.append(("Transfer-Encoding", "chunked"))
            note(response.status)
            send(_head(response.status, headers))
            while piece := b"" if is_bodyless else response.read1(_SLICE):
                send(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            if response.length:
                raise Stop(resets=True)
            if length is None and not is_bodyless:
                send(b"0\r\n\r\n")

    @contextmanager
    def _asked(self, request: Request, *, plain: bool = False) -> Iterator[HTTPResponse]:
        """The upstream server's response, over a connection of its own."""
        connection = HTTPConnection(*self._upstream)
        try:
            connection.connect()
            with self._known(connection.sock):
                connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
                for name, value in _kept(request.headers.items()):
                    if not (plain and name.lower() == "accept-encoding"):
                        connection.putheader(name, value)
                if request.body or request.method in {"PUT", "POST"}:
                    connection.putheader("Content-Length", str(len(request.body)))
                connection.putheader("Connection", "close")
                connection.endheaders(request.body)
                with connection.getresponse() as response:
                    yield response
        except (OSError, HTTPException) as error:
            raise Stop(resets=True) from error
        finally:
            connection.close()

    @contextmanager
    def _known(self, sock: socket.socket) -> Iterator[None]:
        """Have ``close`` and ``refuse`` end this connection too."""
        with self._lock:
            self._sockets.add(sock)
        try:
            if self.closing.is_set():
                raise Stop(resets=True)
            yield
        finally:
            with self._lock:
                self._sockets.discard(sock)


def _kept(headers: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _OWN_HEADERS]


def _head(code: int, headers: list[tuple[str, str]]) -> bytes:
    phrase = HTTPStatus(code).phrase if code in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {code} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _read_request(stream: BufferedReader, client: socket.socket) -> Request | None:
    """The next request; None if there is none, ValueError or OSError if it is none or ends too early."""
    line = stream.readline(_SLICE)
    if not line:
        return None
    method, path, version = line.decode("latin-1").split()
    headers = parse_headers(BytesIO(_read_headers(stream)))
    if headers.get("Expect", "").lower() == "100-continue":
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    closes = version == "HTTP/1.0" or headers.get("Connection", "").lower() == "close"
    return Request(method=method, path=path, headers=headers, body=_read_body(stream, headers), closes=closes)


def _read_headers(stream: BufferedReader) -> bytes:
    lines = []
    while (line := stream.readline(_SLICE)) not in {b"\r\n", b"\n"}:
        if not line:
            raise ConnectionError("the client went away in the middle of a request")
        lines.append(line)
    return b"".join(lines)


def _read_body(stream: BufferedReader, headers: HTTPMessage) -> bytes:
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        return _read_exactly(stream, int(headers.get("Content-Length", "0")))
    pieces = []
    while size := int(stream.readline(_SLICE).split(b";")[0], 16):
        pieces.append(_read_exactly(stream, size))
        stream.readline(_SLICE)
    while stream.readline(_SLICE).strip():
        pass  # trailers
    return b"".join(pieces)


def _read_exactly(stream: BufferedReader, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionError("the client went away in the middle of a request")
    return data
