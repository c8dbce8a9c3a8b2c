"""F25: the server, or something between it and us, answers with what nobody asked for."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from picas.errors import Conflict, InvalidToken, NoSuchView, PicasError, StoreFailure, StoreUnavailable
from picas.lifecycle import Claimant, Outcome, State, state_of
from picas.stores.base import Claim, Settlement
from picas.stores.couchdb import CouchStore, answers, read_address
from picas.testing.samples import TODO, claim, put
from picas.views import Design
from support import couch_faults, faults
from support.couch_faults import Scene, on, one_line, within
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault
from support.pilots import insist

PILOT = "p1"
HTML = b"<html><body>Log in to the network</body></html>"


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    couch_faults.hasten(monkeypatch)
    monkeypatch.setattr(answers, "_LONGEST_WISH", 0.05)
    return place.fresh()


# What each answer means, to whoever reads, and to whoever writes

AWAY, BROKEN = StoreUnavailable, StoreFailure
Raised = type[PicasError]


@dataclass(frozen=True)
class Row:
    """An answer in place of the server's, and what becomes of a read and of a write that get it for good."""

    make: Callable[[], Fault]
    read: Raised
    write: Raised
    says: str = ""


def _status(code: int, body: bytes = b'{"error":"odd","reason":"because"}', **more: Any) -> Callable[[], Fault]:
    return lambda: faults.status(code, body, **more)


def _html(code: int) -> Callable[[], Fault]:
    return _status(code, HTML, content_type="text/html")


