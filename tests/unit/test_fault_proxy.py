"""The proxy that tests of faults use does each fault, and does it to that request alone."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import ClassVar

import pytest

from support import faults
from support.faults import FaultProxy, Rule
from support.pilots import until

TIMEOUT = 10.0


class _Upstream(BaseHTTPRequestHandler):
    """Echoes what it gets; ``/chunks`` comes in pieces, and waits for leave between them; ``/gzip`` is compressed."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    came: ClassVar[list[str]]
    go_on: ClassVar[threading.Event]
    port: ClassVar[int]

    def do_GET(self) -> None:
        self.came.append(f"{self.command} {self.path}")
        if self.path == "/chunks":
            return self._chunks()
        size = int(self.headers.get("Content-Length", "0"))
        said = {"path": self.path, "body": self.rfile.read(size).decode(), "headers": dict(self.headers)}
        body = json.dumps(said).encode()
        if self.path == "/gzip" and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Kind", "upstream")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

    def _chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"one", b"two"):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            assert self.go_on.wait(TIMEOUT)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[type[_Upstream]]:
    """What came to the server, and leave for it to go on."""

    class Handler(_Upstream):
        came: ClassVar[list[str]] = []
        go_on = threading.Event()

    class Server(ThreadingTCPServer):
        request_queue_size = 32

        def handle_error(self, *_: object) -> None:
            """The proxy went away."""

    with Server(("127.0.0.1", 0), Handler) as server:
        Handler.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Handler
        Handler.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream: type[_Upstream]) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", upstream.port) as made:
        yield made


