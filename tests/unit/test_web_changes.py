"""Changes of many tokens: found, agreed to, made in steps, stopped, gone on with; on a pool in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from picas.errors import Conflict, NothingMatched, StoreUnavailable, UsageError
from picas.lifecycle import State, state_of
from picas.pool import Changed, Pool
from picas.selectors import parse
from picas.stores.memory import MemoryStore
from picas.testing.samples import claim_one, put
from picas.verbs import VERBS
from picas.views import View
from picas.web import changes
from picas.web.changes import Change, Changes, Phase
from picas.web.desk import Busy, Desk
from picas.web.live import Live
from picas.web.query import Query

TODO = Query(view=View(State.TODO))


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Twenty tokens that wait; a step has five."""
    monkeypatch.setattr(changes, "_STEP", 5)
    monkeypatch.setattr(changes, "_PAUSE", 0.0)
    with Pool(MemoryStore()) as made:
        put(made.store, *(f"t{number:02}" for number in range(20)))
        yield made


def run(pool: Pool, work: Any) -> Any:
    """Run a coroutine that is given the changes of a page."""

    async def inner() -> Any:
        desk = Desk(pool)
        made = Changes(desk, Live(desk))
        try:
            return await work(made)
        finally:
            made.close()
            desk.close()

    return asyncio.run(inner())


async def found(made: Changes, verb: str, query: Query = TODO, **given: Any) -> Change:
    change = made.begin(VERBS[verb], query, **given)
    await made.settled(change, 10.0)
    return change


async def done(made: Changes, change: Change) -> Change:
    made.go(change)
    await made.settled(change, 10.0)
    return change


def count(pool: Pool, state: State) -> int:
    return pool.count()[state]


def test_what_is_found_is_what_is_changed(pool: Pool) -> None:
    async def work(made: Changes) -> None:
        change = await found(made, "hold")
        assert (change.phase, change.count, change.meant) == (Phase.ASKING, 20, 20)
        put(pool.store, "later")
        claimed = claim_one(pool.store)["_id"]
        pool.delete([doc for doc in pool.store.get(["t07" if claimed != "t07" else "t08"]) if doc])
        await done(made, change)
        assert change.phase is Phase.OVER
        out = change.outcome
        assert (out.ended, out.moved, out.gone, out.left) == (18, 1, 1, [claimed])

    run(pool, work)
    assert (count(pool, State.HELD), count(pool, State.TODO), count(pool, State.LOCKED)) == (18, 1, 1)


def test_a_token_that_was_claimed_again_is_not_the_same(pool: Pool) -> None:
    async def work(made: Changes) -> None:
        doc = claim_one(pool.store)
        change = await found(made, "cancel", Query(ids=(doc["_id"],)))
        pool.reset([doc])
        pool.prioritize([one for one in pool.store.get([doc["_id"]]) if one], 9)
        again = claim_one(pool.store)
        assert again["_id"] == doc["_id"]
        assert (await done(made, change)).outcome.moved == 1
        assert "cancel" not in (pool.get(doc["_id"]) or {})

    run(pool, work)


def test_it_is_stopped_between_two_steps_and_goes_on(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Changes) -> None:
        change = await found(made, "hold")
        plain = Change.step

        def stopping(self: Change, opened: Pool) -> Any:
            made.stop(change)
            return plain(self, opened)

        monkeypatch.setattr(Change, "step", stopping)
        await done(made, change)
        assert (change.phase, change.done, count(pool, State.HELD)) == (Phase.STOPPED, 5, 5)
        monkeypatch.setattr(Change, "step", plain)
        await done(made, change)
        assert (change.phase, change.outcome.ended, change.outcome.moved) == (Phase.OVER, 20, 0)

    run(pool, work)
    assert count(pool, State.HELD) == 20


def test_a_store_that_goes_away_stops_it_where_it_is(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Changes) -> None:
        change = await found(made, "delete")
        plain = Pool.delete

        def away(self: Pool, docs: Any) -> Changed:
            if change.done >= 10:
                raise StoreUnavailable("the pool is away", hint="wait")
            return plain(self, docs)

        monkeypatch.setattr(Pool, "delete", away)
        await done(made, change)
        assert (change.phase, change.done) == (Phase.STOPPED, 10)
        assert change.error is not None
        assert change.error.message == "the pool is away"
        monkeypatch.setattr(Pool, "delete", plain)
        await done(made, change)
        assert (change.phase, change.error, change.outcome.ended) == (Phase.OVER, None, 20)

    run(pool, work)
    assert sum(pool.count().values()) == 0


def test_a_program_says_how_many_it_expects(pool: Pool) -> None:
    async def work(made: Changes) -> None:
        change = await found(made, "hold", waits=False, expect=19)
        assert change.phase is Phase.FAILED
        assert isinstance(change.error, Conflict)
        assert count(pool, State.HELD) == 0
        with pytest.raises(Conflict):
            made.go(change)
        change = await found(made, "hold", waits=False, expect=20)
        assert (change.phase, count(pool, State.HELD)) == (Phase.OVER, 20)

    run(pool, work)


def test_too_many_are_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_TOKENS", 19)

    async def work(made: Changes) -> None:
        change = await found(made, "reset")
        assert change.phase is Phase.FAILED
        assert isinstance(change.error, UsageError)
        assert "picas reset" in change.error.hint
        assert change.kept == 0

    run(pool, work)


def test_the_last_changes_are_kept_and_those_at_work_always(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_MOST_CHANGES", 3)

    async def work(made: Changes) -> None:
        first, *others = [await found(made, "hold") for _ in range(4)]
        with pytest.raises(NothingMatched):
            made.find(first.key)
        assert [made.find(one.key) for one in others] == others
        for _ in range(3):
            made.begin(VERBS["hold"], TODO)
        with pytest.raises(Busy):
            made.begin(VERBS["hold"], TODO)

    run(pool, work)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "priority"])
def test_words_and_deeds_agree_on_what_can_be_done(pool: Pool, verb: str) -> None:
    """In which states each verb makes sense is told before, by the table, as the pool decides it later."""
    pool.hold(doc for doc in pool.store.get(["t01"]) if doc)
    for outcome in (0, 1):
        doc = claim_one(pool.store)
        pool.store.update([doc | {"done": doc["lock"], "exit_code": outcome}])
    claim_one(pool.store)
    docs = {str(state_of(doc)): doc for doc in pool.documents() if state_of(doc)}
    assert set(docs) == {str(state) for state in State}

    report: Changed = getattr(pool, verb)(docs.values())

    changed = {state for state, doc in docs.items() if doc["_id"] in report.changed}
    assert changed == VERBS[verb].states


def test_a_priority_is_given_to_what_has_not_ended(pool: Pool) -> None:
    doc = claim_one(pool.store)
    pool.store.update([doc | {"done": doc["lock"], "exit_code": 0}])
    pool.prioritize(pool.documents(), 3)

    with_it = {str(state_of(one)) for one in pool.documents() if one.get("priority") == 3}
    assert with_it <= VERBS["priority"].states
    assert len(pool.store.page(None, where=parse({"priority": 3})).docs) == 19


def test_a_fault_ends_it_and_is_told(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Changes) -> None:
        change = await found(made, "hold")
        monkeypatch.setattr(Change, "step", lambda *_: 1 / 0)
        await done(made, change)
        assert change.phase is Phase.STOPPED
        assert change.error is not None
        assert "ZeroDivisionError" in change.error.message

    run(pool, work)
