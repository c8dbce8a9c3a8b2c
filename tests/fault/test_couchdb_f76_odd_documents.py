"""F76: a view that somebody wrote lists documents of all kinds, tokens with odd fields among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.stores.base import Claim, Settlement
from picas.stores.couchdb import CouchStore
from picas.tokens import Requirements
from picas.views import View
from support import couch_faults
from support.cli import Answer, Cli
from support.couch_faults import Scene
from support.couchdb_server import CouchServer

TOKEN: Doc = {"type": "token", "lock": 0, "done": 0, "exit_code": "", "hostname": "", "scrub_count": 0}
TRUE = {**TOKEN, "command": ["true"]}

NO_TOKENS: dict[str, Doc] = {
    "note": {"type": "note", "text": "bring milk"},
    "nothing": {},
    "untyped": {key: value for key, value in TRUE.items() if key != "type"},
    "type a number": {**TRUE, "type": 5},
    "type a list": {**TRUE, "type": ["token"]},
    "lock a text": {**TRUE, "lock": "0"},
    "lock nothing": {**TRUE, "lock": None},
    "lock false": {**TRUE, "lock": False},
    "lock missing": {key: value for key, value in TRUE.items() if key != "lock"},
    "done a list": {**TRUE, "done": []},
    "done without lock": {**TRUE, "done": 5},
    "of another program": {"type": "token", "id": 17, "state": "waiting", "nested": {"lock": 0, "done": 0}},
}
"""Documents that are no tokens that wait, and are not touched."""

UNFIT: dict[str, Doc] = {
    "requires a number": {**TRUE, "requires": 5},
    "requires many": {**TRUE, "requires": {"cores": "many"}},
    "requires less than nothing": {**TRUE, "requires": {"memory": -1}},
    "not before": {**TRUE, "not_before": 1e15},
}
"""Tokens that wait, and that no pilot can take; they are not touched either."""

ODD: dict[str, Doc] = {
    "plain": TRUE,
    "unknown fields": {**TRUE, "schema": 99, "future": {"field": [1, {"deep": None}]}, "état": "é\u2028\U0001f600"},
    "priority a text": {**TRUE, "priority": "high"},
    "not before a text": {**TRUE, "not_before": "soon"},
    "fence a text": {**TRUE, "fence": "first"},
    "fence a fraction": {**TRUE, "fence": 1.5},
    "fence below zero": {**TRUE, "fence": -3},
    "claim a text": {**TRUE, "claim": "mine"},
    "claim of long ago": {**TRUE, "claim": {"fence": 0, "pilot": "gone", "at": 0}},
    "attempts a text": {**TRUE, "attempts": "many"},
    "attempts an object": {**TRUE, "attempts": {"first": 1}},
    "attempts of texts": {**TRUE, "attempts": ["one", None, 3]},
    "counts of texts": {**TRUE, "lost": "one", "released": None, "max_scrub": "lots"},
    "scrubbed less than never": {**TRUE, "scrub_count": -1},
    "lost many": {**TRUE, "lost": 4},
    "cancel a number": {**TRUE, "cancel": 5},
    "after a text": {**TRUE, "after": "plain"},
    "tags a number": {**TRUE, "tags": 5},
    "reason a list": {**TRUE, "reason": []},
    "lock a fraction": {**TRUE, "lock": 0.0},
    "a/b?c=d&e#f%41": TRUE,
    "wi th 'quotes' \"too\"": TRUE,
    "-rf": TRUE,
}
"""Tokens that are odd and can be run."""

WITHOUT_COMMAND: dict[str, Doc] = {
    "command a number": {**TOKEN, "command": 5},
    "command empty": {**TOKEN, "command": []},
    "command of numbers": {**TOKEN, "command": [1, 2]},
    "command with NUL": {**TOKEN, "command": ["echo", "a\u0000b"]},
    "input an object": {**TOKEN, "input": {"a": 1}},
}
"""Tokens that can be claimed and not run."""

PLACES = View(State.TODO, "Written", "everything"), View(State.TODO, "Written", "linked")
VIEWS = {
    # Each document three times, with keys of all kinds; design documents too, where the server has them.
    "everything": "function (doc) { emit(null, 1); emit([doc._id, {}], doc.type); emit(doc._id, {a: doc._id}); }",
    # Documents by way of others: one that is deleted, one that never was, a design document.
    "linked": """function (doc) {
      emit(doc._id, {_id: doc._id}); emit(1, {_id: "deleted"}); emit(2, {_id: "never"});
      emit(3, {_id: "_design/Monitor"});
    }""",
    # Only what no pilot can take.
    "hopeless": "function (doc) { if (!doc.command || doc.lock !== 0) { emit(doc._id, null); } }",
}


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        design = {"views": {name: {"map": text} for name, text in VIEWS.items()}, "options": {"include_design": True}}
        assert couchdb_server.request("PUT", f"/{made.database}/_design/Written", design).status == 201
        yield made


@pytest.fixture
def scene(place: Scene) -> Scene:
    return place.fresh()


def _fill(scene: Scene, *kinds: dict[str, Doc]) -> dict[str, Doc]:
    """Put documents as another program would, past our rules; as they are stored."""
    docs = [{"_id": name, **fields} for kind in kinds for name, fields in kind.items()]
    rows = scene.server.request("POST", f"/{scene.database}/_bulk_docs", {"docs": [*docs, {"_id": "deleted"}]}).json()
    assert all("rev" in row for row in rows), rows
    gone = {"_id": "deleted", "_rev": rows[-1]["rev"], "_deleted": True}
    scene.server.request("POST", f"/{scene.database}/_bulk_docs", {"docs": [gone]})
    return {doc["_id"]: doc for doc in scene.docs()}


def _work(store: CouchStore, view: View, count: int) -> Counter[str]:
    """Claim and settle until the view has nothing more; how often each token came."""
    came: Counter[str] = Counter()
    finished: list[Settlement] = []
    wish = Claim(view=view, count=count, claimant=Claimant(pilot="p1"), offer=Requirements(cores=4, time=float("inf")))
    while True:
        answer = store.exchange(finished, wish)
        assert all(isinstance(stored, dict) for stored in answer.settled), answer.settled
        if not answer.claimed:
            return came
        came.update(doc["_id"] for doc in answer.claimed)
        attempts = [{"fence": doc["fence"], "pilot": "p1"} for doc in answer.claimed]
        finished = [
            Settlement(doc=doc, outcome=Outcome(attempt=attempt))
            for doc, attempt in zip(answer.claimed, attempts, strict=True)
        ]


def _kept(before: Doc, after: Doc) -> dict[str, Any]:
    """What is left of a document's fields that are not for us to change."""
    ours = {"_rev", "lock", "done", "exit_code", "hostname", "fence", "claim", "attempts", "reason", "not_before"}
    ours |= {"cancel", "scrub_count", "released", "lost"}
    return {name: after.get(name) for name in before if name not in ours}


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("view", PLACES, ids=str)
def test_odd_documents_are_passed_over_and_odd_tokens_are_claimed(
    scene: Scene, caplog: pytest.LogCaptureFixture, view: View, count: int
) -> None:
    before = _fill(scene, NO_TOKENS, UNFIT, ODD)
    store = scene.open()

    came = _work(store, view, count)

    # Every token was claimed once and is done, with all its own fields; every other document is as it was.
    assert came == dict.fromkeys(ODD, 1)
    after = {doc["_id"]: doc for doc in scene.docs()}
    assert after.keys() == before.keys()
    for name in ODD:
        assert state_of(after[name]) is State.DONE, after[name]
        assert _kept(before[name], after[name]) == _kept(before[name], before[name])
        assert after[name]["attempts"][-1]["fence"] == after[name]["fence"]
    for name in (*NO_TOKENS, *UNFIT):
        assert after[name] == before[name]
    _check_log(caplog, {*NO_TOKENS, *UNFIT} - {"not before"})


