"""The contract on a paused pool, and on requests to cancel: whom they reach, and whom never."""

from __future__ import annotations

from picas import lifecycle
from picas.lifecycle import State
from picas.pool import Pool
from picas.stores.base import Claim, Settlement, TokenStore
from picas.stores.steering import Pause
from picas.testing.leases import LONG
from picas.testing.samples import (
    DONE,
    TODO,
    Reopen,
    beat_of,
    change,
    claim,
    claim_one,
    found,
    ids,
    put,
    settle,
    state,
    woken_by,
)

__all__ = ["TestCancel", "TestPause", "TestPriority"]

PAUSE = Pause(by="ann@node1", at=1_700_000_000.5, why="the file system is full: 100 %")


class TestPriority:
    def test_who_is_given_a_higher_one_is_claimed_first(self, store: TokenStore) -> None:
        put(store, *"abc")
        pool = Pool(store)
        running = claim_one(store)
        last = max({"a", "b", "c"} - {running["_id"]})
        report = pool.prioritize([doc for doc in store.get([last, running["_id"]]) if doc], 5)
        assert sorted(report.changed) == sorted([last, running["_id"]])
        assert pool.prioritize([doc for doc in store.get([last]) if doc], 5).skipped == [last]
        assert ids(claim(store, 1)) == [last]
        settle(store, running, DONE)
        assert found(store, running["_id"])["priority"] == 5
        assert state(store, running["_id"]) is State.DONE
        assert pool.prioritize([found(store, running["_id"])], 1).skipped == [running["_id"]]


class TestPause:
    def test_it_is_told_as_it_was_given_until_it_ends(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        assert store.paused() is None
        store.pause(PAUSE)
        assert store.paused() == other.paused() == PAUSE
        other.pause(Pause(by="bob@node2", at=2.0))
        assert store.paused() == Pause(by="bob@node2", at=2.0)
        other.pause(None)
        other.pause(None)
        assert store.paused() is None
        other.close()

    def test_nothing_is_claimed_and_all_else_goes_on(self, store: TokenStore) -> None:
        put(store, *"abc")
        doc = claim_one(store)
        store.pause(PAUSE)
        assert claim(store, 2) == []
        done = store.exchange([Settlement(doc=doc, outcome=DONE)], Claim(view=TODO, count=1, claimant=_claimant()))
        assert (len(done.settled), done.claimed) == (1, [])
        put(store, "d")
        assert [state(store, name) for name in "abcd"] == [State.DONE, State.TODO, State.TODO, State.TODO]
        assert len(store.page(None).docs) == 4
        store.pause(None)
        assert sorted(ids(claim(store, 5))) == ["b", "c", "d"]

    def test_another_handle_obeys_at_once_or_with_its_next_beat(self, store: TokenStore, reopen: Reopen) -> None:
        other = reopen()
        put(store, "a")
        other.beat(beat_of("p1"))
        store.pause(PAUSE)
        if not store.capabilities.pauses_at_once:
            other.beat(beat_of("p1"))
        assert claim(other) == []
        store.pause(None)
        if not store.capabilities.pauses_at_once:
            other.beat(beat_of("p1"))
        assert ids(claim(other)) == ["a"]
        other.close()

    def test_whoever_waits_is_woken_when_it_ends(self, store: TokenStore, reopen: Reopen) -> None:
        if not store.capabilities.pauses_at_once:
            return
        other = reopen()
        put(store, "a")
        store.pause(PAUSE)
        assert claim(store) == []
        while store.wait(0.01):
            pass
        woken_by(store, lambda: other.pause(None), LONG)
        assert ids(claim(store)) == ["a"]
        other.close()


class TestCancel:
    def test_a_held_claim_stays_locked_until_its_pilot_says_that_it_has_ended(self, store: TokenStore) -> None:
        put(store, "a")
        doc = claim_one(store)
        pool = Pool(store)
        assert pool.cancel([found(store, "a")]).changed == ["a"]
        assert state(store, "a") is State.LOCKED
        assert store.beat(beat_of("p1")).cancelled == frozenset({"a"})
        settle(store, doc, lifecycle.Outcome(reason=lifecycle.Reason.CANCELLED, exit_code=""))
        ended = found(store, "a")
        assert (lifecycle.state_of(ended), ended["reason"], "cancel" in ended) == (State.ERROR, "cancelled", False)

    def test_a_silent_pilots_cancelled_token_ends_and_does_not_go_back(self, store: TokenStore) -> None:
        put(store, "a")
        claim_one(store, pilot="p1")
        pool = Pool(store)
        pool.cancel([found(store, "a")])
        pool.give_back("p1")
        ended = found(store, "a")
        assert (lifecycle.state_of(ended), ended["reason"], ended["lost"]) == (State.ERROR, "cancelled", 1)

    def test_a_request_for_an_earlier_claim_is_no_request(self, store: TokenStore) -> None:
        put(store, "a")
        claim_one(store)
        change(store, "a", lambda doc: {**doc, "lock": 0, "cancel": 1})
        again = claim_one(store)
        assert (again["fence"], again.get("cancel")) == (2, 1)
        assert store.beat(beat_of("p1")).cancelled == frozenset()
        settle(store, again)
        assert state(store, "a") is State.DONE

    def test_a_cancel_of_one_claim_does_not_reach_the_next(self, store: TokenStore) -> None:
        put(store, "a")
        claim_one(store)
        seen = found(store, "a")
        change(store, "a", lifecycle.reset)
        claim_one(store, pilot="p2")
        report = Pool(store).cancel([seen])
        assert (report.changed, report.skipped, report.conflicts) == ([], [], ["a"])
        assert store.beat(beat_of("p2")).cancelled == frozenset()
        assert "cancel" not in found(store, "a")


def _claimant() -> lifecycle.Claimant:
    return lifecycle.Claimant(pilot="p1", hostname="node1")
