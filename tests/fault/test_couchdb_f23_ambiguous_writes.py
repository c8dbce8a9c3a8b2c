"""F23: the server carries out a write, and its answer is lost. What became of it is looked up, and counts once."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from picas import lifecycle
from picas.errors import ClaimLost, Conflict, StoreUnavailable
from picas.lifecycle import Claimant, Doc, Outcome, State, fence_of, state_of
from picas.stores.base import Attachment, Claim, Exchange, Settlement
from picas.stores.couchdb import CouchStore, writer
from picas.testing.samples import TODO, claim, put
from support import couch_faults, faults
from support.couch_faults import Deferred, Scene, on, one_line
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault, Rule
from support.pilots import insist, until

WRITES = "_bulk_docs|PUT"
PILOT = "p1"
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    couch_faults.hasten(monkeypatch)
    return place.fresh()


def wish(count: int) -> Claim:
    return Claim(view=TODO, count=count, claimant=Claimant(pilot=PILOT, hostname="node1"))


def result(doc: Doc, **files: Attachment) -> Settlement:
    """A token's own result: what it says names the claim that made it."""
    made_by = {"output": f"{doc['_id']} {fence_of(doc)}"}
    attempt = {"fence": fence_of(doc), "pilot": PILOT}
    return Settlement(doc=doc, outcome=Outcome(changes=made_by, attempt=attempt), attachments=files)


def assert_accepted_once(doc: Doc) -> None:
    """It is done, by one attempt, with the output of that."""
    assert state_of(doc) is State.DONE, doc
    assert [attempt["fence"] for attempt in doc["attempts"]] == [doc["fence"]], doc
    assert doc["output"] == f"{doc['_id']} {doc['fence']}"


def assert_known(scene: Scene, claimed: list[Doc]) -> None:
    """What is locked in the pilot's name is what the pilot was told that it has, once."""
    ids = [doc["_id"] for doc in claimed]
    assert sorted(set(ids)) == sorted(ids)
    assert scene.held_by(PILOT) == set(ids)


# One write whose answer is lost, for each kind of write


@dataclass(frozen=True)
class Act:
    """A write: what comes before it, itself, and what must hold of its answer and of the pool in the end."""

    before: Callable[[Scene, CouchStore], Any]
    write: Callable[[CouchStore, Any], Any]
    check: Callable[[Scene, Any, Any, bool], None]


def _put_some(scene: Scene, store: CouchStore) -> list[Doc]:
    put(scene.direct, *NAMES)
    return [scene.doc(name) for name in NAMES]


def _claim_some(scene: Scene, store: CouchStore) -> list[Doc]:
    put(scene.direct, *NAMES)
    return claim(store, 2, pilot=PILOT)


def _nothing(scene: Scene, store: CouchStore) -> None:
    return None


def _check_put(scene: Scene, before: Any, answer: list[str | Conflict], repeated: bool) -> None:
    assert [doc["_id"] for doc in scene.docs()] == list(NAMES)
    for name, told in zip(NAMES, answer, strict=True):
        assert scene.doc(name)["input"] == name
        # Whoever had to ask twice may be told that it is there already: it is, as it was sent.
        assert told == scene.doc(name)["_rev"] or (repeated and isinstance(told, Conflict))


def _check_load(scene: Scene, before: Any, answer: Any, repeated: bool) -> None:
    assert [doc["_id"] for doc in scene.docs()] == list(NAMES)
    assert answer.added + answer.existing == len(NAMES)
    assert repeated or answer.existing == 0


def _check_update(scene: Scene, before: list[Doc], answer: list[str | Conflict], repeated: bool) -> None:
    for old, told in zip(before, answer, strict=True):
        new = scene.doc(old["_id"])
        assert new == {**old, "_rev": new["_rev"], "priority": 1}
        assert told == new["_rev"] or (repeated and isinstance(told, Conflict))


def _check_delete(scene: Scene, before: list[Doc], answer: list[bool], repeated: bool) -> None:
    assert scene.docs() == []
    assert repeated or answer == [True] * len(NAMES)


