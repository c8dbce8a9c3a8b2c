"""What ``picas web`` lets in: S13 to S17, S25 and S26, each tried on every place there is."""

from __future__ import annotations

import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote, urlencode

import pytest

from picas.pool import connect
from picas.web.app import PLACES, Place
from support.cli import Cli
from support.pilots import until
from support.web import Web, serving

METHODS = ("POST", "PUT", "PATCH", "DELETE")
PATHS = sorted({place.path for place in PLACES} | {"/static/page.js"})
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def picas(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A pool with a token in each of three states."""
    cli = Cli(tmp_path_factory.mktemp("guard"))
    cli.ok("init")
    cli.ok("add", "--", "sh", "-c", "echo fine")
    cli.ok("add", "--", "sh", "-c", "echo broken >&2; exit 3")
    cli.ok("run")
    cli.ok("add", "--jsonl", "-", stdin=json.dumps({"_id": "waits", "command": ["true"]}))
    return cli


@pytest.fixture(scope="module")
def plain(picas: Cli) -> Iterator[Web]:
    """The page as it is unless asked otherwise."""
    with serving(picas) as web:
        yield web


@pytest.fixture(scope="module")
def closed(picas: Cli) -> Iterator[Web]:
    """The page where people log in and may write."""
    with serving(picas, "--write") as web:
        yield web


@pytest.fixture
def stranger(closed: Web) -> Iterator[Web]:
    """The same, before the log-in."""
    cookie, closed.cookie = closed.cookie, ""
    yield closed
    closed.cookie = cookie


def asked(place: Place) -> str:
    """A path with what must be asked for there."""
    return f"{place.path}?id=waits&name=x"


def test_s13_it_does_not_listen_for_others_without_a_log_in(picas: Cli) -> None:
    answer = picas("web", "--host", "0.0.0.0", "--port", "0")

    assert answer.code == 2
    assert "--host 0.0.0.0 lets others in, who would not have to log in" in answer.err
    assert "--login" in answer.err


def test_s13_a_short_token_is_none(picas: Cli) -> None:
    answer = picas("web", "--host", "0.0.0.0", "--port", "0", PICAS_WEB_TOKEN="guess")

    assert (answer.code, "PICAS_WEB_TOKEN is too short" in answer.err) == (3, True)


def test_s13_for_others_it_listens_with_a_log_in(picas: Cli) -> None:
    with serving(picas, "--host", "0.0.0.0", "--login", "--allow-host", "pool.example") as web:
        assert web.ask("GET", "/").status == 303
        assert web.ask("GET", "/", {"Host": "pool.example"}).status == 303
        assert web.ask("GET", "/", {"Host": "evil.example"}).status == 421


def test_s13_on_loopback_it_is_open_for_reading(plain: Web) -> None:
    for place in PLACES:
        if place.method == "GET":
            assert plain.ask("GET", asked(place)).status in (200, 400, 404), place
    ours = {"Sec-Fetch-Site": "same-origin"}
    assert all(plain.ask(p.method, p.path, ours).status in (404, 405) for p in PLACES if p.writes)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.method} {place.path}")
def test_s13_whoever_is_not_logged_in_is_let_into_nothing_but_the_way_in(stranger: Web, place: Place) -> None:
    answer = stranger.ask(place.method, asked(place), {"Sec-Fetch-Site": "same-origin"})

    if place.is_open:
        assert answer.status in (200, 403, 429), answer
        assert "picas.db" not in answer.text or place.path == "/login"
    elif place.method == "GET" and not place.path.startswith(("/api/", "/metrics")):
        assert (answer.status, answer.headers["location"][:7]) == (303, "/login?"), answer
    else:
        assert answer.status == 401
    for secret in ("waits", "broken"):
        assert secret not in answer.text or "location" in answer.headers or place.path == "/login"


def test_s13_a_part_of_a_page_asked_for_by_htmx_leads_to_the_log_in(stranger: Web) -> None:
    answer = stranger.ask("GET", "/live/overview", {"HX-Request": "true"})

    assert (answer.status, answer.headers["hx-redirect"]) == (401, "/login")


def test_s13_the_log_in_opens_and_the_log_out_closes(stranger: Web) -> None:
    assert stranger.log_in("wrong").status == 403
    assert stranger.ask("GET", "/").status == 303

    assert stranger.log_in().status == 303
    assert "Log out" in stranger.get("/").text
    cookie = stranger.cookie
    assert stranger.ask("POST", "/logout", {"Sec-Fetch-Site": "same-origin"}).status == 303
    stranger.cookie = cookie
    assert stranger.ask("GET", "/").status == 303


def test_s13_programs_show_the_token_with_each_request(stranger: Web) -> None:
    bearer = {"Authorization": f"Bearer {stranger.token}"}

    assert stranger.ask("GET", "/api/v1/pool", bearer).json["counts"]["todo"] == 1
    assert "picas_up 1.0" in stranger.ask("GET", "/metrics", bearer).text
    assert stranger.ask("GET", "/api/v1/pool", {"Authorization": "Bearer x"}).status == 401


_SOURCES: list[dict[str, str | None]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "http://localhost:{port}"},
    {"Referer": "{own}/"},
]
_KINDS = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/json", "")


def test_s14_nothing_unsafe_is_taken_from_elsewhere(closed: Web) -> None:
    """Every method, place, kind of body, and way in which a browser says that another page sent it: none is taken."""
    closed.log_in()
    own = f"http://{closed.host}:{closed.port}"
    taken, tried = [], 0
    for method, path, source in itertools.product(METHODS, PATHS, _SOURCES):
        kind = _KINDS[tried % len(_KINDS)]
        headers = {name: value.format(own=own, port=closed.port) for name, value in source.items() if value is not None}
        answer = closed.ask(method, path, {**headers, **({"Content-Type": kind} if kind else {})}, b"token=x")
        tried += 1
        if answer.status != 403:
            taken.append((method, path, headers, answer.status))
    assert taken == []
    assert tried == len(METHODS) * len(PATHS) * len(_SOURCES)


def test_s14_what_our_own_page_sends_is_taken(closed: Web) -> None:
    for headers in (
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": f"http://{closed.host}:{closed.port}"},
    ):
        closed.log_in()
        assert closed.ask("POST", "/logout", headers).status == 303


def test_s14_get_changes_nothing(closed: Web, picas: Cli) -> None:
    closed.log_in()
    before = picas.ok("show", "--all").out

    for place in PLACES:
        for method in ("GET", "HEAD", "OPTIONS"):
            closed.ask(method, asked(place))
            closed.ask(method, place.path)

    assert picas.ok("show", "--all").out == before
    assert closed.get("/").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::1", None],
)
def test_s15_a_name_that_is_not_ours_is_refused_everywhere(plain: Web, host: str | None) -> None:
    given = {"Host": host.format(port=plain.port) if host is not None else None}
    for place in PLACES:
        answer = plain.ask(place.method, asked(place), {**given, "Sec-Fetch-Site": "same-origin"})  # type: ignore[dict-item]
        assert answer.status in (400, 421), (place, answer)
        assert "picas.db" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost."])
def test_s15_the_names_of_this_machine_are_taken(plain: Web, host: str) -> None:
    assert plain.ask("GET", "/", {"Host": host.format(port=plain.port)}).status == 200


def test_every_answer_has_the_headers_that_guard_it(plain: Web) -> None:
    for place in PLACES:
        headers = plain.ask(place.method, asked(place), {"Sec-Fetch-Site": "same-origin"}).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "frame-ancestors 'none'" in policy or "sandbox" in policy


HTML = b"<html><script>alert(1)</script></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360f8cf5000000301012000"
    "0b1a2c0000000049454e44ae426082".replace(" ", "")
)


def test_s17_attachments_are_saved_and_never_opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    picas = Cli(tmp_path_factory.mktemp("files"))
    picas.ok("init")
    files = {
        "page.html": HTML,
        "drawing.svg": SVG,
        "plot.png": PNG,
        "fake.png": HTML,
        "a\";b'<&.txt": b"x",
        "ö/ü.txt": b"",
    }
    for name, data in files.items():
        path = picas.folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    line = json.dumps({"_id": "t 1/ä", "command": ["true"]})
    picas.ok("add", "--jsonl", "-", stdin=line)
    attach(picas, "t 1/ä", files)

    with serving(picas) as web:
        for name, data in files.items():
            answer = web.ask("GET", query("/file", id="t 1/ä", name=name))
            assert (answer.status, answer.body) == (200, data)
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment; ")
            assert answer.headers["content-security-policy"].startswith("sandbox")
            assert answer.headers["x-content-type-options"] == "nosniff"
        kinds = {name: web.ask("GET", query("/picture", id="t 1/ä", name=name)) for name in files}
        assert {name for name, answer in kinds.items() if answer.status == 200} == {"plot.png"}
        assert kinds["plot.png"].headers["content-type"] == "image/png"
        assert kinds["plot.png"].headers["content-security-policy"].startswith("sandbox")
        assert web.ask("GET", query("/file", id="t 1/ä", name="none")).status == 404
        assert web.ask("GET", query("/file", id="none", name="page.html")).status == 404
        # Files that were given up in their midst, or turned away, hold no place among those being sent.
        for _ in range(25):
            web.ask("GET", query("/picture", id="t 1/ä", name="page.html"))
        assert web.ask("GET", query("/file", id="t 1/ä", name="page.html")).status == 200


def attach(picas: Cli, token_id: str, files: dict[str, bytes]) -> None:
    """Give a token files, as a pilot would."""
    with connect(str(picas.folder / "picas.db")) as pool:
        for name, data in files.items():
            pool.store.put_attachment(token_id, name, io.BytesIO(data))


def query(path: str, **given: str) -> str:
    """A path with a query."""
    return f"{path}?{urlencode(given)}"


def test_s25_large_bodies_are_refused_before_they_are_read(plain: Web) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", **FORM}

    assert plain.ask("POST", "/login", {**headers, "Content-Length": "1000001"}, b"").status == 413
    assert plain.ask("POST", "/login", headers, b"token=" + b"x" * 900_000).status == 403
    assert plain.ask("POST", "/login", {**headers, "Content-Length": "-1"}, b"").status in (400, 413)


def test_s25_a_body_in_chunks_has_the_same_limit(plain: Web) -> None:
    with socket.create_connection((plain.host, plain.port), 30) as sock:
        head = f"POST /login HTTP/1.1\r\nHost: {plain.host}:{plain.port}\r\nSec-Fetch-Site: same-origin\r\n"
        sock.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with suppress(OSError):  # it hangs up when it has had enough
            for _ in range(20):
                sock.sendall(chunk)
        answer = b""
        with suppress(ConnectionResetError):  # what it wrote before that may not have come
            answer = sock.recv(1 << 16)
        assert answer[:12] in (b"HTTP/1.1 413", b"")
    assert plain.get("/").status == 200


def test_s25_ten_log_ins_a_minute_are_tried(picas: Cli) -> None:
    with serving(picas, "--login") as web:
        started = time.monotonic()
        statuses = [web.log_in("wrong").status for _ in range(10)]
        assert statuses == [403] * 10
        assert time.monotonic() - started > 4.0
        refused = web.log_in()
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert web.ask("GET", "/").status == 303
        forged = {"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3", "Sec-Fetch-Site": "none", **FORM}
        assert web.ask("POST", "/login", forged, b"token=x").status == 429


def test_s25_slow_and_silent_clients_do_not_slow_down_others(plain: Web) -> None:
    """200 connections that send a byte now and then, or nothing: other pages come as quickly as before."""
    sockets = [socket.create_connection((plain.host, plain.port), 30) for _ in range(200)]
    stop = threading.Event()

    def drip() -> None:
        head = f"POST /login HTTP/1.1\r\nHost: {plain.host}:{plain.port}\r\nSec-Fetch-Site: none\r\n"
        head += "Content-Length: 900\r\n\r\n"
        for number, sock in enumerate(sockets):
            sock.sendall(head.encode() if number % 2 else b"GET / HTTP/1.1\r\nX-A: b")
        while not stop.wait(0.5):
            for sock in sockets:
                try:
                    sock.sendall(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        took = []
        for _ in range(40):
            begun = time.monotonic()
            assert plain.get("/live/overview").status == 200
            took.append(time.monotonic() - begun)
    finally:
        stop.set()
        thread.join()
        for sock in sockets:
            sock.close()
    assert sorted(took)[int(len(took) * 0.95)] < 1.0, took


def test_s25_twenty_files_are_sent_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who reads slowly holds one of twenty places, and a thread of its own; pages come all the while."""
    picas = Cli(tmp_path_factory.mktemp("streams"))
    picas.ok("init")
    picas.ok("add", "--jsonl", "-", stdin='{"_id": "t", "command": ["true"]}')
    attach(picas, "t", {"large": b"x" * 24_000_000})
    path = query("/file", id="t", name="large")
    with serving(picas) as web:
        request = f"GET {path} HTTP/1.1\r\nHost: {web.host}:{web.port}\r\n\r\n".encode()
        sockets = [socket.create_connection((web.host, web.port), 30) for _ in range(20)]
        try:
            for sock in sockets:
                sock.sendall(request)
                assert sock.recv(15) == b"HTTP/1.1 200 OK"
            assert web.ask("GET", path).status == 503
            assert web.get("/").status == 200
        finally:
            for sock in sockets:
                sock.close()
        until("a place is free again", lambda: web.ask("GET", path).status == 200)


def test_s26_the_token_is_in_no_address_no_log_and_no_page(picas: Cli) -> None:
    canary = "canary-4242424242424242"
    with serving(picas, "--login", PICAS_WEB_TOKEN=canary) as web:
        web.token = canary
        answer = web.log_in()
        pages = [answer, *(web.ask(place.method, asked(place)) for place in PLACES)]
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert canary not in cookie
    assert cookie.startswith(f"picas-{web.port}=")
    assert answer.headers["location"] == "/"
    assert not [page for page in pages if canary in page.text or canary in str(page.headers)]
    assert canary not in (picas.folder / "web.err").read_text()


def test_s26_after_the_log_in_nobody_is_sent_elsewhere(picas: Cli) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", **FORM}
    with serving(picas, "--login") as web:
        for to in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
            answer = web.ask("POST", "/login", headers, f"token={web.token}&to={quote(to)}".encode())
            assert (answer.status, answer.headers["location"]) == (303, "/"), to
        answer = web.ask("POST", "/login", headers, f"token={web.token}&to={quote('/tokens?view=error')}".encode())
        assert answer.headers["location"] == "/tokens?view=error"
