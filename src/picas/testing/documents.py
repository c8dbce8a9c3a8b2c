"""The contract on documents: put, load, get, update, delete."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from picas import lifecycle
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, State
from picas.stores.base import Loaded, TokenStore
from picas.testing.samples import TODO, Reopen, all_pages, change, claim_one, found, ids, put, state

__all__ = ["TestDelete", "TestGet", "TestLoad", "TestPut", "TestTwin", "TestUpdate"]


class TestPut:
    def test_a_token_gets_what_every_token_has(self, store: TokenStore) -> None:
        (rev,) = store.put([{"_id": "t1", "input": "x"}])
        doc = found(store, "t1")
        assert doc == {**lifecycle.put({"_id": "t1", "input": "x"}), "_rev": rev}

    def test_what_the_caller_gave_stays_as_it_was(self, store: TokenStore) -> None:
        mine: Doc = {"_id": "t1", "tags": {"a": 1}}
        store.put([mine])
        assert mine == {"_id": "t1", "tags": {"a": 1}}
        mine["tags"]["a"] = 2
        assert found(store, "t1")["tags"] == {"a": 1}

    def test_an_id_that_exists_is_a_conflict_and_the_others_are_added(self, store: TokenStore) -> None:
        put(store, "b", n=1)
        first, second, third = store.put([{"_id": "a", "n": 2}, {"_id": "b", "n": 2}, {"_id": "c", "n": 2}])
        assert isinstance(first, str)
        assert type(second) is Conflict
        assert isinstance(third, str)
        assert [found(store, name)["n"] for name in "abc"] == [2, 1, 2]

    def test_of_two_with_one_id_the_first_is_added(self, store: TokenStore) -> None:
        first, second = store.put([{"_id": "a", "n": 1}, {"_id": "a", "n": 2}])
        assert isinstance(first, str)
        assert isinstance(second, Conflict)
        assert found(store, "a")["n"] == 1

    def test_a_new_document_has_no_revision(self, store: TokenStore) -> None:
        (answer,) = store.put([{"_id": "a", "_rev": "1-1"}])
        assert isinstance(answer, Conflict)
        assert store.get(["a"]) == [None]

    @pytest.mark.parametrize(
        "bad",
        [
            {},
            {"_id": ""},
            {"_id": 7},
            {"_id": "_x"},
            {"_id": "x", "_y": 1},
            {"_id": "x", "n": 2**53},
            {"_id": "x", "requires": {"memory": "much"}},
            {"_id": "x", "priority": "high"},
            {"_id": "x", "after": "y"},
            {"_id": "x", "lock": "0"},
        ],
        ids=repr,
    )
    def test_one_that_is_invalid_refuses_all(self, store: TokenStore, bad: Doc) -> None:
        with pytest.raises(InvalidToken):
            store.put([{"_id": "good"}, bad])
        assert all_pages(store, None) == []

    def test_nothing(self, store: TokenStore) -> None:
        assert store.put([]) == []
        assert store.get([]) == []
        assert store.update([]) == []
        assert store.delete([]) == []

    def test_a_revision_never_comes_back(self, store: TokenStore) -> None:
        revisions = []
        for _ in range(3):
            revisions += store.put([{"_id": "a"}])
            revisions.append(change(store, "a", lambda doc: {**doc, "n": 1})["_rev"])
            assert store.delete([found(store, "a")]) == [True]
        assert len(set(map(str, revisions))) == 6

    def test_a_document_of_another_type_is_kept_and_is_no_token(self, store: TokenStore) -> None:
        put(store, "a", type="note", text="hello")
        assert found(store, "a")["text"] == "hello"
        assert state(store, "a") is None
        assert set(store.count().values()) == {0}


class TestLoad:
    def test_adds_from_an_iterator_and_leaves_what_exists(self, store: TokenStore) -> None:
        put(store, "t3", n="old")
        assert store.load({"_id": f"t{n}", "n": "new"} for n in range(5)) == Loaded(added=4, existing=1)
        assert found(store, "t3")["n"] == "old"
        assert found(store, "t4")["n"] == "new"
        assert state(store, "t4") is State.TODO

    def test_an_id_that_comes_twice_is_refused(self, store: TokenStore) -> None:
        with pytest.raises(InvalidToken, match="twice"):
            store.load([{"_id": "a", "n": 1}, {"_id": "a", "n": 2}])
        if store.capabilities.atomic_load:
            assert store.get(["a"]) == [None]

    def test_again_adds_nothing(self, store: TokenStore) -> None:
        docs = [{"_id": f"t{n}"} for n in range(30)]
        store.load(docs[:20])
        assert store.load(docs) == Loaded(added=10, existing=20)
        assert store.load(docs) == Loaded(added=0, existing=30)

    def test_the_iterator_may_yield_one_dict_again_and_again(self, store: TokenStore) -> None:
        def lines() -> Iterator[Doc]:
            doc: Doc = {}
            for n in range(10):
                doc.update(_id=f"t{n}", n=n)
                yield doc

        store.load(lines())
        assert [found(store, f"t{n}")["n"] for n in range(10)] == list(range(10))

    def test_many(self, store: TokenStore) -> None:
        assert store.load({"_id": f"t{n}"} for n in range(3000)).added == 3000
        assert store.count()[State.TODO] == 3000

    def test_what_waits_is_held_and_what_need_not_wait_is_ready(self, store: TokenStore) -> None:
        put(store, "done", lock=1, done=1, exit_code=0)
        store.load([{"_id": "a", "after": ["done"]}, {"_id": "b", "after": ["a"]}])
        assert (state(store, "a"), state(store, "b")) == (State.TODO, State.HELD)

    @pytest.mark.parametrize("bad", ["an error", "a bad document"])
    def test_an_exception_leaves_nothing_where_loading_is_atomic(self, store: TokenStore, bad: str) -> None:
        if not store.capabilities.atomic_load:
            pytest.skip("this store loads in parts")

        def lines() -> Iterator[Doc]:
            for n in range(2500):
                yield {"_id": f"t{n}"}
            if bad == "an error":
                raise EOFError("the file ends in the middle")
            yield {"_id": "x", "n": float("nan")}

        put(store, "before")
        with pytest.raises((EOFError, InvalidToken)):
            store.load(lines())
        assert ids(all_pages(store, None)) == ["before"]
        put(store, "t0")


class TestGet:
    def test_in_the_order_asked_with_none_for_what_is_missing(self, store: TokenStore) -> None:
        put(store, "a", "b", "c")
        docs = store.get(["c", "nothing", "a", "c"])
        assert [doc and doc["_id"] for doc in docs] == ["c", None, "a", "c"]

    def test_many_at_once(self, store: TokenStore) -> None:
        names = [f"t{n}" for n in range(1500)]
        put(store, *names)
        assert [doc and doc["_id"] for doc in store.get(names)] == names

    def test_what_it_gives_is_the_callers_own(self, store: TokenStore) -> None:
        put(store, "a", tags={"x": [1]})
        found(store, "a")["tags"]["x"].append(2)
        assert found(store, "a")["tags"] == {"x": [1]}


class TestUpdate:
    def test_replaces_the_whole_document_in_a_new_revision(self, store: TokenStore) -> None:
        put(store, "a", old=1)
        doc = found(store, "a")
        new = {**{name: value for name, value in doc.items() if name != "old"}, "new": 2}
        (rev,) = store.update([new])
        assert rev != doc["_rev"]
        assert found(store, "a") == {**new, "_rev": rev}

    def test_an_old_revision_is_a_conflict_and_changes_nothing(self, store: TokenStore) -> None:
        put(store, "a", "b")
        old = found(store, "a")
        kept = change(store, "a", lambda doc: {**doc, "n": 1})
        first, second = store.update([{**old, "n": 2}, {**found(store, "b"), "n": 2}])
        assert isinstance(first, Conflict)
        assert isinstance(second, str)
        assert found(store, "a") == kept
        assert found(store, "b")["n"] == 2

    @pytest.mark.parametrize("doc", [{"_id": "a"}, {"_id": "missing"}, {"_id": "missing", "_rev": "1-1"}], ids=repr)
    def test_without_a_revision_or_a_document_it_is_a_conflict(self, store: TokenStore, doc: Doc) -> None:
        put(store, "a", n=1)
        (answer,) = store.update([{**doc, "n": 2}])
        assert isinstance(answer, Conflict)
        assert ids(all_pages(store, None)) == ["a"]
        assert found(store, "a")["n"] == 1

    def test_a_revision_of_before_a_deletion_is_a_conflict(self, store: TokenStore) -> None:
        put(store, "a")
        old = found(store, "a")
        store.delete([old])
        put(store, "a", n=1)
        assert isinstance(store.update([old])[0], Conflict)
        assert store.delete([old]) == [False]
        assert found(store, "a")["n"] == 1

    def test_the_second_of_two_for_one_document_is_a_conflict(self, store: TokenStore) -> None:
        put(store, "a")
        doc = found(store, "a")
        first, second = store.update([{**doc, "n": 1}, {**doc, "n": 2}])
        assert isinstance(first, str)
        assert isinstance(second, Conflict)
        assert found(store, "a")["n"] == 1

    @pytest.mark.parametrize("field", [{"n": float("inf")}, {"n": "\x00"}, {"_n": 1}, {"n": {1: 2}}], ids=repr)
    def test_what_no_store_takes_is_refused_and_changes_nothing(self, store: TokenStore, field: dict[str, Any]) -> None:
        put(store, "a", "b")
        a, b = found(store, "a"), found(store, "b")
        with pytest.raises(InvalidToken):
            store.update([{**a, "m": 1}, {**b, **field}])
        assert store.get(["a", "b"]) == [a, b]

    def test_the_state_follows_the_fields(self, store: TokenStore) -> None:
        put(store, "a")
        for lock, done, code, expected in (
            (5, 0, "", State.LOCKED),
            (5, 6, "0", State.DONE),
            (99, 99, "", State.ERROR),
            (-1, 0, "", State.HELD),
            (0, 0, "", State.TODO),
        ):
            change(store, "a", lambda doc, new=(lock, done, code): {**doc, **_numbers(*new)})  # type: ignore[misc]
            assert state(store, "a") is expected
            assert store.count() == {one: int(one is expected) for one in State}

    @pytest.mark.parametrize("odd", [{"lock": "x"}, {"lock": None}, {"done": True}, {"lock": 0, "done": 5}], ids=repr)
    def test_a_lock_that_makes_no_sense_is_in_no_view(self, store: TokenStore, odd: dict[str, Any]) -> None:
        put(store, "a")
        change(store, "a", lambda doc: {**doc, **odd})
        assert set(store.count().values()) == {0}
        assert [all_pages(store, TODO), len(all_pages(store, None))] == [[], 1]

    def test_the_fields_keep_their_types(self, store: TokenStore) -> None:
        if not store.capabilities.exact_numbers:
            pytest.skip("this store does not tell 1.0 from 1")
        put(store, "a", v=[1, 1.0, True, None, [], {}])
        assert repr(found(store, "a")["v"]) == "[1, 1.0, True, None, [], {}]"


class TestDelete:
    def test_whether_each_was_deleted(self, store: TokenStore) -> None:
        put(store, "a", "b", "c")
        a, b, c = (found(store, name) for name in "abc")
        change(store, "b", lambda doc: {**doc, "n": 1})
        assert store.delete([a, b, c, a, {"_id": "missing", "_rev": "1-1"}]) == [True, False, True, False, False]
        assert ids(all_pages(store, None)) == ["b"]

    def test_the_id_is_free_again(self, store: TokenStore) -> None:
        put(store, "a", n=1)
        store.delete([found(store, "a")])
        assert store.get(["a"]) == [None]
        put(store, "a")
        assert "n" not in found(store, "a")

    def test_only_id_and_revision_are_needed(self, store: TokenStore) -> None:
        put(store, "a", n=1)
        doc = found(store, "a")
        assert store.delete([{"_id": "a", "_rev": doc["_rev"]}]) == [True]


class TestTwin:
    """Handles on one pool: ``twin`` for threads, ``reopen`` for whatever else can share it."""

    def test_they_see_each_others_work(self, store: TokenStore, reopen: Reopen) -> None:
        put(store, "a", "b")
        for other in (store.twin(), reopen()):
            doc = claim_one(other)
            assert found(store, doc["_id"]) == doc
            other.close()

    def test_closing_one_leaves_the_other_open_and_twice_is_no_error(self, store: TokenStore) -> None:
        other = store.twin()
        other.close()
        other.close()
        put(store, "a")
        third = store.twin()
        assert copy.deepcopy(found(third, "a")) == found(store, "a")
        third.close()

    def test_the_address_and_the_abilities_are_the_same(self, store: TokenStore) -> None:
        other = store.twin()
        assert (other.url, other.capabilities) == (store.url, store.capabilities)
        other.close()

    def test_nothing_is_wrong_with_a_sound_pool(self, store: TokenStore) -> None:
        put(store, "a", "b", after=["c"])
        put(store, "c")
        claim_one(store)
        assert store.check() == []
        assert store.check(mend=True) == []


def _numbers(lock: int, done: int, exit_code: str) -> dict[str, Any]:
    return {"lock": lock, "done": done, "exit_code": exit_code}