def _check_claim(scene: Scene, before: Any, answer: Exchange, repeated: bool) -> None:
    assert len(answer.claimed) == 2
    assert_known(scene, answer.claimed)
    assert all(doc["fence"] == 1 == scene.doc(doc["_id"])["fence"] for doc in answer.claimed)


def _check_settle(scene: Scene, before: list[Doc], answer: Exchange, repeated: bool) -> None:
    assert [stored["_rev"] for stored in answer.settled] == [scene.doc(doc["_id"])["_rev"] for doc in before]
    for doc in before:
        assert_accepted_once(scene.doc(doc["_id"]))
    assert_known(scene, answer.claimed)


def _check_both(scene: Scene, before: list[Doc], answer: Exchange, repeated: bool) -> None:
    _check_settle(scene, before, answer, repeated)
    assert sorted(doc["_id"] for doc in answer.claimed) == sorted(set(NAMES) - {doc["_id"] for doc in before})


def _check_files(scene: Scene, before: list[Doc], answer: Exchange, repeated: bool) -> None:
    _check_settle(scene, before, answer, repeated)
    for doc in before:
        assert b"".join(scene.direct.get_attachment(doc["_id"], "log")) == b"of " + doc["_id"].encode()


def _check_upload(scene: Scene, before: list[Doc], answer: str, repeated: bool) -> None:
    doc = scene.doc(before[0]["_id"])
    assert answer == doc["_rev"]
    assert b"".join(scene.direct.get_attachment(doc["_id"], "log")) == b"x" * 5000
    assert (doc["fence"], doc["claim"]) == (before[0]["fence"], before[0]["claim"])


def _upload(store: CouchStore, docs: list[Doc]) -> str:
    return store.put_attachment(docs[0]["_id"], "log", io.BytesIO(b"x" * 5000), fence=docs[0]["fence"])


def _settle_with_files(store: CouchStore, docs: list[Doc]) -> Exchange:
    files = {doc["_id"]: {"log": Attachment(data=b"of " + doc["_id"].encode())} for doc in docs}
    return store.exchange([result(doc, **files[doc["_id"]]) for doc in docs])


NEW = [{"_id": name, "input": name} for name in NAMES]
ACTS = {
    "put": Act(_nothing, lambda store, _: store.put(NEW), _check_put),
    "load": Act(_nothing, lambda store, _: store.load(NEW), _check_load),
    "update": Act(_put_some, lambda store, docs: store.update([{**doc, "priority": 1} for doc in docs]), _check_update),
    "delete": Act(_put_some, lambda store, docs: store.delete(docs), _check_delete),
    "claim": Act(_put_some, lambda store, _: store.exchange([], wish(2)), _check_claim),
    "settle": Act(_claim_some, lambda store, docs: store.exchange([result(doc) for doc in docs]), _check_settle),
    "settle with files": Act(_claim_some, _settle_with_files, _check_files),
    "settle and claim": Act(
        _claim_some, lambda store, docs: store.exchange([result(doc) for doc in docs], wish(2)), _check_both
    ),
    "settle and claim more than there is": Act(
        _claim_some, lambda store, docs: store.exchange([result(doc) for doc in docs], wish(9)), _check_both
    ),
    "upload": Act(_claim_some, _upload, _check_upload),
}
IN_PARTS = 3
"""Documents in one write, where a write of four is to be made of two."""


def _then_away(fault: Fault, nth: int) -> Rule:
    """The n-th write meets the fault, and no request after it gets an answer."""
    behind, first = on(".", faults.reset_before(), ever=True), on(WRITES, fault, nth=nth)
    met = False

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal met
        if met:
            return behind(method, path, number)
        found = first(method, path, number)
        met = found is not None
        return found

    return rule


def _writes_of(scene: Scene, act: Act) -> int:
    """How many writes it takes where nothing is wrong."""
    store = scene.open()
    before = act.before(scene, store)
    seen = len(scene.proxy.seen)
    act.check(scene, before, act.write(store, before), False)
    scene.empty()
    return sum(bool(re.search(WRITES, f"{one.method} {one.path}")) for one in scene.proxy.seen[seen:])


