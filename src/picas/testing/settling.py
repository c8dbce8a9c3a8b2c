"""The contract on settling: a result is accepted once, from the holder; and who waited for it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from picas import lifecycle
from picas.errors import ClaimLost, InvalidToken
from picas.lifecycle import Claimant, Doc, Edit, Outcome, Reason, State
from picas.stores.base import Claim, Settlement, TokenStore
from picas.testing.samples import (
    DONE,
    FAILED,
    GIVEN_BACK,
    TODO,
    Reopen,
    change,
    claim,
    claim_one,
    found,
    ids,
    put,
    settle,
    state,
)

__all__ = ["TestAfter", "TestFence", "TestSettle"]


def _reset_and_claimed_again(store: TokenStore) -> None:
    change(store, "a", lifecycle.reset)
    claim_one(store, pilot="p2")


def _reset(store: TokenStore) -> None:
    change(store, "a", lifecycle.reset)


def _lost(store: TokenStore) -> None:
    change(store, "a", lambda doc: lifecycle.lose(doc, store.now()))


def _lost_and_claimed_again_by_the_same(store: TokenStore) -> None:
    _lost(store)
    claim_one(store, pilot="p1")


def _deleted(store: TokenStore) -> None:
    store.delete([found(store, "a")])


def _deleted_and_put_again(store: TokenStore) -> None:
    _deleted(store)
    put(store, "a")


def _locked_by_a_picas_program(store: TokenStore) -> None:
    change(store, "a", lambda doc: {**doc, "lock": doc["lock"] + 1})


def _finished_by_a_picas_program(store: TokenStore) -> None:
    change(store, "a", lambda doc: {**doc, "done": doc["lock"], "exit_code": 0})


def _settled(store: TokenStore) -> None:
    settle(store, found(store, "a"))


def _given_back(store: TokenStore) -> None:
    settle(store, found(store, "a"), GIVEN_BACK)


def _held(store: TokenStore) -> None:
    change(store, "a", lifecycle.hold)


MEANWHILE = [
    _reset,
    _reset_and_claimed_again,
    _lost,
    _lost_and_claimed_again_by_the_same,
    _deleted,
    _deleted_and_put_again,
    _locked_by_a_picas_program,
    _finished_by_a_picas_program,
    _settled,
    _given_back,
    _held,
]


class TestFence:
    @pytest.mark.parametrize("meanwhile", MEANWHILE)
    @pytest.mark.parametrize("outcome", [DONE, GIVEN_BACK, Edit(changes={"output": 1, "done": 1})], ids=repr)
    def test_a_claim_that_is_over_cannot_be_settled(
        self, store: TokenStore, meanwhile: Callable[[TokenStore], None], outcome: Any
    ) -> None:
        put(store, "a")
        mine = claim_one(store)
        meanwhile(store)
        kept = store.get(["a"])
        answer = settle(store, mine, outcome)
        assert isinstance(answer, ClaimLost)
        assert "a" in answer.message
        assert store.get(["a"]) == kept

    def test_nor_when_the_token_was_deleted_put_again_and_claimed_by_another(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store, pilot="p1")
        _deleted_and_put_again(store)
        theirs = claim_one(store, pilot="p2")
        assert isinstance(settle(store, mine), ClaimLost)
        assert found(store, "a") == theirs

    def test_a_person_may_change_a_locked_token_and_the_result_is_still_taken(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        change(store, "a", lambda doc: {**doc, "priority": 7, "note": "please"})
        settled = settle(store, mine, Outcome(changes={"output": {"n": 1}}))
        assert (settled["priority"], settled["note"], settled["output"]) == (7, "please", {"n": 1})
        assert found(store, "a") == settled
        assert state(store, "a") is State.DONE

    def test_never_twice_not_even_in_one_step(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        twice = [Settlement(doc=mine, outcome=Outcome(changes={"n": n})) for n in (1, 2)]
        first, second = store.exchange(twice).settled
        assert isinstance(first, dict)
        assert isinstance(second, ClaimLost)
        assert found(store, "a")["n"] == 1

    def test_a_request_to_cancel_does_not_end_the_claim(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        change(store, "a", lambda doc: lifecycle.cancel(doc, store.now()))
        settled = settle(store, mine, Outcome(reason=Reason.CANCELLED, exit_code=""))
        assert settled["reason"] == "cancelled"
        assert state(store, "a") is State.ERROR

    def test_each_row_is_answered_for_itself(self, store: TokenStore) -> None:
        put(store, *"abc")
        docs = {doc["_id"]: doc for doc in claim(store, 3)}
        change(store, "b", lifecycle.reset)
        answers = store.exchange([Settlement(doc=docs[name], outcome=DONE) for name in "abc"]).settled
        assert [type(answer) for answer in answers] == [dict, ClaimLost, dict]
        assert [state(store, name) for name in "abc"] == [State.DONE, State.TODO, State.DONE]

    @pytest.mark.parametrize("changes", [{"n": float("nan")}, {"n": "\x00"}, {"_n": 1}, {"n": 2**60}], ids=repr)
    def test_an_outcome_that_no_store_takes_leaves_its_token_locked(
        self, store: TokenStore, changes: dict[str, Any]
    ) -> None:
        put(store, "a", "b")
        a, b = claim(store, 2)
        refused, taken = store.exchange(
            [Settlement(doc=a, outcome=Outcome(changes=changes)), Settlement(doc=b, outcome=DONE)]
        ).settled
        assert isinstance(refused, InvalidToken)
        assert isinstance(taken, dict)
        assert found(store, "a") == a
        assert state(store, "b") is State.DONE
        assert isinstance(settle(store, a), dict)


class TestSettle:
    def test_what_comes_back_is_what_is_stored(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        attempt = {"fence": 1, "pilot": "p1", "runtime": 0.5}
        settled = settle(store, mine, Outcome(changes={"output": [1]}, attempt=attempt))
        assert settled == found(store, "a")
        assert settled["_rev"] != mine["_rev"]
        assert (settled["output"], settled["exit_code"], settled["reason"]) == ([1], 0, "exit")
        assert settled["attempts"] == [{**attempt, "exit_code": 0, "reason": "exit"}]
        assert "claim" not in settled
        assert settled["fence"] == 1

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (DONE, State.DONE),
            (Outcome(exit_code="0"), State.DONE),
            (FAILED, State.ERROR),
            (Outcome(exit_code=-9, reason=Reason.SIGNAL), State.ERROR),
            (Outcome(reason=Reason.MEMORY, exit_code=137), State.ERROR),
            (Outcome(reason=Reason.EXCEPTION, exit_code=""), State.ERROR),
            (GIVEN_BACK, State.TODO),
            (Outcome(exit_code=1, max_scrub=1), State.TODO),
            (Outcome(exit_code=0, max_scrub=1), State.DONE),
            (Outcome(reason=Reason.START_FAILED, exit_code=127, max_scrub=1), State.ERROR),
            (Edit(changes={"done": 99, "lock": 99}), State.ERROR),
            (Edit(changes={"done": 99, "exit_code": 0}), State.DONE),
            (Edit(changes={"lock": 0, "scrub_count": 1}), State.TODO),
            (Edit(changes={"output": 1}), State.LOCKED),
            (Edit(changes={}, removed=frozenset({"input"})), State.LOCKED),
        ],
    )
    def test_the_state_it_leads_to(self, store: TokenStore, outcome: Outcome | Edit, expected: State) -> None:
        put(store, "a", input=1)
        mine = claim_one(store)
        settled = settle(store, mine, outcome)
        assert lifecycle.state_of(settled) is expected
        assert store.count()[expected] == 1
        assert found(store, "a") == settled

    def test_retries_are_counted_and_end(self, store: TokenStore) -> None:
        put(store, "a", max_scrub=2)
        states = []
        for _ in range(3):
            settle(store, claim_one(store), FAILED)
            states.append((state(store, "a"), found(store, "a")["scrub_count"]))
        assert states == [(State.TODO, 1), (State.TODO, 2), (State.ERROR, 2)]

    def test_a_retry_waits_for_its_delay(self, store: TokenStore) -> None:
        put(store, "a", max_scrub=1)
        settle(store, claim_one(store), Outcome(exit_code=1, retry_delay=1000))
        assert claim(store) == []
        assert 900 < (store.next_ready(TODO) or 0) <= 1001
        change(store, "a", lifecycle.reset)
        assert ids(claim(store)) == ["a"]

    def test_giving_back_costs_nothing(self, store: TokenStore) -> None:
        put(store, "a")
        for times in (1, 2, 3):
            settled = settle(store, claim_one(store), GIVEN_BACK)
            assert (settled["released"], settled["scrub_count"]) == (times, 0)

    def test_a_programs_edit_keeps_its_claim_until_it_ends_it(self, store: TokenStore) -> None:
        put(store, "a", input=1, extra=2)
        mine = claim_one(store)
        halfway = settle(store, mine, Edit(changes={"progress": 50}, removed=frozenset({"extra"})))
        assert (halfway["progress"], "extra" in halfway) == (50, False)
        change(store, "a", lambda doc: {**doc, "priority": 7})
        ended = settle(store, halfway, Edit(changes={"done": 5, "exit_code": 0}))
        assert (ended["progress"], ended["priority"], "claim" in ended) == (50, 7, False)
        assert isinstance(settle(store, halfway, Edit(changes={"n": 1})), ClaimLost)

    def test_many_in_one_step(self, store: TokenStore) -> None:
        put(store, *(f"t{n}" for n in range(600)))
        docs = claim(store, 600)
        answers = store.exchange([Settlement(doc=doc, outcome=DONE) for doc in docs]).settled
        assert ids(answers) == ids(docs)  # type: ignore[arg-type]
        assert store.count()[State.DONE] == 600

    def test_nothing(self, store: TokenStore) -> None:
        exchange = store.exchange([])
        assert (exchange.settled, exchange.claimed) == ([], [])


class TestAfter:
    def test_it_is_held_until_the_last_is_done(self, store: TokenStore) -> None:
        put(store, "a", "b")
        put(store, "c", after=["a", "b"])
        assert state(store, "c") is State.HELD
        held = found(store, "c")
        a, b = claim(store, 10)
        settle(store, a)
        assert found(store, "c") == held
        settle(store, b)
        assert state(store, "c") is State.TODO
        assert found(store, "c")["_rev"] != held["_rev"]
        assert ids(claim(store)) == ["c"]

    def test_it_can_be_claimed_in_the_very_step(self, store: TokenStore, reopen: Reopen) -> None:
        put(store, "a")
        put(store, "b", after=["a"])
        wish = Claim(view=TODO, count=1, claimant=Claimant(pilot="p1"))
        exchange = store.exchange([Settlement(doc=claim_one(store), outcome=DONE)], wish)
        assert ids(exchange.claimed) == ["b"]
        assert found(reopen(), "b") == exchange.claimed[0]

    def test_an_error_leaves_it_held_until_a_reset_leads_to_done(self, store: TokenStore) -> None:
        put(store, "a")
        put(store, "b", after=["a"])
        settle(store, claim_one(store), FAILED)
        assert state(store, "b") is State.HELD
        change(store, "a", lifecycle.reset)
        assert state(store, "b") is State.HELD
        settle(store, claim_one(store))
        assert state(store, "b") is State.TODO

    def test_one_that_is_done_and_reset_is_waited_for_again(self, store: TokenStore) -> None:
        put(store, "a", "b")
        put(store, "c", after=["a", "b"])
        a, b = claim(store, 2)
        settle(store, a)
        change(store, "a", lifecycle.reset)
        settle(store, b)
        assert state(store, "c") is State.HELD
        settle(store, claim_one(store))
        assert state(store, "c") is State.TODO

    def test_what_is_done_already_need_not_be_waited_for(self, store: TokenStore) -> None:
        put(store, "a")
        settle(store, claim_one(store))
        put(store, "b", after=["a"])
        put(store, "c", after=["a", "b"])
        put(store, "d", after=[])
        assert [state(store, name) for name in "bcd"] == [State.TODO, State.HELD, State.TODO]

    def test_what_is_not_there_yet_is_waited_for(self, store: TokenStore) -> None:
        put(store, "b", after=["a"])
        put(store, "a")
        assert ids(claim(store, 10)) == ["a"]
        settle(store, found(store, "a"))
        assert state(store, "b") is State.TODO

    def test_one_that_comes_to_wait_while_what_it_waits_for_runs(self, store: TokenStore) -> None:
        put(store, "a", "x")
        a, _ = claim(store, 2)
        put(store, "b", after=["a"])
        settle(store, a)
        assert ids(claim(store)) == ["b"]

    def test_a_chain_and_a_fan_in_one_batch_in_any_order(self, store: TokenStore) -> None:
        fan = [f"f{n}" for n in range(50)]
        docs: list[Doc] = [{"_id": "end", "after": fan}, *({"_id": name, "after": ["start"]} for name in fan)]
        store.put([*docs, {"_id": "start"}])
        assert store.count()[State.HELD] == 51
        rounds = []
        while claimed := claim(store, 100):
            rounds.append(len(claimed))
            store.exchange([Settlement(doc=doc, outcome=DONE) for doc in claimed])
        assert rounds == [1, 50, 1]

    @pytest.mark.parametrize("way", ["edit", "update", "put"])
    def test_however_the_last_came_to_be_done(self, store: TokenStore, way: str) -> None:
        put(store, "b", after=["a"])
        if way == "put":
            put(store, "a", lock=1, done=2, exit_code=0)
        else:
            put(store, "a")
            ending = {"lock": 1, "done": 2, "exit_code": 0}
            if way == "edit":
                settle(store, claim_one(store), Edit(changes=ending))
            else:
                change(store, "a", lambda doc: {**doc, **ending})
        assert state(store, "b") is State.TODO

    def test_a_person_may_let_it_go_sooner(self, store: TokenStore) -> None:
        put(store, "b", after=["a"])
        change(store, "b", lifecycle.ready)
        settle(store, claim_one(store))
        put(store, "a")
        settle(store, claim_one(store))
        assert store.count()[State.DONE] == 2

    def test_one_held_by_a_person_waits_for_the_person(self, store: TokenStore) -> None:
        put(store, "a")
        put(store, "b", lock=-1)
        settle(store, claim_one(store))
        assert state(store, "b") is State.HELD

    def test_one_held_by_a_person_stays_so_though_what_it_waits_for_is_done(self, store: TokenStore) -> None:
        put(store, "a", "x")
        settle(store, claim_one(store))
        put(store, "b", after=["a"])
        change(store, "b", lifecycle.hold)
        put(store, "c", after=["x"])
        change(store, "c", lifecycle.hold)
        settle(store, claim_one(store))
        assert [state(store, name) for name in "bc"] == [State.HELD, State.HELD]
        change(store, "b", lifecycle.reset)
        change(store, "c", lifecycle.ready)
        assert ids(claim(store, 10)) == ["b", "c"]

    def test_a_held_token_may_come_to_wait_for_others(self, store: TokenStore) -> None:
        put(store, "a", "x")
        put(store, "b", after=["a"])
        change(store, "b", lambda doc: {**doc, "after": ["x"]})
        a, x = claim(store, 2)
        settle(store, a)
        assert state(store, "b") is State.HELD
        settle(store, x)
        assert state(store, "b") is State.TODO

    def test_a_held_token_goes_when_all_that_it_is_changed_to_wait_for_is_done(self, store: TokenStore) -> None:
        put(store, "a")
        settle(store, claim_one(store))
        put(store, "b", after=["nothing"])
        put(store, "c")
        change(store, "b", lambda doc: {**doc, "after": ["a"]})
        (rev,) = store.update([{**found(store, "c"), "lock": -1, "after": ["a"]}])
        assert [state(store, name) for name in "bc"] == [State.TODO, State.TODO]
        assert found(store, "c")["_rev"] == rev

    def test_a_deleted_dependent_is_forgotten(self, store: TokenStore) -> None:
        put(store, "a", "x")
        put(store, "b", after=["a"])
        store.delete([found(store, "b")])
        put(store, "b", after=["x"])
        settle(store, claim_one(store))
        assert state(store, "b") is State.HELD
