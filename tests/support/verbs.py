"""The verbs of a store, each with what it needs and what must hold after it: for faults that meet them one by one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from picas.errors import Conflict
from picas.lifecycle import Claimant, Doc, Outcome, State, fence_of, state_of
from picas.selectors import parse
from picas.stores.base import Attachment, Claim, Exchange, PilotRecord, Settlement, Tail, TokenStore
from picas.stores.steering import Pause
from picas.testing.samples import TODO, claim, put
from picas.views import Design

__all__ = [
    "LARGE",
    "NAMES",
    "PILOT",
    "VERBS",
    "Scene",
    "Verb",
    "assert_accepted_once",
    "assert_known",
    "record",
    "result",
    "wish",
]

PILOT = "p1"
NAMES = ("a", "b", "c", "d")
LARGE = b"0123456789" * 120_000
"""A file of several chunks, where a store has them."""


class Scene(Protocol):
    """A pool behind a proxy, with a handle that goes past it."""

    direct: Any

    def doc(self, token_id: str) -> Doc:
        """A token as it is stored; it must be there."""

    def docs(self) -> list[Doc]:
        """All tokens as they are stored."""

    def held_by(self, pilot: str) -> set[str]:
        """The tokens that are locked in a pilot's name."""


def wish(count: int) -> Claim:
    return Claim(view=TODO, count=count, claimant=Claimant(pilot=PILOT, hostname="node1"))


def result(doc: Doc) -> Settlement:
    """A token's own result and file: what they say names the claim that made them."""
    made_by = f"{doc['_id']} {fence_of(doc)}"
    outcome = Outcome(changes={"output": made_by}, attempt={"fence": fence_of(doc), "pilot": PILOT})
    return Settlement(doc=doc, outcome=outcome, attachments={"log": Attachment(data=made_by.encode())})


def assert_accepted_once(scene: Scene, token_id: str) -> None:
    """It is done, by one attempt, with the output and the file of that."""
    doc = scene.doc(token_id)
    assert state_of(doc) is State.DONE, doc
    assert [attempt["fence"] for attempt in doc["attempts"]] == [doc["fence"]], doc
    assert doc["output"] == f"{token_id} {doc['fence']}"
    assert b"".join(scene.direct.get_attachment(token_id, "log")) == doc["output"].encode()


def assert_known(scene: Scene, claimed: list[Doc]) -> None:
    """What is locked in the pilot's name is what the pilot was told that it has, once."""
    ids = [doc["_id"] for doc in claimed]
    assert sorted(set(ids)) == sorted(ids)
    assert scene.held_by(PILOT) == set(ids)


@dataclass(frozen=True)
class Verb:
    """A verb of the store: what there must be for it, itself, and what must hold of its answer and the pool after it.

    Whoever had to ask twice (``again``) may be told that it was done already. What only ``reads`` leaves all as it is.
    """

    verb: str
    act: Callable[[TokenStore, Any], Any]
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
    doc = _claimed(scene)[0]
    scene.direct.put_attachment(doc["_id"], "log", io.BytesIO(LARGE))
    return scene.doc(doc["_id"])


def _with_pilot(scene: Scene) -> None:
    scene.direct.beat(record())


def _with_follower(scene: Scene) -> None:
    _with_pilot(scene)
    scene.direct.follow(PILOT, "a", 60)


def _with_tails(scene: Scene) -> None:
    _with_follower(scene)
    scene.direct.send_tails(PILOT, [TAIL])


def _with_view(scene: Scene) -> None:
    scene.direct.install(DESIGN)


TAIL = Tail(id="a", fence=1, out=b"out", err=b"err", err_at=7)


def record(pilot: str = PILOT, *, lease: float = 60.0, started_at: float = 0.0) -> PilotRecord:
    return PilotRecord(id=pilot, hostname="node1", pid=os.getpid(), started_at=started_at, lease=lease)


def _check_put(scene: Scene, before: None, answer: list[str | Conflict], again: bool) -> None:
    assert [(doc["_id"], doc["input"]) for doc in scene.docs()] == [(name, name) for name in NAMES]
    for name, told in zip(NAMES, answer, strict=True):
        assert told == scene.doc(name)["_rev"] or (again and isinstance(told, Conflict))