def _lose(scene: Scene, act: Act, make: Callable[[int], Rule], *, heal_after: int = 1) -> Counter[str]:
    """Lose the answer of each write in turn; how often it had to be asked again."""
    outcomes: Counter[str] = Counter()
    for nth in range(1, _writes_of(scene, act) + 1):
        store = scene.open()
        before = act.before(scene, store)
        scene.proxy.plan(make(nth))
        ask = partial(act.write, store, before)
        answer, failures = insist(ask, scene.heal, heal_after=heal_after)
        scene.heal()
        for error in failures:
            one_line(error, scene)
        act.check(scene, before, answer, bool(failures))
        outcomes["away" if failures else "found out"] += 1
        scene.empty()
    assert outcomes.total() >= 1
    return outcomes


@pytest.mark.parametrize("name", ACTS)
def test_a_lost_answer_is_looked_up(scene: Scene, name: str) -> None:
    outcomes = _lose(scene, ACTS[name], lambda nth: on(WRITES, faults.lose_reply(), nth=nth))

    # What was written counts as written, at once: nobody was told to come again, nothing is there twice.
    assert outcomes["away"] == 0


@pytest.mark.parametrize("name", ["put", "settle", "settle and claim"])
def test_a_lost_answer_to_one_part_of_a_write_is_looked_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(writer, "_PART_DOCS", IN_PARTS)
    outcomes = _lose(scene, ACTS[name], lambda nth: on(WRITES, faults.lose_reply(), nth=nth))

    # Each part counts as written, though it was not the whole.
    assert outcomes["away"] == 0


@pytest.mark.parametrize("name", ACTS)
def test_a_lost_answer_before_an_outage_is_looked_up_after_it(scene: Scene, name: str) -> None:
    outcomes = _lose(scene, ACTS[name], lambda nth: _then_away(faults.lose_reply(), nth), heal_after=3)

    # Asked again after the outage, each write turned out to have been carried out, once.
    assert outcomes["away"] >= 1


REFUSALS = {"reset": faults.reset_before(), "429": faults.status(429), "503": faults.status(503)}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", ["put", "claim", "settle and claim"])
def test_an_outage_between_the_parts_of_a_write_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, refusal: str
) -> None:
    monkeypatch.setattr(writer, "_PART_DOCS", 1)
    outcomes = _lose(scene, ACTS[name], lambda nth: on(WRITES, REFUSALS[refusal], nth=nth, ever=True))

    # Asked again, the parts that had been written before the outage counted, and the others were written.
    assert outcomes["away"] >= 1


FEW = {"put", "delete", "claim", "settle and claim", "upload"}
USUAL = [name if name in FEW else pytest.param(name, marks=pytest.mark.soak) for name in ACTS]


@pytest.mark.parametrize("name", USUAL)
def test_a_write_that_arrives_just_before_its_repetition_counts_once(scene: Scene, name: str) -> None:
    outcomes = _lose(scene, ACTS[name], lambda nth: _late(Deferred(), nth))

    # The repetition conflicted with the write itself; it was looked up, and each counts as written.
    assert outcomes["away"] == 0


@pytest.mark.parametrize("name", USUAL)
def test_a_write_that_arrives_after_its_repetition_changes_nothing(scene: Scene, name: str) -> None:
    late = Deferred()
    act = ACTS[name]
    for nth in range(1, _writes_of(scene, act) + 1):
        store = scene.open()
        before = act.before(scene, store)
        scene.proxy.plan(on(WRITES, late, nth=nth))
        answer = act.write(store, before)
        stored = scene.docs()
        late.carry_out()

        # Everything is as its repetition left it.
        assert scene.docs() == stored
        act.check(scene, before, answer, False)
        scene.empty()


