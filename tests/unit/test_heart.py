"""The heart keeps a pilot's lease and signs it off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from picas.errors import StoreUnavailable
from picas.pilot.heart import Heart
from picas.stores.base import Beat, PilotRecord, TokenStore
from picas.stores.memory import MemoryStore
from picas.testing.samples import beat_of, claim_one, eventually, put, settle


class Flaky(MemoryStore):
    """A store of which each beat first asks ``before_beat``."""

    before_beat: Callable[[], object] = staticmethod(lambda: None)

    def beat(self, record: PilotRecord) -> Beat:
        self.before_beat()
        return super().beat(record)


def test_the_pool_knows_of_the_pilot_at_once_and_no_more_when_it_has_ended() -> None:
    store = MemoryStore()
    with Heart(store.twin, beat_of("p1")):
        assert [record.id for record in store.pilots()] == ["p1"]
    assert store.pilots() == []


def test_it_beats_three_times_per_lease_from_a_thread_and_a_twin_of_its_own() -> None:
    beats: list[int] = []
    twins: list[Flaky] = []

    def twin() -> TokenStore:
        twins.append(Flaky())
        twins[-1].before_beat = lambda: beats.append(threading.get_ident())
        return twins[-1]

    with Heart(twin, beat_of("p1", lease=0.03)):
        eventually(lambda: len(beats) >= 5)
    assert len(twins) == 1
    assert set(beats) != {threading.get_ident()}
    assert twins[0]._closed


def test_the_next_beat_tells_a_new_record() -> None:
    store = MemoryStore()
    with Heart(store.twin, beat_of("p1", lease=0.03)) as heart:
        heart.record = beat_of("p1", lease=0.03, finished=7)
        eventually(lambda: store.pilots()[0].finished == 7)


def test_a_store_that_is_away_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Flaky()
    problems = iter([StoreUnavailable("away"), StoreUnavailable("away")])

    def fail() -> None:
        if problem := next(problems, None):
            raise problem

    store.before_beat = fail
    with caplog.at_level(logging.WARNING), Heart(lambda: store, beat_of("p1", lease=0.03)):
        eventually(lambda: len(store.pilots()) == 1)
    assert caplog.text.count("could not renew its lease, trying again: away") == 2


def test_a_twin_that_cannot_be_opened_is_tried_again() -> None:
    store = MemoryStore()
    problems = iter([StoreUnavailable("away")])

    def twin() -> TokenStore:
        if problem := next(problems, None):
            raise problem
        return store.twin()

    with Heart(twin, beat_of("p1", lease=0.03)):
        eventually(lambda: len(store.pilots()) == 1)


def test_a_pilot_that_ends_with_claims_is_left_to_its_lease(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    put(store, "a", "b")
    with Heart(store.twin, beat_of("p1")):
        settle(store, claim_one(store))
        claim_one(store)
    assert [record.id for record in store.pilots()] == ["p1"]
    assert "its lease will give back: b" in caplog.text


def test_claims_can_be_kept_for_good() -> None:
    store = MemoryStore()
    put(store, "a")
    with Heart(store.twin, beat_of("p1")) as heart:
        claim_one(store)
        heart.close(keep_claims=True)
    assert store.pilots() == []
