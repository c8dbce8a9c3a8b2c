"""The contract on pilots: their beats, leases and orders; and on waiting for a change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from picas import lifecycle
from picas.lifecycle import State
from picas.selectors import parse
from picas.stores.base import TokenStore
from picas.testing.samples import (
    GIVEN_BACK,
    Background,
    Reopen,
    beat_of,
    change,
    claim,
    claim_one,
    eventually,
    found,
    put,
    settle,
    woken_by,
)
from picas.views import Design

__all__ = ["TestBeat", "TestPilots", "TestWait"]

LONG = 20.0
"""Seconds that no test waits unless it fails."""


class TestBeat:
    def test_it_tells_the_claims_that_are_in_force(self, store: TokenStore) -> None:
        put(store, *"abcd")
        claim(store, 3, pilot="p1")
        claim(store, 1, pilot="p2")
        assert dict(store.beat(beat_of("p1")).held) == {"a": 1, "b": 1, "c": 1}
        assert dict(store.beat(beat_of("p2")).held) == {"d": 1}
        assert dict(store.beat(beat_of("p3")).held) == {}
        settle(store, found(store, "a"))
        store.delete([found(store, "b")])
        change(store, "c", lifecycle.reset)
        assert dict(store.beat(beat_of("p1")).held) == {}

    def test_who_says_how_many_it_holds_is_told_of_them_and_of_its_orders(self, store: TokenStore) -> None:
        put(store, "a")
        claim_one(store, pilot="p1")
        assert dict(store.beat(beat_of("p1", holding=1)).held) == {"a": 1}
        store.order("p1", "drain")
        assert store.beat(beat_of("p1", holding=0)).orders == "drain"

    def test_the_fence_tells_a_claim_from_a_later_one(self, store: TokenStore) -> None:
        put(store, "a")
        for fence in (1, 2):
            claim_one(store, pilot="p1")
            assert dict(store.beat(beat_of("p1")).held) == {"a": fence}
            change(store, "a", lifecycle.reset)

    def test_a_lock_of_a_picas_program_is_nobodys_claim(self, store: TokenStore) -> None:
        put(store, "a")
        claim_one(store, pilot="p1")
        change(store, "a", lambda doc: {**doc, "lock": doc["lock"] + 1})
        assert dict(store.beat(beat_of("p1")).held) == {}

    def test_it_tells_what_was_cancelled(self, store: TokenStore) -> None:
        put(store, "a", "b")
        claim(store, 2, pilot="p1")
        assert store.beat(beat_of("p1")).cancelled == frozenset()
        change(store, "b", lambda doc: lifecycle.cancel(doc, store.now()))
        beat = store.beat(beat_of("p1"))
        assert (sorted(beat.held), beat.cancelled) == (["a", "b"], frozenset({"b"}))

    def test_orders_reach_the_pilot_with_its_next_beat(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        assert store.beat(beat_of("p1")).orders == ""
        store.beat(beat_of("p2"))
        assert other.order("p1", "drain") is True
        assert store.beat(beat_of("p1")).orders == "drain"
        assert store.beat(beat_of("p2")).orders == ""
        assert other.order("p1", "stop") is True
        assert [pilot.orders for pilot in other.pilots() if pilot.id == "p1"] == ["stop"]
        assert store.beat(beat_of("p1")).orders == "stop"
        other.close()

    def test_an_unknown_pilot_gets_no_orders(self, store: TokenStore) -> None:
        assert store.order("nobody", "stop") is False
        assert store.pilots() == []


class TestPilots:
    def test_what_a_pilot_says_of_itself(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        fields: dict[str, Any] = {
            "view": "A/todo",
            "cores": 8,
            "running": 3,
            "finished": 12,
            "job": {"slurm_job_id": "7"},
        }
        store.beat(beat_of("p1"))
        store.beat(beat_of("p1", **fields))
        (record,) = other.pilots()
        assert 0 <= record.silent < LONG
        assert record.alive
        assert record == beat_of("p1", **fields, silent=record.silent, watched=record.watched)
        other.close()

    def test_silence_grows_until_the_next_beat(self, store: TokenStore) -> None:
        store.beat(beat_of("p1", lease=0.02))
        store.beat(beat_of("p2"))
        eventually(lambda: not self._alive(store)["p1"])
        assert self._alive(store) == {"p1": False, "p2": True}
        store.beat(beat_of("p1", lease=1000))
        assert self._alive(store) == {"p1": True, "p2": True}

    def test_who_signed_off_is_gone_and_may_come_again(self, store: TokenStore) -> None:
        store.beat(beat_of("p1"))
        store.order("p1", "stop")
        store.beat(beat_of("p2"))
        store.forget("p1")
        store.forget("p1")
        store.forget("nobody")
        assert list(self._alive(store)) == ["p2"]
        assert store.order("p1", "drain") is False
        assert store.beat(beat_of("p1")).orders == ""
        assert sorted(self._alive(store)) == ["p1", "p2"]

    def test_a_record_is_neither_a_document_nor_a_claim(self, store: TokenStore) -> None:
        store.beat(beat_of("p1"))
        put(store, "a")
        claim_one(store, pilot="p1")
        store.forget("p1")
        assert len(store.page(None).docs) == 1
        assert store.count()[State.LOCKED] == 1

    @staticmethod
    def _alive(store: TokenStore) -> dict[str, bool]:
        return {pilot.id: pilot.alive for pilot in store.pilots()}


CHANGES: dict[str, Callable[[TokenStore], object]] = {
    "put": lambda store: put(store, "new"),
    "load": lambda store: store.load([{"_id": "new"}]),
    "update": lambda store: change(store, "a", lambda doc: {**doc, "priority": 1}),
    "delete": lambda store: store.delete([found(store, "a")]),
    "give back": lambda store: settle(store, claim_one(store), GIVEN_BACK),
    "install": lambda store: store.install(Design("A", parse({"n": 1}))),
}


class TestWait:
    def test_nothing_happens_for_so_long(self, store: TokenStore) -> None:
        put(store, "a")
        self._settled(store)
        begun = time.monotonic()
        assert store.wait(0.05) is False
        assert time.monotonic() - begun >= 0.04
        assert store.wait(0) is False

    @pytest.mark.parametrize("what", CHANGES)
    def test_a_change_through_another_handle_wakes(self, store: TokenStore, reopen: Reopen, what: str) -> None:
        if store.capabilities.wakes_for_work_only and what in ("delete", "install"):
            pytest.skip("this store wakes for work only")
        put(store, "a")
        other = reopen()
        self._settled(store)
        assert woken_by(store, lambda: CHANGES[what](other), LONG) < LONG / 2
        other.close()

    def test_a_change_between_looking_and_waiting_is_not_slept_through(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        for n in range(3):
            assert claim(store) == []
            put(other, f"t{n}")
            assert store.wait(2) is True
            assert len(claim(store)) == 1
        other.close()

    def test_every_handle_is_woken(self, store: TokenStore, reopen: Reopen) -> None:
        others = [reopen() for _ in range(3)]
        for other in others:
            self._settled(other)
        sleepers = [Background(lambda other=other: other.wait(LONG)) for other in others]  # type: ignore[misc]
        put(store, "a")
        assert [sleeper.result(LONG) for sleeper in sleepers] == [True, True, True]
        for other in others:
            other.close()

    @staticmethod
    def _settled(store: TokenStore) -> None:
        """What was changed before may be told once more, but not for ever."""
        assert not all(store.wait(0.01) for _ in range(3))