def _check_load(scene: Scene, before: None, answer: Any, again: bool) -> None:
    assert [doc["_id"] for doc in scene.docs()] == list(NAMES)
    assert (answer.added, answer.existing) == (4, 0) or (again and answer.added + answer.existing == 4)


def _check_update(scene: Scene, before: list[Doc], answer: list[str | Conflict], again: bool) -> None:
    for old, new, told in zip(before, scene.docs(), answer, strict=True):
        assert new == {**old, "_rev": new["_rev"], "priority": 1}
        assert told == new["_rev"] or (again and isinstance(told, Conflict))


def _check_delete(scene: Scene, before: list[Doc], answer: list[bool], again: bool) -> None:
    assert scene.docs() == []
    assert again or answer == [True] * 4


def _check_exchange(scene: Scene, before: list[Doc] | None, answer: Exchange, again: bool) -> None:
    """What was to be settled is done, once, and told as accepted; what is locked is known to its pilot, and no more."""
    ended = before or []
    assert [one["_rev"] for one in answer.settled] == [scene.doc(doc["_id"])["_rev"] for doc in ended]
    for doc in ended:
        assert_accepted_once(scene, doc["_id"])
        assert scene.doc(doc["_id"])["fence"] == 1
    assert_known(scene, answer.claimed)
    assert all(scene.doc(doc["_id"])["fence"] == doc["fence"] == 1 for doc in answer.claimed)


def _check_both(scene: Scene, before: list[Doc], answer: Exchange, again: bool) -> None:
    _check_exchange(scene, before, answer, again)
    assert len(answer.claimed) == 2


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


def _check_pilots(scene: Scene, before: None, answer: list[str], again: bool) -> None:
    assert answer == [PILOT]


def _check_order(scene: Scene, before: None, answer: bool, again: bool) -> None:
    assert answer
    assert [record.orders for record in scene.direct.pilots()] == ["drain"]


def _check_paused(scene: Scene, before: None, answer: None, again: bool) -> None:
    assert scene.direct.paused() == PAUSE
    scene.direct.pause(None)


def _check_nothing(scene: Scene, before: None, answer: Any, again: bool) -> None:
    """It may be so or not."""


def _check_followed(scene: Scene, before: None, answer: Any, again: bool) -> None:
    assert answer in (True, {"a"})
    assert scene.direct.followed(PILOT) == {"a"}


def _check_tails(scene: Scene, before: None, answer: Any, again: bool) -> None:
    assert answer in ({"a"}, [TAIL])
    assert scene.direct.tails(PILOT) == [TAIL]


def _check_forgotten(scene: Scene, before: None, answer: None, again: bool) -> None:
    assert scene.direct.pilots() == []


def _check_designs(names: list[str]) -> Callable[[Scene, Any, Any, bool], None]:
    def check(scene: Scene, before: Any, answer: Any, again: bool) -> None:
        assert [design.name for design in scene.direct.designs()] == names
        assert not scene.direct.check()
        assert again or answer in (None, True)
        if "Large" in names:
            assert scene.direct.count("Large")[State.TODO] == 0

    return check


def _same_as_direct(read: Callable[[TokenStore], Any]) -> Callable[[Scene, Any, Any, bool], None]:
    def check(scene: Scene, before: Any, answer: Any, again: bool) -> None:
        assert answer == read(scene.direct)
        assert scene.docs() == before

    return check


def _reads(verb: str, read: Callable[[TokenStore], Any]) -> Verb:
    return Verb(verb, lambda store, _: read(store), _same_as_direct(read), _some, reads=True)


def _download(store: TokenStore, doc: Doc) -> bytes:
    return b"".join(store.get_attachment(doc["_id"], "log"))


def _check_download(scene: Scene, doc: Doc, answer: bytes, again: bool) -> None:
    assert answer == LARGE


def _upload(store: TokenStore, docs: list[Doc]) -> str:
    return store.put_attachment(docs[0]["_id"], "log", io.BytesIO(LARGE), fence=docs[0]["fence"])