TABLE = {
    # away, busy or full: the same call may be tried again later
    "429": Row(_status(429), AWAY, AWAY, "429"),
    "429 for a while": Row(_status(429, headers={"Retry-After": "1"}), AWAY, AWAY, "429"),
    "429 for a day": Row(_status(429, headers={"Retry-After": "86400"}), AWAY, AWAY, "429"),
    "429 until a date": Row(_status(429, headers={"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}), AWAY, AWAY),
    "429 for ever": Row(_status(429, headers={"Retry-After": "9" * 400}), AWAY, AWAY),
    "429 for odd": Row(_status(429, headers={"Retry-After": "\u00b2"}), AWAY, AWAY),
    "500": Row(_status(500), AWAY, AWAY, "because"),
    "502 of a proxy": Row(_html(502), AWAY, AWAY, "502"),
    "503": Row(_status(503), AWAY, AWAY, "because"),
    "504 of a proxy": Row(_html(504), AWAY, AWAY, "504"),
    "507": Row(_status(507), AWAY, AWAY, "507"),
    "500 in lines": Row(_status(500, b'{"error":"x","reason":"one\\ntwo\\u001b[31m"}'), AWAY, AWAY),
    "less than it says": Row(_status(200, b'{"rows":[', length=1000), AWAY, AWAY),
    "JSON that breaks off": Row(_status(200, b'{"total_rows":1,"rows":[{"id":"a"'), AWAY, AWAY),
    "rows and then an error": Row(_status(200, b'{"rows":[\r\n{"id":"a"}\n\n{"error":"timeout"}\n'), AWAY, AWAY),
    "nothing at all": Row(_status(200, b""), AWAY, AWAY),
    # broken or foreign: trying again changes nothing
    "404 of a web server": Row(_html(404), BROKEN, BROKEN),
    "405": Row(_status(405), BROKEN, BROKEN),
    "412": Row(_status(412), BROKEN, BROKEN),
    "415": Row(_status(415), BROKEN, BROKEN),
    "418": Row(_status(418, b"\x00\xff\n"), BROKEN, BROKEN),
    "a page": Row(_html(200), BROKEN, BROKEN, "text/html"),
    "a list": Row(_status(200, b"[]"), BROKEN, BROKEN),
    "a number": Row(_status(200, b"5"), BROKEN, BROKEN),
    "null": Row(_status(200, b"null"), BROKEN, BROKEN),
    "a string": Row(_status(200, b'"rows"'), BROKEN, BROKEN),
    "an empty object": Row(_status(200, b"{}"), BROKEN, BROKEN),
    "no rows": Row(_status(200, b'{"rows":null}'), BROKEN, BROKEN),
    "rows of something else": Row(_status(200, b'{"rows":[1,null,"x"]}'), BROKEN, BROKEN),
    "fewer rows than asked": Row(_status(200, b'{"rows":[]}'), BROKEN, BROKEN),
    "deep JSON": Row(_status(200, b"[" * 100_000 + b"]" * 100_000), BROKEN, BROKEN),
    "403": Row(_status(403), BROKEN, BROKEN, "because"),
    "301": Row(_status(301, headers={"Location": "http://127.0.0.2:1/"}), BROKEN, BROKEN, "sends on"),
    "302 to nowhere": Row(_status(302), BROKEN, BROKEN, "sends on"),
}


LIKE_OTHERS = {"429 until a date", "504 of a proxy", "a number", "a string", "415", "412", "302 to nowhere"}
"""What is hardly different from its neighbours: in the long run only, but for reads."""


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.soak) if name in LIKE_OTHERS and kind != "read" else name
        for name in TABLE
        if (name, kind) != ("fewer rows than asked", "view")  # which is an empty view
    ]


@pytest.mark.parametrize("name", _cases("read"))
def test_what_a_read_makes_of_it(scene: Scene, name: str) -> None:
    row = TABLE[name]
    put(scene.direct, "a", "b")
    store = scene.open()
    scene.proxy.plan(lambda *asked: row.make())

    with pytest.raises(row.read) as caught:
        within(10.0, lambda: store.get(["a", "b"]))

    assert type(caught.value) is not PicasError
    assert row.says in one_line(caught.value, scene).message
    scene.heal()
    # The same handle reads the tokens when the server speaks again.
    assert [doc["_id"] for doc in store.get(["a", "b"]) if doc] == ["a", "b"]


@pytest.mark.parametrize("name", _cases("view"))
def test_what_a_read_of_a_view_makes_of_it(scene: Scene, name: str) -> None:
    row = TABLE[name]
    put(scene.direct, "a", "b")
    store = scene.open()
    scene.proxy.plan(lambda *asked: row.make())

    with pytest.raises((row.read, NoSuchView) if name.startswith("404") else row.read) as caught:
        within(10.0, lambda: store.page(TODO))

    one_line(caught.value, scene)
    scene.heal()
    assert [doc["_id"] for doc in store.page(TODO).docs] == ["a", "b"]


@pytest.mark.parametrize("name", _cases("write"))
def test_what_a_write_makes_of_it(scene: Scene, name: str) -> None:
    row = TABLE[name]
    store = scene.open()
    scene.proxy.plan(lambda method, path, number: row.make() if "_bulk_docs" in path else None)

    with pytest.raises(row.write) as caught:
        within(10.0, lambda: store.put([{"_id": "a"}, {"_id": "b"}]))

    assert row.says in one_line(caught.value, scene).message
    # Nothing was added, and nothing stands in the way of adding it later.
    assert scene.docs() == []
    scene.heal()
    assert all(isinstance(rev, str) for rev in store.put([{"_id": "a"}, {"_id": "b"}]))


@pytest.mark.parametrize("name", _cases("settlement"))
def test_what_a_settlement_makes_of_it(scene: Scene, name: str) -> None:
    row = TABLE[name]
    put(scene.direct, "a", "b")
    (doc,) = claim(scene.direct, 1, pilot=PILOT)
    store = scene.open()
    result = Settlement(doc=doc, outcome=Outcome(attempt={"fence": 1, "pilot": PILOT}))
    wish = Claim(view=TODO, count=1, claimant=Claimant(pilot=PILOT))
    scene.proxy.plan(on("_bulk_docs", row.make(), ever=True))

    with pytest.raises(row.write) as caught:
        within(10.0, lambda: store.exchange([result], wish))

    one_line(caught.value, scene)
    assert scene.doc(doc["_id"]) == doc
    scene.heal()
    answer = store.exchange([result], wish)
    # The result was accepted afterwards, once, and the next token claimed.
    assert [state_of(stored) for stored in answer.settled] == [State.DONE]
    assert {one["_id"] for one in answer.claimed} == scene.held_by(PILOT) == {"a", "b"} - {doc["_id"]}


@pytest.mark.parametrize(
    "name",
    [name for name, row in TABLE.items() if row.read is AWAY],
)
def test_what_passes_is_not_heard_of_by_a_read(scene: Scene, name: str) -> None:
    put(scene.direct, "a", "b")
    store = scene.open()
    scene.proxy.plan(on(".", TABLE[name].make()))

    found = insist(lambda: store.get(["a", "b"]), lambda: None)

    # It was asked again, at once, and the tokens were read.
    assert [doc["_id"] for doc in found[0] if doc] == ["a", "b"]
    assert found[1] == []


# What means something else where it is expected


def test_202_is_as_good_as_201(scene: Scene) -> None:
    store = scene.open()
    scene.proxy.plan(lambda *asked: couch_faults.told(202) if asked[0] in ("PUT", "POST", "DELETE") else None)

    assert store.put([{"_id": "a"}]) == [scene.doc("a")["_rev"]]
    store.put_attachment("a", "log", io.BytesIO(b"output"))
    (doc,) = store.exchange([], Claim(view=TODO, count=1, claimant=Claimant(pilot=PILOT))).claimed
    (settled,) = store.exchange([Settlement(doc=doc, outcome=Outcome())]).settled

    # What most copies of a cluster have yet to write is written: the token is done, with its file.
    assert state_of(settled) is state_of(scene.doc("a")) is State.DONE
    assert b"".join(scene.direct.get_attachment("a", "log")) == b"output"


def test_409_is_a_conflict(scene: Scene) -> None:
    put(scene.direct, "a")
    store = scene.open()
    scene.proxy.plan(lambda method, path, number: faults.status(409) if method in ("PUT", "DELETE") else None)

    with pytest.raises(Conflict) as caught:
        store.install(Design.from_source("Mine", {"cores": 4}))
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="does not stop changing"):
        store.put_attachment("a", "log", io.BytesIO(b"output"))

    # The token has no file, and there is no such design document.
    assert "_attachments" not in scene.doc("a")
    assert [design.name for design in scene.direct.designs()] == ["Monitor"]