def _late(late: Deferred, nth: int) -> Rule:
    """The n-th write is carried out just before the one after it, which is its repetition."""
    seen = 0

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal seen
        if not re.search(WRITES, f"{method} {path}"):
            return None
        seen += 1
        return {nth: late, nth + 1: late.release()}.get(seen)

    return rule


def test_an_accepted_result_is_known_after_failures_in_a_row(scene: Scene) -> None:
    (doc,) = _claim_one(scene)
    store = scene.open()
    scene.proxy.plan(_away_behind("_bulk_docs"))

    answer, failures = insist(lambda: store.exchange([result(doc)], wish(2)), scene.heal, heal_after=3)

    assert len(failures) == 3
    # However often it had to be asked: the result was accepted, once, and its pilot is told so.
    assert [state_of(one) for one in answer.settled if isinstance(one, dict)] == [State.DONE], answer.settled
    assert_accepted_once(scene.doc("a"))


@pytest.mark.parametrize("away_at", ["_all_docs", "revs=true", r"rev=\d"])
def test_a_result_that_was_sent_is_known_after_failures_in_a_row(scene: Scene, away_at: str) -> None:
    (doc,) = _claim_one(scene)
    store = scene.open()
    scene.proxy.plan(_then_away(faults.lose_reply(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc)])
    for priority in (1, 2):
        scene.direct.update([{**scene.doc("a"), "priority": priority}])
    scene.heal()
    scene.proxy.plan(lambda method, path, number: faults.reset_before() if re.search(away_at, path) else None)

    answer, failures = insist(lambda: store.exchange([result(doc)]), scene.heal, heal_after=3)

    # Wherever the look-up broke off, again and again: in the end the result is known as its pilot's own.
    assert len(failures) == 3
    assert [state_of(one) for one in answer.settled if isinstance(one, dict)] == [State.DONE], answer.settled
    assert_accepted_once(scene.doc("a"))


# What else may have happened before the answer is looked up


def test_an_accepted_result_is_known_though_somebody_changed_the_token_since(scene: Scene) -> None:
    (doc,) = _claim_one(scene)
    store = scene.open()
    scene.proxy.plan(_then_away(faults.lose_reply(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc)])
    for priority in (1, 2):
        scene.direct.update([{**scene.doc("a"), "priority": priority}])
    scene.heal()

    (answer,) = store.exchange([result(doc)]).settled

    # The result is its pilot's, whatever was written over it since.
    assert isinstance(answer, dict), answer
    assert_accepted_once(scene.doc("a"))
    assert scene.doc("a")["priority"] == 2


def test_an_accepted_result_is_known_though_the_database_was_compacted_since(scene: Scene) -> None:
    (doc,) = _claim_one(scene)
    store = scene.open()
    scene.proxy.plan(_then_away(faults.lose_reply(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc)])
    accepted_as = scene.doc("a")["_rev"]
    scene.direct.update([{**scene.doc("a"), "priority": 1}])
    _compact(scene, "a", accepted_as)
    scene.heal()

    (answer,) = store.exchange([result(doc)]).settled

    # Its attempt is written in the token, so that no old revision is needed to know whose result this is.
    assert isinstance(answer, dict), answer
    assert_accepted_once(scene.doc("a"))


def test_a_result_is_not_taken_for_accepted_when_a_person_put_the_token_back(scene: Scene) -> None:
    (doc,) = _claim_one(scene)
    store = scene.open()
    scene.proxy.plan(_away_before_the_first_write())
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc)])
    scene.direct.update([lifecycle.reset(scene.doc("a"))])
    scene.heal()

    (answer,) = store.exchange([result(doc)]).settled

    # The person's word counts: the token waits, and the result is superseded.
    assert isinstance(answer, ClaimLost), answer
    assert state_of(scene.doc("a")) is State.TODO


def _away_before_the_first_write() -> Rule:
    return on(WRITES, faults.reset_before(), ever=True)


def _claim_one(scene: Scene) -> list[Doc]:
    put(scene.direct, "a")
    return claim(scene.direct, 1, pilot=PILOT)


