"""The contract on looking: pages, counts, what is ready, and design documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from picas import lifecycle
from picas.errors import UsageError
from picas.lifecycle import Doc, State
from picas.selectors import parse
from picas.stores.base import TokenStore
from picas.testing.samples import DONE, FAILED, TODO, Reopen, all_pages, change, claim, found, ids, put, settle
from picas.views import MONITOR, Design, View

__all__ = ["TestCount", "TestDesigns", "TestNextReady", "TestPage"]

VIEWS = [View(state) for state in State]


def fill(store: TokenStore, each: int = 5) -> dict[State, list[str]]:
    """Tokens in every state, with ``n`` from 0 to 4 in each, and a document that is no token."""
    names = {state: [f"{state}-{n}" for n in range(each)] for state in State}
    numbers: dict[State, dict[str, Any]] = {
        State.HELD: {"lock": -1},
        State.TODO: {},
        State.LOCKED: {"lock": 5},
        State.DONE: {"lock": 5, "done": 6, "exit_code": "0"},
        State.ERROR: {"lock": 99, "done": 99},
    }
    docs: list[Doc] = [
        {"_id": name, "n": n, "site": "a" if n % 2 else "b", **numbers[state]}
        for state, some in names.items()
        for n, name in enumerate(some)
    ]
    store.put([*docs, {"_id": "note", "type": "note", "n": 1}])
    return names


class TestPage:
    @pytest.mark.parametrize("limit", [1, 2, 5, 100])
    def test_every_token_of_a_view_exactly_once(self, store: TokenStore, limit: int) -> None:
        names = fill(store)
        for view in VIEWS:
            docs = all_pages(store, view, limit=limit)
            assert sorted(ids(docs)) == names[view.state]
            assert docs == store.get(ids(docs))

    @pytest.mark.parametrize("limit", [1, 7, 26, 100])
    def test_without_a_view_every_document(self, store: TokenStore, limit: int) -> None:
        names = fill(store)
        assert sorted(ids(all_pages(store, None, limit=limit))) == sorted(
            ["note", *(name for some in names.values() for name in some)]
        )

    def test_the_last_page_has_no_cursor(self, store: TokenStore) -> None:
        assert store.page(TODO).next is None
        assert store.page(None).docs == []
        put(store, "a", "b")
        assert store.page(TODO, limit=2).next is None
        first = store.page(TODO, limit=1)
        assert first.next is not None
        second = store.page(TODO, after=first.next, limit=1)
        assert second.next is None
        assert sorted(ids(first.docs + second.docs)) == ["a", "b"]

    @pytest.mark.parametrize("view", [TODO, None], ids=str)
    @pytest.mark.parametrize(
        "cursor",
        ["x", "1:x", "{}", "[1]", f"{10**30}:{10**30}", '{"id": 5}', '{"place": ["a", 1]}', "null", "[[1"],
    )
    def test_a_cursor_that_is_none_is_refused(self, store: TokenStore, view: View | None, cursor: str) -> None:
        put(store, "a", "b")
        with pytest.raises(UsageError, match="cursor"):
            store.page(view, after=cursor, limit=1)

    @pytest.mark.parametrize("view", [*VIEWS, None], ids=str)
    def test_with_a_condition(self, store: TokenStore, view: View | None) -> None:
        fill(store)
        docs = all_pages(store, view, limit=2, where=parse({"site": "a", "n": {"$gte": 2}}))
        expected = [f"{state}-3" for state in State] if view is None else [f"{view.state}-3"]
        assert sorted(ids(docs)) == sorted(expected)

    def test_a_condition_comes_on_top_of_that_of_the_design(self, store: TokenStore) -> None:
        store.install(Design("A", parse({"site": "a"})))
        fill(store)
        assert ids(all_pages(store, View.parse("A/todo"))) == ["todo-1", "todo-3"]
        assert ids(all_pages(store, View.parse("A/todo"), where=parse({"n": {"$lt": 3}}))) == ["todo-1"]

    def test_what_stays_put_is_seen_once_though_the_rest_changes(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        still = [f"still{n:02}" for n in range(30)]
        for n, name in enumerate(still):
            put(store, f"goes{n:02}", f"changes{n:02}", f"leaves{n:02}", name)
        seen: list[str] = []
        page = store.page(TODO, limit=7)
        for n in range(30):
            seen += ids(page.docs)
            other.delete([found(other, f"goes{n:02}")])
            change(other, f"changes{29 - n:02}", lambda doc: {**doc, "priority": 5})
            change(other, f"leaves{n:02}", lambda doc: {**doc, "lock": 5})
            put(other, f"comes{n}")
            if page.next is None:
                break
            page = store.page(TODO, after=page.next, limit=7)
        assert [name for name in sorted(seen) if name.startswith("still")] == still
        other.close()

    def test_the_order_is_the_same_each_time(self, store: TokenStore) -> None:
        fill(store, each=12)
        for view in (TODO, None):
            assert all_pages(store, view, limit=3) == all_pages(store, view, limit=50)


class TestCount:
    def test_all_five_states_are_there(self, store: TokenStore) -> None:
        assert store.count() == dict.fromkeys(State, 0)
        fill(store)
        assert store.count() == dict.fromkeys(State, 5)

    def test_with_a_condition_of_a_design_or_of_the_caller(self, store: TokenStore) -> None:
        fill(store)
        store.install(Design("A", parse({"site": "a"})))
        assert store.count("A") == dict.fromkeys(State, 2)
        assert store.count(where=parse({"n": {"$gt": 0}})) == dict.fromkeys(State, 4)
        assert store.count("A", where=parse({"n": 1})) == dict.fromkeys(State, 1)

    def test_it_agrees_with_the_pages_at_each_step(self, store: TokenStore) -> None:
        put(store, "a", "b", "c")
        put(store, "d", after=["a"])
        steps: list[Callable[[], object]] = [lambda: claim(store, 2), lambda: settle(store, found(store, "a"), DONE)]
        steps.append(lambda: settle(store, found(store, "b"), FAILED))
        steps.append(lambda: store.delete([found(store, "c")]))
        for step in steps:
            step()
            assert store.count() == {view.state: len(all_pages(store, view)) for view in VIEWS}


class TestNextReady:
    def test_none_when_there_is_none_at_all(self, store: TokenStore) -> None:
        assert store.next_ready(TODO) is None
        put(store, "held", after=["x"])
        put(store, "locked", lock=5)
        assert store.next_ready(TODO) is None

    def test_nought_when_one_can_be_claimed_now(self, store: TokenStore) -> None:
        put(store, "later", not_before=store.now() + 1000)
        put(store, "past", not_before=store.now() - 1000)
        assert store.next_ready(TODO) == 0
        claim(store)
        put(store, "now")
        assert store.next_ready(TODO) == 0

    def test_the_seconds_to_the_soonest(self, store: TokenStore) -> None:
        put(store, "a", not_before=store.now() + 2000)
        put(store, "b", not_before=store.now() + 1000)
        assert 900 < (store.next_ready(TODO) or 0) <= 1001

    def test_of_that_view(self, store: TokenStore) -> None:
        store.install(Design("A", parse({"site": "a"})))
        put(store, "b", site="b")
        assert store.next_ready(View.parse("A/todo")) is None
        put(store, "a", site="a", not_before=store.now() + 1000)
        assert 900 < (store.next_ready(View.parse("A/todo")) or 0) <= 1001
        change(store, "a", lifecycle.reset)
        assert store.next_ready(View.parse("A/todo")) == 0


class TestDesigns:
    def test_monitor_is_there_and_first_and_stays(self, store: TokenStore) -> None:
        assert store.designs() == [MONITOR]
        store.install(Design("A"))
        assert [design.name for design in store.designs()] == ["Monitor", "A"]
        assert store.uninstall("Monitor") is False
        assert store.designs()[0] == MONITOR

    def test_installed_replaced_and_removed(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        for cores in (4, 8):
            store.install(Design("Large", parse({"cores": {"$gte": cores}})))
            (_, design) = other.designs()
            assert design == Design("Large", parse({"cores": {"$gte": cores}}))
        assert store.uninstall("Large") is True
        assert store.uninstall("Large") is False
        assert other.designs() == [MONITOR]
        other.close()

    def test_a_replaced_condition_counts_at_once_on_every_handle(self, store: TokenStore, reopen: Reopen) -> None:
        other, view = reopen(), View.parse("A/todo")
        put(store, "one", n=1)
        put(store, "two", n=2)
        for n, name in ((1, "one"), (2, "two")):
            store.install(Design("A", parse({"n": n})))
            assert ids(all_pages(other, view)) == [name]
            assert ids(claim(other, 5, view=view)) == [name]
            assert other.count("A")[State.LOCKED] == 1
        other.close()

    def test_they_are_no_documents(self, store: TokenStore) -> None:
        store.install(Design("A", parse({"n": 1})))
        assert all_pages(store, None) == []

    def test_one_that_is_not_there_is_a_usage_error(self, store: TokenStore) -> None:
        view = View.parse("Nope/todo")
        put(store, "a")
        for ask in (lambda: store.page(view), lambda: store.count("Nope"), lambda: claim(store, view=view)):
            with pytest.raises(UsageError, match="Nope"):
                ask()
        assert store.count()[State.TODO] == 1