def test_412_says_that_the_database_is_there(scene: Scene) -> None:
    put(scene.direct, "a")
    scene.proxy.plan(
        lambda method, path, number: faults.status(404, b'{"reason":"no_db_file"}') if number == 2 else None
    )
    address = read_address(scene.url(), username=scene.server.admin, password=scene.server.password)

    # It had not been there when it was looked for, and somebody made it meanwhile: the pool is opened, with its token.
    opened = CouchStore.open(address, create=True)
    assert [doc["_id"] for doc in opened.page(None).docs] == ["a"]
    opened.close()


def test_413_halves_what_is_written_until_one_document_is_too_large(scene: Scene) -> None:
    store = scene.open()
    limit = 3000

    class Limited(Fault):
        def answer(self, exchange: Any) -> Any:
            if len(exchange.request.body) <= limit:
                return exchange.forward()
            return faults.status(413, b'{"error":"too_large"}').answer(exchange)

    scene.proxy.plan(lambda method, path, number: Limited() if "_bulk_docs" in path else None)

    answers = store.put([{"_id": f"t{number}", "input": "x" * 500} for number in range(20)])
    with pytest.raises(InvalidToken, match="large") as caught:
        store.put([{"_id": "large", "input": "x" * limit}])

    assert "max_document_size" in one_line(caught.value, scene).hint
    # All that fits is there; the one that does not is named, and not.
    assert all(isinstance(rev, str) for rev in answers)
    assert len(scene.docs()) == 20


def test_413_for_a_file_says_so(scene: Scene) -> None:
    put(scene.direct, "a")
    store = scene.open()
    scene.proxy.plan(lambda method, path, number: faults.status(413) if method == "PUT" else None)

    with pytest.raises(PicasError) as caught:
        store.put_attachment("a", "log", io.BytesIO(b"output"))

    assert "413" in one_line(caught.value, scene).message
    # The token is as it was, without the file.
    assert "_attachments" not in scene.doc("a")


@pytest.mark.parametrize(("wish", "least"), [("1", 1.0), ("86400", 1.2), ("0", 0.0)])
def test_429_is_waited_out_as_long_as_it_is_reasonable(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, wish: str, least: float
) -> None:
    monkeypatch.setattr(answers, "_LONGEST_WISH", 1.2)
    put(scene.direct, "a")
    store = scene.open()
    scene.proxy.plan(on(".", faults.status(429, headers={"Retry-After": wish})))
    seen, began = len(scene.proxy.seen), time.monotonic()

    (doc,) = store.get(["a"])

    # It was asked again once, not sooner than the server wished, or a while later when it wished too much.
    assert [one.status for one in scene.proxy.seen[seen:]] == [429, 200]
    assert least <= time.monotonic() - began <= least + 2.0
    assert doc == scene.doc("a")