PAUSE = Pause(by="ann@node1", at=1.0, why="maintenance")
DESIGN = Design.from_source("Large", {"cores": {"$gte": 4}})
NEW: list[Doc] = [{"_id": name, "input": name} for name in NAMES]

VERBS = {
    "put": Verb("put", lambda store, _: store.put(NEW), _check_put),
    "load": Verb("load", lambda store, _: store.load(NEW), _check_load),
    "get": _reads("get", lambda store: store.get([*NAMES, "nothing"])),
    "update": Verb(
        "update", lambda store, docs: store.update([{**doc, "priority": 1} for doc in docs]), _check_update, _some
    ),
    "delete": Verb("delete", lambda store, docs: store.delete(docs), _check_delete, _some),
    "claim": Verb(
        "exchange", lambda store, _: store.exchange([], wish(2)), _check_exchange, lambda s: put(s.direct, "a")
    ),
    "claim nothing": Verb("exchange", lambda store, _: store.exchange([], wish(2)), _check_exchange),
    "settle": Verb(
        "exchange", lambda store, docs: store.exchange([result(doc) for doc in docs]), _check_exchange, _claimed
    ),
    "settle and claim": Verb(
        "exchange",
        lambda store, docs: store.exchange([result(doc) for doc in docs], wish(2)),
        _check_exchange,
        _claimed,
    ),
    "settle and claim more": Verb(
        "exchange",
        lambda store, docs: store.exchange([result(doc) for doc in docs], wish(9)),
        _check_exchange,
        _claimed,
    ),
    "page": _reads("page", lambda store: store.page(TODO, limit=3)),
    "page of all": _reads("page", lambda store: store.page(None, after=store.page(None, limit=1).next)),
    "count": _reads("count", lambda store: store.count()),
    "count by condition": _reads("count", lambda store: store.count(where=parse({"_id": "a"}))),
    "next_ready": _reads("next_ready", lambda store: store.next_ready(TODO)),
    "put_attachment": Verb("put_attachment", _upload, _check_upload, _claimed),
    "get_attachment": Verb("get_attachment", _download, _check_download, _with_file, reads=True),
    "delete_attachment": Verb(
        "delete_attachment", lambda store, doc: store.delete_attachment(doc["_id"], "log"), _check_file_gone, _with_file
    ),
    "beat": Verb("beat", lambda store, _: store.beat(record()), _check_beat, _claimed),
    "pilots": Verb(
        "pilots", lambda store, _: [one.id for one in store.pilots()], _check_pilots, _with_pilot, reads=True
    ),
    "order": Verb("order", lambda store, _: store.order(PILOT, "drain"), _check_order, _with_pilot),
    "forget": Verb("forget", lambda store, _: store.forget(PILOT), _check_forgotten, _with_pilot),
    "pause": Verb("pause", lambda store, _: store.pause(PAUSE), _check_paused),
    "paused": _reads("paused", lambda store: store.paused()),
    "follow": Verb("follow", lambda store, _: store.follow(PILOT, "a", 60), _check_followed, _with_pilot),
    "has_followers": Verb(
        "has_followers",
        lambda store, _: store.has_followers(PILOT),
        lambda scene, before, answer, again: None,
        _with_pilot,
        reads=True,
    ),
    "followed": Verb("followed", lambda store, _: store.followed(PILOT), _check_followed, _with_follower, reads=True),
    "send_tails": Verb("send_tails", lambda store, _: store.send_tails(PILOT, [TAIL]), _check_tails, _with_follower),
    "tails": Verb("tails", lambda store, _: store.tails(PILOT), _check_tails, _with_tails, reads=True),
    "install": Verb("install", lambda store, _: store.install(DESIGN), _check_designs(["Monitor", "Large"])),
    "uninstall": Verb("uninstall", lambda store, _: store.uninstall("Large"), _check_designs(["Monitor"]), _with_view),
    "designs": _reads("designs", lambda store: store.designs()),
    "wait": Verb(
        "wait", lambda store, _: store.wait(0.0), lambda scene, before, answer, again: None, _some, reads=True
    ),
    "check": _reads("check", lambda store: store.check(mend=True)),
}
