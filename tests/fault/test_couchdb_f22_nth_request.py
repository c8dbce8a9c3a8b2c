"""F22: the N-th request of a verb fails, for every N, once or for good."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from picas.errors import Conflict
from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.selectors import parse
from picas.stores.base import Attachment, Claim, Exchange, PilotRecord, Settlement, TokenStore
from picas.stores.couchdb import CouchStore
from picas.testing.samples import TODO, claim, put
from picas.views import Design
from support import couch_faults, faults
from support.couch_faults import Scene, insist, on, one_line
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault

PILOT = "p1"
NAMES = ["a", "b", "c", "d"]
NEW: list[Doc] = [{"_id": name, "input": name} for name in NAMES]
LARGE = b"0123456789" * 60_000
DESIGN = Design.from_source("Large", {"cores": {"$gte": 4}})

FAULTS: dict[str, tuple[Callable[[], Fault], Callable[[], Fault]]] = {
    "refused": (couch_faults.refuse_once, faults.refuse),
    "reset": (faults.reset_before, faults.reset_before),
    "503": (lambda: faults.status(503, b"<html>busy</html>", content_type="text/html"),) * 2,
    "cut": (couch_faults.half, couch_faults.half),
}
"""Each fault as it comes once, and as it stays."""


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    couch_faults.hasten(monkeypatch)
    return place.fresh()


@dataclass(frozen=True)
class Verb:
    """A verb of the store: what there must be for it, itself, and what must hold of its answer and the pool after it.

    Whoever had to ask twice (``again``) may be told that it was done already. What only ``reads`` leaves all as it is.
    """

    verb: str
    act: Callable[[CouchStore, Any], Any]
    check: Callable[[Scene, Any, Any, bool], None]
    before: Callable[[Scene], Any] = lambda scene: None
    reads: bool = False


def _some(scene: Scene) -> list[Doc]:
    put(scene.direct, *NAMES)
    return scene.docs()


def _claimed(scene: Scene) -> list[Doc]:
    put(scene.direct, *NAMES)
    return claim(scene.direct, 2, pilot=PILOT)


def _with_file(scene: Scene) -> Doc:
    (doc,) = _claimed(scene)[:1]
    scene.direct.put_attachment(doc["_id"], "log", io.BytesIO(LARGE))
    return scene.doc(doc["_id"])


def _with_pilot(scene: Scene) -> PilotRecord:
    record = PilotRecord(id=PILOT, hostname="node1", pid=os.getpid(), started_at=time.time(), lease=60.0)
    scene.direct.beat(record)
    return record


def _wish(count: int) -> Claim:
    return Claim(view=TODO, count=count, claimant=Claimant(pilot=PILOT))


def _results(docs: list[Doc]) -> list[Settlement]:
    attempts = {doc["_id"]: {"fence": doc["fence"], "pilot": PILOT} for doc in docs}
    log = {"log": Attachment(data=b"output")}
    return [Settlement(doc=doc, outcome=Outcome(attempt=attempts[doc["_id"]]), attachments=log) for doc in docs]


def _same_as_direct(read: Callable[[TokenStore], Any]) -> Callable[[Scene, Any, Any, bool], None]:
    def check(scene: Scene, before: Any, answer: Any, again: bool) -> None:
        assert answer == read(scene.direct)
        assert before is None or scene.docs() == before

    return check


def _reads(verb: str, read: Callable[[TokenStore], Any]) -> Verb:
    return Verb(verb, lambda store, _: read(store), _same_as_direct(read), _some, reads=True)


def _check_put(scene: Scene, before: None, answer: list[str | Conflict], again: bool) -> None:
    stored = {doc["_id"]: doc for doc in scene.docs()}
    assert [(name, doc["input"]) for name, doc in stored.items()] == [(name, name) for name in NAMES]
    for name, told in zip(NAMES, answer, strict=True):
        assert told == stored[name]["_rev"] or (again and isinstance(told, Conflict))


def _check_load(scene: Scene, before: None, answer: Any, again: bool) -> None:
    assert [doc["_id"] for doc in scene.docs()] == NAMES
    assert (answer.added, answer.existing) == (4, 0) or (again and answer.added + answer.existing == 4)


def _check_update(scene: Scene, before: list[Doc], answer: list[str | Conflict], again: bool) -> None:
    for old, new, told in zip(before, scene.docs(), answer, strict=True):
        assert new == {**old, "_rev": new["_rev"], "priority": 1}
        assert told == new["_rev"] or (again and isinstance(told, Conflict))


def _check_delete(scene: Scene, before: list[Doc], answer: list[bool], again: bool) -> None:
    assert scene.docs() == []
    assert again or answer == [True] * 4


def _check_exchange(scene: Scene, before: Any, answer: Exchange, again: bool) -> None:
    """What was to be settled is done, once, with its file; what is locked is known to its pilot, and only that."""
    ended = before or []
    assert [one["_rev"] for one in answer.settled] == [scene.doc(doc["_id"])["_rev"] for doc in ended]
    for doc in map(scene.doc, [doc["_id"] for doc in ended]):
        assert state_of(doc) is State.DONE
        assert [attempt["fence"] for attempt in doc["attempts"]] == [doc["fence"]] == [1]
        assert b"".join(scene.direct.get_attachment(doc["_id"], "log")) == b"output"
    claimed = [doc["_id"] for doc in answer.claimed]
    assert sorted(claimed) == sorted(scene.held_by(PILOT))
    assert all(scene.doc(name)["fence"] == 1 for name in claimed)


def _check_upload(scene: Scene, before: list[Doc], answer: str, again: bool) -> None:
    doc = scene.doc(before[0]["_id"])
    assert answer == doc["_rev"]
    assert b"".join(scene.direct.get_attachment(doc["_id"], "log")) == LARGE
    assert doc["claim"] == before[0]["claim"]


def _check_file_gone(scene: Scene, before: Doc, answer: bool, again: bool) -> None:
    now = scene.doc(before["_id"])
    assert {**before, "_rev": now["_rev"]} == {**now, "_attachments": before["_attachments"]}
    assert "_attachments" not in now
    assert answer or again


def _check_beat(scene: Scene, before: list[Doc], answer: Any, again: bool) -> None:
    assert dict(answer.held) == {doc["_id"]: 1 for doc in before}
    assert [record.id for record in scene.direct.pilots()] == [PILOT]


def _check_order(scene: Scene, before: Any, answer: bool, again: bool) -> None:
    assert answer
    assert [record.orders for record in scene.direct.pilots()] == ["drain"]


def _check_forgotten(scene: Scene, before: Any, answer: None, again: bool) -> None:
    assert scene.direct.pilots() == []


def _check_designs(names: list[str]) -> Callable[[Scene, Any, Any, bool], None]:
    def check(scene: Scene, before: Any, answer: Any, again: bool) -> None:
        assert [design.name for design in scene.direct.designs()] == names
        assert not scene.direct.check()
        assert again or answer in (None, True)
        if "Large" in names:
            assert scene.direct.count("Large")[State.TODO] == 0

    return check


def _beat(store: CouchStore, before: Any) -> Any:
    return store.beat(PilotRecord(id=PILOT, hostname="node1", pid=1, started_at=0.0, lease=60.0))


def _upload(store: CouchStore, docs: list[Doc]) -> str:
    return store.put_attachment(docs[0]["_id"], "log", io.BytesIO(LARGE), fence=docs[0]["fence"])


VERBS = {
    "put": Verb("put", lambda store, _: store.put(NEW), _check_put),
    "load": Verb("load", lambda store, _: store.load(NEW), _check_load),
    "get": _reads("get", lambda store: store.get([*NAMES, "nothing"])),
    "update": Verb(
        "update", lambda store, docs: store.update([{**doc, "priority": 1} for doc in docs]), _check_update, _some
    ),
    "delete": Verb("delete", lambda store, docs: store.delete(docs), _check_delete, _some),
    "claim": Verb(
        "exchange", lambda store, _: store.exchange([], _wish(2)), _check_exchange, lambda scene: put(scene.direct, "a")
    ),
    "settle": Verb("exchange", lambda store, docs: store.exchange(_results(docs)), _check_exchange, _claimed),
    "settle and claim": Verb(
        "exchange", lambda store, docs: store.exchange(_results(docs), _wish(2)), _check_exchange, _claimed
    ),
    "settle and claim more": Verb(
        "exchange", lambda store, docs: store.exchange(_results(docs), _wish(9)), _check_exchange, _claimed
    ),
    "page": _reads("page", lambda store: store.page(TODO, limit=3)),
    "page of all": _reads("page", lambda store: store.page(None, after=store.page(None, limit=1).next)),
    "count": _reads("count", lambda store: store.count()),
    "count by condition": _reads("count", lambda store: store.count(where=parse({"_id": "a"}))),
    "next_ready": _reads("next_ready", lambda store: store.next_ready(TODO)),
    "put_attachment": Verb("put_attachment", _upload, _check_upload, _claimed),
    "get_attachment": Verb(
        "get_attachment",
        lambda store, doc: b"".join(store.get_attachment(doc["_id"], "log")),
        lambda scene, doc, answer, again: _assert_equal(answer, LARGE),
        _with_file,
        reads=True,
    ),
    "delete_attachment": Verb(
        "delete_attachment", lambda store, doc: store.delete_attachment(doc["_id"], "log"), _check_file_gone, _with_file
    ),
    "beat": Verb("beat", _beat, _check_beat, _claimed),
    "pilots": Verb(
        "pilots",
        lambda store, _: [record.id for record in store.pilots()],
        lambda scene, before, answer, again: _assert_equal(answer, [PILOT]),
        _with_pilot,
        reads=True,
    ),
    "order": Verb("order", lambda store, _: store.order(PILOT, "drain"), _check_order, _with_pilot),
    "forget": Verb("forget", lambda store, _: store.forget(PILOT), _check_forgotten, _with_pilot),
    "install": Verb("install", lambda store, _: store.install(DESIGN), _check_designs(["Monitor", "Large"])),
    "uninstall": Verb(
        "uninstall",
        lambda store, _: store.uninstall("Large"),
        _check_designs(["Monitor"]),
        lambda scene: scene.direct.install(DESIGN),
    ),
    "designs": _reads("designs", lambda store: store.designs()),
    "wait": Verb("wait", lambda store, _: store.wait(0.0), lambda *told: None, _some, reads=True),
    "check": _reads("check", lambda store: store.check(mend=True)),
}


def _assert_equal(one: object, other: object) -> None:
    assert one == other


def _clear(scene: Scene, verb: Verb) -> None:
    scene.fresh()
    if verb.verb in ("install", "uninstall"):
        scene.direct.uninstall("Large")
    if verb.verb in ("beat", "pilots", "order", "forget"):
        scene.direct.forget(PILOT)


@pytest.fixture(scope="module")
def requests() -> dict[str, int]:
    """How many requests each verb takes where nothing is wrong, as far as that is known."""
    return {}


def _requests_of(scene: Scene, verb: Verb) -> int:
    """How many requests it takes where nothing is wrong; that it does what it should is checked, too."""
    before, store = verb.before(scene), scene.open()
    seen = len(scene.proxy.seen)
    answer = verb.act(store, before)
    asked = [one for one in scene.proxy.seen[seen:] if "_changes" not in one.path]
    verb.check(scene, before, answer, False)
    _clear(scene, verb)
    return len(asked)


CASES = [(name, fault, ever) for name in VERBS for fault in FAULTS for ever in (False, True)]
FEW = {("reset", True), ("cut", False)}
"""Faults that show most of what there is to see; the others come in the long run, and so does the longest act."""
SOAK = {
    (name, fault, ever)
    for name, fault, ever in CASES
    if (fault, ever) not in FEW or (VERBS[name].reads and fault == "cut") or name == "settle and claim more"
}


QUIET = {"wait", "claim", "settle and claim more"}
"""What fails after the tokens that there are have been claimed, in looking for more, need not be heard of."""


def _parameters(name: str, fault: str, ever: bool) -> Any:
    marks = pytest.mark.soak if (name, fault, ever) in SOAK else ()
    return pytest.param(name, fault, ever, marks=marks, id=f"{name}-{fault}-{'for good' if ever else 'once'}")


@pytest.mark.parametrize(("name", "fault", "ever"), [_parameters(*case) for case in CASES])
def test_the_nth_request_fails(scene: Scene, requests: dict[str, int], name: str, fault: str, ever: bool) -> None:
    verb, make = VERBS[name], FAULTS[fault][ever]
    _clear(scene, verb)
    if name not in requests:
        requests[name] = _requests_of(scene, verb)
    before = verb.before(scene)
    for number in range(1, requests[name] + 1):
        store = scene.open()
        scene.proxy.plan(on(".", make(), nth=number, ever=ever))

        answer, failures = insist(lambda: verb.act(store, before), scene.heal)  # noqa: B023 - called at once

        scene.heal()
        for error in failures:
            one_line(error, scene)
        assert failures or not ever or name in QUIET, f"nobody heard of the failure of request {number}"
        # Whether it failed and was repeated, or got through: the tokens and their files are as if it was done once.
        verb.check(scene, before, answer, bool(failures))
        if not verb.reads:
            _clear(scene, verb)
            before = verb.before(scene)


def test_no_verb_is_left_out() -> None:
    others = {"now", "twin", "close", "drop"}
    assert {verb.verb for verb in VERBS.values()} | others == TokenStore.__abstractmethods__