def _compact(scene: Scene, token_id: str, revision: str) -> None:
    """Have the server forget the body of an old revision."""
    place = f"/{scene.database}"
    assert scene.server.request("POST", f"{place}/_compact", {}).status == 202
    old = f"{place}/{token_id}?rev={revision}"
    until("it is compacted", lambda: scene.server.request("GET", old).status == 404)


@pytest.mark.parametrize("settles", [False, True], ids=["with nothing to settle", "with a result"])
def test_a_claim_whose_answer_was_lost_is_given_back_by_a_pilot_that_stops(scene: Scene, settles: bool) -> None:
    store = scene.open()
    held = _claim_some(scene, store)
    scene.proxy.plan(_then_away(faults.lose_reply(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([], wish(2))
    scene.heal()
    assert len(scene.held_by(PILOT)) == 4

    settlements = [result(doc) for doc in held] if settles else []
    answer = store.exchange(settlements)

    # One answer for each settlement; what was claimed unknowingly waits again, uncharged.
    assert len(answer.settled) == len(settlements)
    assert scene.held_by(PILOT) == (set() if settles else {doc["_id"] for doc in held})
    waiting = [doc for doc in scene.docs() if state_of(doc) is State.TODO]
    assert [(doc["released"], doc.get("lost", 0), doc["scrub_count"]) for doc in waiting] == [(1, 0, 0)] * 2


def test_who_waits_for_a_token_is_let_go_though_the_step_broke_off_after_it_was_done(scene: Scene) -> None:
    (doc,) = _claim_one(scene)
    put(scene.direct, "child", after=["a"])
    store = scene.open()
    scene.proxy.plan(_away_behind("_bulk_docs"))

    (answer,), _ = insist(lambda: store.exchange([result(doc)]).settled, scene.heal)

    # The result was accepted once, and with the same step the token that waited for it is ready.
    assert isinstance(answer, dict)
    assert_accepted_once(scene.doc("a"))
    assert state_of(scene.doc("child")) is State.TODO


def _away_behind(pattern: str) -> Rule:
    """All requests fail after the first that matches."""
    met = False

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal met
        if met:
            return faults.reset_before()
        met = pattern in path
        return None

    return rule


# Many of them at random

CHUNK = 7


@pytest.mark.parametrize(
    ("tokens", "every", "reads_too"),
    [(300, 10, False), pytest.param(300, 10, True, marks=pytest.mark.soak), (100, 3, True)],
)
def test_many_tokens_through_lost_answers_at_random(scene: Scene, tokens: int, every: int, reads_too: bool) -> None:
    ids = [f"t{number:03d}" for number in range(tokens)]
    scene.direct.load({"_id": name} for name in ids)
    dice = random.Random(every * 2 + reads_too)
    lost = 0

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal lost
        if "_changes" in path or not (reads_too or re.search(WRITES, f"{method} {path}")) or dice.randrange(every):
            return None
        lost += 1
        return faults.lose_reply()

    scene.proxy.plan(rule)
    accepted = _work(scene.open())

    # Every token is done, by its first claim, accepted once; none is held by anybody.
    assert accepted == dict.fromkeys(ids, 1)
    docs = scene.docs()
    assert [doc["_id"] for doc in docs] == ids
    assert {doc["fence"] for doc in docs} == {1}
    for doc in docs:
        assert_accepted_once(doc)
    assert lost >= tokens / CHUNK / every / 2


def _work(store: CouchStore) -> Counter[str]:
    """Settle and claim until nothing is left; how often the result of each token was accepted."""
    accepted: Counter[str] = Counter()
    finished: list[Settlement] = []
    while True:
        answer, _ = insist(lambda: store.exchange(finished, wish(CHUNK)), lambda: None, tries=200)  # noqa: B023
        assert not [one for one in answer.settled if not isinstance(one, dict)]
        accepted.update(settlement.doc["_id"] for settlement in finished)
        finished = [result(doc) for doc in answer.claimed]
        if not finished:
            return accepted
