"""What the page of the pilots asks a store for: tokens that are held, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from picas.lifecycle import Claimant, Doc, Outcome, State
from picas.pool import Pool, connect
from picas.stores.base import Claim, Settlement
from picas.views import View
from picas.web import slots
from picas.web.desk import Desk
from picas.web.live import Live
from picas.web.slots import Slots

Look = Callable[[], Awaitable[slots.Seen]]


def claimed(pool: Pool, count: int, pilot: str = "p1") -> list[Doc]:
    wish = Claim(view=View(State.TODO), count=count, claimant=Claimant(pilot=pilot, hostname="node1", cores=2))
    return pool.store.exchange([], wish).claimed


def settle(pool: Pool, docs: list[Doc]) -> None:
    for doc in docs:
        attempt = {"pilot": "p1", "fence": doc["fence"], "pilot_cores": 2, "start": doc["claim"]["at"], "runtime": 0.0}
        pool.store.exchange([Settlement(doc=doc, outcome=Outcome(attempt=attempt))])


def watched(pool: Pool, steps: Callable[[Look], Awaitable[None]]) -> None:
    """Run steps that look at a pool when they want to."""

    async def run() -> None:
        desk = Desk(pool)
        live = Live(desk)
        task = asyncio.create_task(live.run())
        try:
            await live.look()
            seen = Slots(desk, live).seen

            async def look() -> slots.Seen:
                seen.hurry()
                found = await seen.settled(10.0)
                assert found is not None
                return found

            await steps(look)
        finally:
            task.cancel()
            await asyncio.wait([task])
            desk.close()

    asyncio.run(run())


def told(sight: slots.Seen) -> list[str]:
    return [row.told for row in sight.picture.rows]


def test_what_ended_before_the_first_look_is_read_and_what_ends_later_looked_up() -> None:
    with connect("memory:") as pool:
        pool.add([{"_id": f"t{number}"} for number in range(6)])
        settle(pool, claimed(pool, 2))
        held = claimed(pool, 2)

        async def steps(look: Look) -> None:
            sight = await look()
            assert (told(sight), sight.begun_at) == (["2 slots: 2 done, 2 running"], None)
            assert sorted(sight.held["p1"]) == sorted(doc["_id"] for doc in held)
            settle(pool, [*held, *claimed(pool, 1)])
            sight = await look()
            assert (told(sight), sight.held, sight.is_sampled) == (["2 slots: 5 done"], {}, False)

        watched(pool, steps)


def test_of_a_large_pool_nothing_is_read_but_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_REMEMBERED", 1)
    monkeypatch.setattr(slots, "_REREAD", 1)
    with connect("memory:") as pool:
        pool.add([{"_id": f"t{number}"} for number in range(6)])
        settle(pool, claimed(pool, 2))
        held = claimed(pool, 2)

        async def steps(look: Look) -> None:
            sight = await look()
            assert told(sight) == ["1 slot: 2 running"]
            assert sight.begun_at is not None
            settle(pool, held)
            sight = await look()
            assert (told(sight), sight.is_sampled) == (["2 slots: 2 done"], True)

        watched(pool, steps)


def test_of_very_many_that_are_held_it_is_said_that_they_are_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MOST_HELD", 2)
    monkeypatch.setattr(slots, "_PAGE", 2)
    with connect("memory:") as pool:
        pool.add([{"_id": f"t{number}"} for number in range(6)])
        claimed(pool, 5)

        async def steps(look: Look) -> None:
            sight = await look()
            assert (sight.is_held_cut, len(sight.held["p1"])) == (True, 2)

        watched(pool, steps)
