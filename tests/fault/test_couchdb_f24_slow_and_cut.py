"""F24: the network is slow, cuts answers off, or swallows them. No call outlasts its time, and no answer is half."""

from __future__ import annotations

import io
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from picas.errors import PicasError, StoreUnavailable
from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.stores.base import Attachment, Claim, PilotRecord, Settlement
from picas.stores.couchdb import CouchStore, read_address
from picas.testing.samples import TODO, claim, put
from support import couch_faults, faults
from support.couch_faults import Scene, on, one_line, within
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault
from support.pilots import insist

PILOT = "p1"
READ = 0.2
TRIES = 3
SLACK = 2.0
"""Seconds that a busy machine may take for anything."""
LARGE = random.Random(24).randbytes(200_000)
NAMES = [f"t{number:02d}" for number in range(40)]


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    couch_faults.hasten(monkeypatch)
    return place.fresh()


@dataclass(frozen=True)
class Call:
    """A call of the store: what it needs, itself, and what its answer must be in full."""

    act: Callable[[CouchStore, Any], Any]
    check: Callable[[Scene, Any, Any], None]
    before: Callable[[Scene], Any]


def _filled(scene: Scene) -> list[Doc]:
    put(scene.direct, *NAMES, input="x" * 100)
    return scene.docs()


def _claimed(scene: Scene) -> list[Doc]:
    put(scene.direct, "a", "b")
    docs = claim(scene.direct, 1, pilot=PILOT)
    scene.direct.put_attachment(docs[0]["_id"], "in", io.BytesIO(LARGE))
    return [scene.doc(docs[0]["_id"])]


def _exchange(store: CouchStore, docs: list[Doc]) -> Any:
    outcome = Outcome(attempt={"fence": docs[0]["fence"], "pilot": PILOT})
    files = {"out": Attachment(data=LARGE)}
    wish = Claim(view=TODO, count=1, claimant=Claimant(pilot=PILOT))
    return store.exchange([Settlement(doc=docs[0], outcome=outcome, attachments=files)], wish)


def _check_exchange(scene: Scene, docs: list[Doc], answer: Any) -> None:
    stored = scene.doc(docs[0]["_id"])
    assert state_of(stored) is State.DONE
    assert [attempt["fence"] for attempt in stored["attempts"]] == [1]
    assert [one["_rev"] for one in answer.settled] == [stored["_rev"]]
    assert {doc["_id"] for doc in answer.claimed} == scene.held_by(PILOT) == {"a", "b"} - {stored["_id"]}
    assert b"".join(scene.direct.get_attachment(stored["_id"], "out")) == LARGE


def _beat(store: CouchStore, docs: list[Doc]) -> dict[str, int]:
    record = PilotRecord(id=PILOT, hostname="node1", pid=1, started_at=0.0, lease=60.0)
    return dict(store.beat(record).held)


def _equal(one: object, other: object) -> None:
    assert one == other


CALLS = {
    "read": Call(lambda store, docs: store.get(NAMES), lambda scene, docs, answer: _equal(answer, docs), _filled),
    "list": Call(
        lambda store, docs: store.page(TODO, limit=100).docs, lambda scene, docs, answer: _equal(answer, docs), _filled
    ),
    "count": Call(
        lambda store, docs: store.count()[State.TODO], lambda scene, docs, answer: _equal(answer, len(NAMES)), _filled
    ),
    "beat": Call(_beat, lambda scene, docs, answer: _equal(answer, {docs[0]["_id"]: 1}), _claimed),
    "put": Call(
        lambda store, _: store.put([{"_id": "new"}]),
        lambda scene, _, answer: _equal(answer, [scene.doc("new")["_rev"]]),
        lambda scene: None,
    ),
    "settle and claim": Call(_exchange, _check_exchange, _claimed),
    "upload": Call(
        lambda store, docs: store.put_attachment(docs[0]["_id"], "out", io.BytesIO(LARGE), fence=1),
        lambda scene, docs, _: _equal(b"".join(scene.direct.get_attachment(docs[0]["_id"], "out")), LARGE),
        _claimed,
    ),
    "download": Call(
        lambda store, docs: b"".join(store.get_attachment(docs[0]["_id"], "in")),
        lambda scene, docs, answer: _equal(answer, LARGE),
        _claimed,
    ),
}