def _check_log(caplog: pytest.LogCaptureFixture, names: set[str]) -> None:
    """Each of these was said to be passed over, with a reason, once."""
    said = Counter(record.getMessage() for record in caplog.records if "passed over" in record.getMessage())
    assert all(times == 1 for times in said.values()), said
    for name in names:
        (line,) = [text for text in said if text.startswith(f"document {name} is passed over: ")]
        assert len(line.partition(": ")[2]) > 10


def test_a_view_with_nothing_to_claim_is_empty_and_not_an_error(scene: Scene) -> None:
    before = _fill(scene, NO_TOKENS, UNFIT)
    store = scene.open()
    view = View(State.TODO, "Written", "hopeless")

    assert _work(store, view, 3) == {}
    assert store.next_ready(view) is None or store.next_ready(view) >= 0
    # Nothing was touched.
    assert {doc["_id"]: doc for doc in scene.docs()} == before


def _run(scene: Scene, folder: Path, *words: str) -> Answer:
    parts = urlsplit(scene.server.url)
    login = f"{scene.server.admin}:{scene.server.password}@" if scene.server.admin else ""
    pool = f"http://{login}{parts.netloc}/{scene.database}"
    return Cli(folder)("run", "--cores", "2", *words, PICAS_POOL=pool)


@pytest.mark.parametrize("view", [*map(str, PLACES), "Monitor/todo"])
def test_a_pilot_works_through_them(scene: Scene, tmp_path: Path, view: str) -> None:
    before = _fill(scene, NO_TOKENS, UNFIT, ODD, WITHOUT_COMMAND)

    answer = _run(scene, tmp_path, "--view", view)

    assert answer.code == 0, answer
    # What could be run was run, once; what has no command is in error for that; the rest is as it was.
    after = {doc["_id"]: doc for doc in scene.docs()}
    for name in ODD:
        assert state_of(after[name]) is State.DONE, (after[name], answer.err)
        assert _kept(before[name], after[name]) == _kept(before[name], before[name])
        assert after[name]["attempts"][-1]["reason"] == "exit"
    for name in WITHOUT_COMMAND:
        assert (state_of(after[name]), after[name]["reason"]) == (State.ERROR, "exception"), after[name]
    for name in (*NO_TOKENS, *UNFIT):
        assert after[name] == before[name], answer.err
    assert scene.direct.pilots() == []
    said = [line for line in answer.err.splitlines() if "is passed over" in line]
    assert len(said) == len(set(said)), "one of them was told of twice"


@pytest.mark.parametrize("count", ["two", None, [], {}], ids=repr)
def test_a_count_that_is_no_number_does_not_end_the_pilot(scene: Scene, tmp_path: Path, count: Any) -> None:
    _fill(scene, {"odd": {**TRUE, "scrub_count": count}, "plain": TRUE})

    answer = _run(scene, tmp_path)

    # The token was run like any other, and so was the one behind it.
    assert answer.code == 0, answer
    assert scene.states() == {State.DONE: 2}