# Credentials go to the server they are for


class _Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _note(self) -> None:
        self.server.came.append((self.command, self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _note  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[ThreadingHTTPServer]:
    """Another host, which records what comes."""
    server = ThreadingHTTPServer(("127.0.0.2", 0), _Recorder)
    server.came = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _everything(scene: Scene, store: CouchStore, login: str) -> Iterator[Callable[[], Any]]:
    """Calls of every kind of request: reads, writes, views, files out and in, documents, opening."""
    access = {"username": scene.server.admin, "password": scene.server.password}
    yield lambda: store.get(["a"])
    yield lambda: store.put([{"_id": "b"}])
    yield lambda: store.page(TODO)
    yield lambda: list(store.get_attachment("a", "in"))
    yield lambda: store.put_attachment("a", "out", io.BytesIO(b"x" * 100_000))
    yield lambda: store.delete_attachment("a", "in")
    yield lambda: store.install(Design.from_source("Mine", {"cores": 4}))
    yield lambda: store.pilots()
    yield lambda: store.server.users() if store.server else None
    yield lambda: CouchStore.open(read_address(scene.url(query=f"?auth={login}"), **access), create=True)


@pytest.mark.parametrize("login", ["basic", "cookie"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(
    scene: Scene, elsewhere: ThreadingHTTPServer, code: int, login: str
) -> None:
    put(scene.direct, "a")
    scene.direct.put_attachment("a", "in", io.BytesIO(b"x" * 100_000))
    before = scene.docs()
    store = scene.open(query=f"?auth={login}")
    host, port = elsewhere.server_address[:2]
    to = {"Location": f"http://{host}:{port}/stolen"}
    scene.proxy.plan(lambda *asked: faults.status(code, b"", headers=to))

    for act in _everything(scene, store, login):
        with pytest.raises(StoreFailure) as caught:
            act()
        assert "sends on" in one_line(caught.value, scene).message

    # Not one request arrived there, let alone with credentials; token and file are as they were.
    assert elsewhere.came == []  # type: ignore[attr-defined]
    assert scene.docs() == before


def test_a_redirect_of_the_log_in_is_not_followed(scene: Scene, elsewhere: ThreadingHTTPServer) -> None:
    store = scene.open(query="?auth=cookie")
    store._opened[1].cookie = ""
    host, port = elsewhere.server_address[:2]
    to = {"Location": f"http://{host}:{port}/_session"}

    def rule(method: str, path: str, number: int) -> Fault:
        return faults.status(307, b"", headers=to) if path == "/_session" else faults.status(401)

    scene.proxy.plan(rule)
    with pytest.raises(PicasError) as caught:
        store.get(["a"])

    one_line(caught.value, scene)
    # Name and password went to no other host.
    assert elsewhere.came == []  # type: ignore[attr-defined]


def test_a_location_with_a_password_in_it_is_not_shown(scene: Scene) -> None:
    store = scene.open()
    secret = {"Location": "http://someone:other-canary@127.0.0.2:1/"}
    scene.proxy.plan(lambda *asked: faults.status(302, b"", headers=secret))

    with pytest.raises(StoreFailure) as caught:
        store.get(["a"])

    # Whatever password it names is not repeated.
    assert "other-canary" not in caught.value.message


def test_an_odd_date_does_not_stop_the_clock(scene: Scene) -> None:
    put(scene.direct, "a")
    store = scene.open()
    dates = ["", "yesterday", "Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 -2359", ",", "-1", "9" * 99]
    rows = json.dumps({"rows": [{"id": "a", "key": "a", "doc": scene.doc("a")}]}).encode()
    for date in dates:
        scene.proxy.plan(lambda *asked, date=date: faults.status(200, rows, headers={"Date": date}))
        # The token is read, whatever the time is said to be.
        assert store.get(["a"]) == [scene.doc("a")]
    assert store.now() > 0
