"""F27: a write of 1,000 tokens, some of which are there already, breaks off in the middle and is repeated."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from picas.errors import Conflict
from picas.lifecycle import Doc
from support import couch_faults, faults
from support.couch_faults import Scene, on, one_line
from support.couchdb_server import CouchServer
from support.fault_proxy import Exchange, Fault, Reply, Stop
from support.pilots import insist

TOKENS = 1000
THERE = range(0, TOKENS, 10)
IDS = [f"t{number:04d}" for number in range(TOKENS)]
OLD = {IDS[number] for number in THERE}
NEW: list[Doc] = [{"_id": name, "input": f"new {name} " * 10} for name in IDS]


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A hundred of the thousand are there, with other contents."""
    couch_faults.hasten(monkeypatch)
    place.fresh()
    place.direct.load({"_id": name, "input": "old"} for name in sorted(OLD))
    return place


class _Torn(Fault):
    """Half of the request reaches the upstream server; then the connection is gone."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)

    def answer(self, exchange: Exchange) -> Reply:
        request = exchange.request
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in request.headers.items()]
        with socket.create_connection(self._address, 10.0) as upstream:
            upstream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body[: len(request.body) // 2])
        raise Stop(resets=True)


BREAKS: dict[str, Callable[[Scene], Fault]] = {
    "before it is carried out": lambda scene: faults.reset_before(),
    "in the middle of the request": lambda scene: _Torn(scene.server.url),
    "after it is carried out": lambda scene: faults.lose_reply(),
    "after 10 bytes of the answer": lambda scene: faults.cut(10),
    "in the middle of the answer": lambda scene: couch_faults.half(),
    "in the middle of the answer in chunks": lambda scene: couch_faults.half_of_chunks(),
    "with a reset amid the answer": lambda scene: faults.cut(30_000, resets=True),
}


FEW = {"before it is carried out", "in the middle of the request", "in the middle of the answer in chunks"}
MOMENTS = [moment if moment in FEW else pytest.param(moment, marks=pytest.mark.soak) for moment in BREAKS]


def _check(scene: Scene) -> None:
    """There are exactly a thousand tokens: those that were there are as they were, the others as they were sent."""
    docs = scene.docs()
    assert [doc["_id"] for doc in docs] == IDS
    sent = {doc["_id"]: doc["input"] for doc in NEW}
    assert [doc["input"] for doc in docs] == ["old" if name in OLD else sent[name] for name in IDS]
    assert len({doc["_rev"].partition("-")[0] for doc in docs}) == 1, "some were written twice"


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_is_completed_within_the_same_call(scene: Scene, moment: str) -> None:
    store = scene.open()
    scene.proxy.plan(on("_bulk_docs", BREAKS[moment](scene)))

    loaded = store.load(iter(NEW))

    assert (loaded.added, loaded.existing) == (TOKENS - len(OLD), len(OLD))
    # A thousand tokens, each once, and none was written over.
    _check(scene)


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_can_be_repeated_after_an_outage(scene: Scene, moment: str) -> None:
    store = scene.open()
    met = False

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal met
        if met:
            return faults.reset_before()
        met = "_bulk_docs" in path
        return BREAKS[moment](scene) if met else None

    scene.proxy.plan(rule)
    loaded, failures = insist(lambda: store.load(iter(NEW)), scene.heal)

    assert len(failures) == 1
    one_line(failures[0], scene)
    assert loaded.added + loaded.existing == TOKENS
    _check(scene)
    again = store.load(iter(NEW))
    # Repeated once more, nothing is added.
    assert (again.added, again.existing) == (0, TOKENS)
    _check(scene)


@pytest.mark.parametrize("moment", ["after it is carried out"])
def test_each_row_is_told_what_became_of_it(scene: Scene, moment: str) -> None:
    store = scene.open()
    scene.proxy.plan(on("_bulk_docs", BREAKS[moment](scene)))

    answers = dict(zip(IDS, store.put(NEW), strict=True))

    # Conflicts for those that had been there; of each of the others the revision that it has.
    assert {name for name, answer in answers.items() if isinstance(answer, Conflict)} == OLD
    assert all(answers[doc["_id"]] == doc["_rev"] for doc in scene.docs() if doc["_id"] not in OLD)
    _check(scene)