class Client:
    """One connection to the proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=TIMEOUT)

    def __call__(self, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str) -> tuple:
        """Status, headers, body."""
        try:
            self._connection.request(method, path, body, headers)
            with self._connection.getresponse() as response:
                return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    made = Client(proxy)
    yield made
    made.close()


def only(number: int, fault: faults.Fault) -> Rule:
    """This fault for this request alone."""
    return lambda method, path, at: fault if at == number else None


def test_nothing_happens_without_a_plan(proxy: FaultProxy, client: Client, upstream: type[_Upstream]) -> None:
    status, headers, body = client("POST", "/a%2Fb?c=d", b"data", Authorization="Basic x")
    said = json.loads(body)
    assert (status, headers["X-Kind"], said["path"], said["body"]) == (201, "upstream", "/a%2Fb?c=d", "data")
    assert said["headers"]["Host"] == f"127.0.0.1:{proxy.port}"
    status, headers, body = client("HEAD", "/h")
    assert (status, body) == (201, b"")
    assert int(headers["Content-Length"]) > 0
    assert [(seen.method, seen.path, seen.status) for seen in proxy.seen] == [
        ("POST", "/a%2Fb?c=d", 201),
        ("HEAD", "/h", 201),
    ]
    assert proxy.seen[0].headers["authorization"] == "Basic x"
    assert 0 < proxy.seen[0].seconds < TIMEOUT
    assert upstream.came == ["POST /a%2Fb?c=d", "HEAD /h"]


def test_a_chunked_request_and_one_that_expects_leave(proxy: FaultProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        sock.sendall(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\nGET /n HTTP/1.0\r\n\r\n")
        answers = stream.read()
    assert b'"body": "abcde"' in answers
    assert b'"path": "/n"' in answers


def test_a_reply_in_pieces_is_passed_on_piece_by_piece(proxy: FaultProxy, upstream: type[_Upstream]) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"GET /chunks HTTP/1.1\r\nConnection: close\r\n\r\n")
        until("the first piece", lambda: stream.readline() == b"one\r\n")
        upstream.go_on.set()
        assert stream.read().endswith(b"two\r\n0\r\n\r\n")
    until("its status is known", lambda: proxy.seen[0].status == 200)


def test_requests_are_numbered_anew_for_each_plan(proxy: FaultProxy, client: Client) -> None:
    numbers: list[tuple[str, str, int]] = []
    for _ in range(2):
        proxy.plan(lambda *asked: numbers.append(asked))
        client("GET", "/1")
        client("PUT", "/2")
    assert numbers == [("GET", "/1", 1), ("PUT", "/2", 2)] * 2


def test_refused_until_accepted(proxy: FaultProxy, client: Client, upstream: type[_Upstream]) -> None:
    proxy.plan(only(2, faults.refuse()))
    client()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)()
    proxy.accept()
    again = Client(proxy)
    assert again()[0] == 201
    proxy.refuse()
    with pytest.raises(ConnectionError):
        again("GET", "/unseen")
    again.close()
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)()
    assert [seen.status for seen in proxy.seen] == [201, None, 201]
    assert len(upstream.came) == 2


def test_hang_then_close(proxy: FaultProxy, client: Client, upstream: type[_Upstream]) -> None:
    proxy.plan(only(1, faults.hang(0.05)))
    with pytest.raises(http.client.RemoteDisconnected):
        client()
    assert proxy.seen[0].seconds >= 0.05
    assert upstream.came == []
    assert client()[0] == 201


def test_hang_ends_with_the_proxy(upstream: type[_Upstream]) -> None:
    with FaultProxy("127.0.0.1", upstream.port) as proxy:
        proxy.plan(only(1, faults.hang()))
        with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            until("the request came", lambda: proxy.seen)
            began = time.monotonic()
            proxy.close()
            assert time.monotonic() - began < 1.0
            assert proxy.seen[0].status is None


def test_a_reply_that_does_not_come_ends_with_the_proxy(upstream: type[_Upstream]) -> None:
    with FaultProxy("127.0.0.1", upstream.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock, sock.makefile("rb") as stream:
            sock.sendall(b"GET /chunks HTTP/1.1\r\n\r\n")
            until("the first piece", lambda: stream.readline() == b"one\r\n")
            proxy.refuse()
            proxy.close()
        assert proxy.seen[0].status is None
        upstream.go_on.set()


@pytest.mark.parametrize(
    ("fault", "executed"), [(faults.reset_before(), False), (faults.lose_reply(), True)], ids=["before", "after"]
)
def test_reset(
    fault: faults.Fault, executed: bool, proxy: FaultProxy, client: Client, upstream: type[_Upstream]
) -> None:
    proxy.plan(only(1, fault))
    with pytest.raises(ConnectionResetError):
        client("POST", "/x", b"data")
    assert upstream.came == (["POST /x"] if executed else [])
    assert proxy.seen[0].status is None
    assert client()[0] == 201


def test_delay(proxy: FaultProxy, client: Client) -> None:
    proxy.plan(only(1, faults.delay(0.1)))
    began = time.monotonic()
    assert client()[0] == 201
    assert time.monotonic() - began >= 0.1


def test_slow(proxy: FaultProxy, client: Client) -> None:
    proxy.plan(lambda *_: faults.slow(2000))
    began = time.monotonic()
    body = client("PUT", "/", b"x" * 300)[2]
    assert json.loads(body)["body"] == "x" * 300
    assert time.monotonic() - began >= 0.15
    assert proxy.seen[0].status == 201


def test_slow_stops_when_the_client_leaves(proxy: FaultProxy) -> None:
    proxy.plan(lambda *_: faults.slow(100))
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(1)
    until("the proxy notices", lambda: proxy.seen[0].status is None)


@pytest.mark.parametrize("resets", [False, True])
def test_cut(resets: bool, proxy: FaultProxy, client: Client) -> None:
    proxy.plan(only(1, faults.cut(5, resets=resets)))
    with pytest.raises(ConnectionResetError if resets else http.client.IncompleteRead) as caught:
        client()
    assert resets or caught.value.partial == b'{"pat'
    assert proxy.seen[0].status is None
    assert client()[0] == 201


def test_status_in_place_of_the_servers(proxy: FaultProxy, client: Client, upstream: type[_Upstream]) -> None:
    answers = {
        1: faults.status(507, b'{"error":"insufficient_storage"}'),
        2: faults.status(200, b"<html>", content_type="text/html"),
        3: faults.status(302, headers={"Location": "http://elsewhere.invalid/"}),
        4: faults.status(429, headers={"Retry-After": "1"}),
    }
    proxy.plan(lambda method, path, number: answers.get(number))
    status, headers, body = client()
    assert (status, headers["Content-Type"], json.loads(body)) == (
        507,
        "application/json",
        {"error": "insufficient_storage"},
    )
    status, headers, body = client()
    assert (status, headers["Content-Type"], body) == (200, "text/html", b"<html>")
    assert client()[1]["Location"] == "http://elsewhere.invalid/"
    assert client()[1]["Retry-After"] == "1"
    assert upstream.came == []
    assert [seen.status for seen in proxy.seen] == [507, 200, 302, 429]


def test_status_with_a_wrong_length(proxy: FaultProxy, client: Client) -> None:
    proxy.plan(only(1, faults.status(200, b'{"rows":[', length=1000)))
    with pytest.raises(http.client.IncompleteRead):
        client()
    assert client()[0] == 201


def test_rewrite(proxy: FaultProxy, client: Client) -> None:
    proxy.plan(only(1, faults.rewrite(lambda body: body.replace(b"/gzip", b"/something else"))))
    status, headers, body = client("GET", "/gzip", **{"Accept-Encoding": "gzip"})
    assert (status, headers["X-Kind"], json.loads(body)["path"]) == (201, "upstream", "/something else")
    assert gzip.decompress(client("GET", "/gzip", **{"Accept-Encoding": "gzip"})[2])


def test_a_server_that_is_gone_resets() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with FaultProxy("127.0.0.1", unused.getsockname()[1]) as before_nothing:
            lost = Client(before_nothing)
            with pytest.raises(ConnectionResetError):
                lost()
            lost.close()


def test_what_is_not_http_is_dropped(proxy: FaultProxy) -> None:
    for words in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"PUT / HTTP/1.1\r\nContent-Le"):
        with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock:
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""
    assert proxy.seen == []


def test_many_at_once(proxy: FaultProxy) -> None:
    proxy.plan(lambda method, path, number: faults.lose_reply() if number % 3 == 0 else None)
    statuses: list[int | None] = []

    def ask() -> None:
        for _ in range(20):
            mine = Client(proxy)
            try:
                statuses.append(mine("POST", "/", b"x" * 1000)[0])
            except ConnectionResetError:
                statuses.append(None)
            mine.close()

    before = threading.active_count()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(None) == 53
    assert statuses.count(201) == 107
    assert sorted(map(str, statuses)) == sorted(str(seen.status) for seen in proxy.seen)
    assert threading.active_count() < before + 16