def _all_at_once(server: CouchServer, make: Callable[[], Fault], seconds: float, most: int) -> None:
    """Every call meets the fault with its first requests, each call on a pool of its own, all at the same time."""
    problems: list[BaseException] = []

    def make_one(call: Call, scene: Scene, before: Any, store: CouchStore) -> None:
        try:
            call.check(scene, before, within(seconds, lambda: call.act(store, before)))
        except BaseException as problem:  # noqa: BLE001 - it is raised again where the test sees it
            problems.append(problem)

    with ExitStack() as stack:
        threads = []
        for call in CALLS.values():
            scene = stack.enter_context(couch_faults.scene(server))
            before, store = call.before(scene), scene.open()
            scene.direct.count()
            scene.proxy.plan(lambda method, path, number: make() if number <= most else None)
            threads.append(threading.Thread(target=make_one, args=(call, scene, before, store)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]


def test_two_seconds_of_delay_cost_time_and_nothing_else(couchdb_server: CouchServer) -> None:
    # Tokens and files are as they should be, to the byte, however late each answer came.
    _all_at_once(couchdb_server, lambda: faults.delay(2.0), 30.0, most=1)


@pytest.mark.soak
def test_a_thin_line_costs_time_and_nothing_else(couchdb_server: CouchServer) -> None:
    # As above: what trickles in for longer than any pause between its bytes is no answer that does not come.
    _all_at_once(couchdb_server, lambda: faults.slow(100_000), 30.0, most=1000)


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_in_slices_of_one_byte_is_whole(scene: Scene, name: str) -> None:
    call = CALLS[name]
    before, store = call.before(scene), scene.open()
    scene.proxy.plan(lambda method, path, number: None if path.endswith("/in") else couch_faults.slices())

    # Token and file are as they should be, to the byte.
    call.check(scene, before, call.act(store, before))


CUTS: dict[str, Callable[[], Fault]] = {
    **{f"after {size}": lambda size=size: faults.cut(size) for size in (0, 1, 100, 5000)},
    **{f"reset after {size}": lambda size=size: faults.cut(size, resets=True) for size in (0, 1, 100, 5000)},
    "amid chunks": couch_faults.half_of_chunks,
}


FEW = {"reset after 100", "amid chunks"}


@pytest.mark.parametrize("cut", [name if name in FEW else pytest.param(name, marks=pytest.mark.soak) for name in CUTS])
@pytest.mark.parametrize("name", CALLS)
def test_an_answer_that_is_cut_is_never_taken_for_the_whole(scene: Scene, name: str, cut: str) -> None:
    call = CALLS[name]
    before, store = call.before(scene), scene.open()
    scene.proxy.plan(on(".", CUTS[cut]()))

    answer, failures = insist(lambda: call.act(store, before), scene.heal)

    # A read is repeated, a write is looked up; a file that broke off was said to have broken off. Then all is whole.
    assert len(failures) <= 1
    call.check(scene, before, answer)


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_swallows_everything_is_given_up_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call = CALLS[name]
    before, store = call.before(scene), scene.open()
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    scene.proxy.plan(lambda *asked: faults.hang())

    with pytest.raises(StoreUnavailable) as caught:
        within((TRIES + 1) * READ + SLACK, lambda: call.act(store, before))

    one_line(caught.value, scene)
    scene.heal()
    # Afterwards the same call does what it should.
    call.check(scene, before, call.act(store, before))


@pytest.mark.parametrize("name", ["put", "settle and claim", "upload"])
def test_a_write_that_is_executed_and_never_answered_is_given_up_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call = CALLS[name]
    before, store = call.before(scene), scene.open()
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    scene.proxy.plan(on("_bulk_docs|PUT", couch_faults.swallow(), ever=True))

    answer, _ = insist(
        lambda: within(6 * READ + SLACK, lambda: call.act(store, before)),
        scene.heal,
    )

    # It was looked up: the token and its file are there, once.
    if name != "put":
        call.check(scene, before, answer)
    assert state_of(scene.doc("new" if name == "put" else "a")) is not None


def test_writes_that_never_arrive_are_given_up_soon(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    put(scene.direct, "a")
    (doc,) = claim(scene.direct, 1, pilot=PILOT)
    store = scene.open()
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    scene.proxy.plan(lambda method, path, number: faults.hang() if "_bulk_docs" in path else None)

    with pytest.raises(StoreUnavailable) as caught:
        within(6 * READ + SLACK, lambda: store.exchange([Settlement(doc=doc, outcome=Outcome())]))

    one_line(caught.value, scene)
    # Nothing was changed, and the result can be settled when writes arrive again.
    assert scene.doc("a") == doc
    scene.heal()
    assert state_of(store.exchange([Settlement(doc=doc, outcome=Outcome())]).settled[0]) is State.DONE


def test_an_upload_that_never_arrives_is_given_up_soon(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    put(scene.direct, "a")
    store = scene.open()
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    scene.proxy.plan(lambda method, path, number: faults.hang() if method == "PUT" else None)

    with pytest.raises(StoreUnavailable):
        within(6 * READ + SLACK, lambda: store.put_attachment("a", "out", io.BytesIO(LARGE)))

    # The token has no file, and nothing else was changed.
    assert "_attachments" not in scene.doc("a")


def test_a_stream_that_stops_in_the_middle_is_given_up_soon(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = _claimed(scene)
    store = scene.open()
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    scene.proxy.plan(lambda *asked: couch_faults.stall(50_000))
    got: list[bytes] = []

    def read() -> None:
        for chunk in store.get_attachment(docs[0]["_id"], "in"):
            got.append(chunk)

    with pytest.raises(StoreUnavailable) as caught:
        within(TRIES * READ + SLACK, read)

    one_line(caught.value, scene)
    # What came is the file's beginning, and nobody was told that it was all.
    assert LARGE.startswith(b"".join(got))


def test_a_machine_that_does_not_take_connections_is_given_up_soon(
    couchdb_server: CouchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    couch_faults.hasten(monkeypatch)
    couch_faults.shorten(monkeypatch, read=READ, connect=READ)
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        address = read_address(f"http://127.0.0.1:{port}/pool", username="u", password="secret-canary")

        with pytest.raises(StoreUnavailable) as caught:
            within(TRIES * READ + SLACK, lambda: CouchStore.open(address))

    assert "\n" not in str(caught.value)
    # One line says which machine; there is no token to lose.
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "secret-canary" not in repr(caught.value)


@pytest.mark.parametrize(
    "name",
    ["put", "settle and claim"],
)
def test_closing_a_handle_does_not_wait_for_a_server_that_swallows_everything(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call = CALLS[name]
    before, store = call.before(scene), scene.open()
    call.act(store, before)
    couch_faults.shorten(monkeypatch, read=READ, connect=READ, view=5 * READ)
    scene.proxy.plan(lambda *asked: faults.hang())

    within((TRIES + 1) * READ + SLACK, store.close)

    # What was written before is there.
    assert {state_of(doc) for doc in scene.docs()} <= {State.TODO, State.DONE, State.LOCKED}


def test_closing_a_handle_ends_its_thread(scene: Scene) -> None:
    store = scene.open()
    assert store.wait(0.2) is False
    (thread,) = [one for one in threading.enumerate() if one.name == "picas watcher"]

    store.close()

    # Nothing is left that asks the server.
    thread.join(SLACK)
    assert not thread.is_alive()


def test_no_error_of_the_driver_comes_through(scene: Scene) -> None:
    store = scene.open()
    put(scene.direct, "a")
    for make in (couch_faults.half, couch_faults.half_of_chunks, faults.reset_before, lambda: faults.hang(0.01)):
        scene.proxy.plan(lambda *asked, make=make: make())
        with pytest.raises(PicasError) as caught:
            store.get(["a"])
        one_line(caught.value, scene)

    # Nothing was changed.
    assert state_of(scene.doc("a")) is State.TODO
