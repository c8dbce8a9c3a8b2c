"""Export and import: everything comes over, anything cut or foreign is refused with its line."""

from __future__ import annotations

import io
import json

import pytest

from picas.errors import InvalidToken
from picas.lifecycle import Claimant, State, state_of
from picas.moving import Moved, export_lines, import_lines
from picas.pool import Pool, Selection, connect
from picas.selectors import parse
from picas.stores.base import Claim
from picas.views import Design, View

BIG = bytes(range(256)) * 10_000


def exported(pool: Pool) -> list[str]:
    return list(export_lines(pool, Selection(everything=True), Moved()))


def full() -> Pool:
    pool = connect("memory:")
    pool.add([{"_id": "a", "x": 1}, {"_id": "b", "x": {"y": ["\u2028", None]}}, {"_id": "c", "after": ["a"]}])
    pool.store.put_attachment("a", "big", io.BytesIO(BIG), content_type="text/x")
    pool.store.put_attachment("a", "empty", io.BytesIO(b""))
    pool.store.install(Design("wide", parse({"x": {"$gt": 0}})))
    return pool


def test_everything_comes_over() -> None:
    one, two = full(), connect("memory:")
    moved = import_lines(two, exported(one))
    assert (moved.tokens, moved.existing, moved.attachments) == (3, 0, 2)
    for token_id in "abc":
        first, second = one.get(token_id), two.get(token_id)
        assert first is not None
        assert second is not None
        hidden = ("_rev", "_attachments")
        assert {k: v for k, v in first.items() if k not in hidden} == {
            k: v for k, v in second.items() if k not in hidden
        }
    assert b"".join(two.store.get_attachment("a", "big")) == BIG
    assert b"".join(two.store.get_attachment("a", "empty")) == b""
    assert [design.name for design in two.store.designs()] == ["Monitor", "wide"]


def test_pieces_are_small() -> None:
    assert max(map(len, exported(full()))) <= (1 << 20) + 1000


def test_a_locked_token_comes_in_as_todo() -> None:
    pool, other = full(), connect("memory:")
    pool.store.exchange([], Claim(view=View(State.TODO), count=1, claimant=Claimant(pilot="p")))
    import_lines(other, exported(pool))
    assert other.count()[State.LOCKED] == 0
    assert other.count()[State.TODO] == 2


def test_what_is_there_stays() -> None:
    pool, other = full(), connect("memory:")
    other.add([{"_id": "a", "x": "mine"}])
    moved = import_lines(other, exported(pool))
    assert (moved.tokens, moved.existing) == (2, 1)
    kept = other.get("a")
    assert kept is not None
    assert kept["x"] == "mine"
    assert not kept.get("_attachments")


@pytest.mark.parametrize("cut", range(1, 9))
def test_an_import_cut_short_is_made_up_for_by_the_next(cut: int) -> None:
    pool, other = full(), connect("memory:")
    lines = exported(pool)
    with pytest.raises(InvalidToken, match=f"after line {cut}"):
        import_lines(other, lines[:cut])
    import_lines(other, lines)
    assert b"".join(other.store.get_attachment("a", "big")) == BIG
    assert b"".join(other.store.get_attachment("a", "empty")) == b""
    assert state_of(other.get("c") or {}) is State.HELD


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "ends after line 0"),
        (["hello"], "line 1"),
        (["{}"], "line 1: this is not an export"),
        (['{"picas-export": 99}'], "line 1: exports of format 99"),
        (['{"picas-export": 1}', '{"token": 5}'], "line 2: a token is an object"),
        (
            ['{"picas-export": 1}', '{"token": {"_id": "a", "n": 9007199254740993}}', '{"end": {}}'],
            "line 2: token a: field n",
        ),
        (['{"picas-export": 1}', '{"design": {"name": "a b", "selector": null}}'], "line 2: design document name"),
        (['{"picas-export": 1}', '{"attachment": {}}'], "line 2"),
        (['{"picas-export": 1}', '{"end": {}}', '{"token": {"_id": "a"}}'], "line 3: there is more after the end"),
        (['{"picas-export": 1}', '{"attachment": {"token": "a", "data": "*", "last": true}}'], "line 2"),
    ],
)
def test_what_is_no_export_is_refused_with_its_line(lines: list[str], expected: str) -> None:
    with pytest.raises(InvalidToken, match=expected):
        import_lines(connect("memory:"), lines)


def test_a_token_comes_in_as_it_was_and_what_came_before_a_bad_one_is_there() -> None:
    good = [{"_id": "a", "type": "token", "lock": 0, "done": 0, "tags": ["odd"]}, {"_id": "n", "type": "note"}]
    lines = ['{"picas-export": 1}', *(json.dumps({"token": doc}) for doc in good), '{"token": {"_id": ""}}']
    pool = connect("memory:")
    with pytest.raises(InvalidToken, match="line 4"):
        import_lines(pool, lines)
    for doc in good:
        assert {**(pool.get(doc["_id"]) or {}), "_rev": None} == {**doc, "_rev": None}


def test_lines_are_json_with_one_key() -> None:
    for line in exported(full())[1:]:
        assert len(json.loads(line)) == 1
