"""The contract on claiming: which tokens, in which order, and never one twice."""

from __future__ import annotations

from typing import Any

import pytest

from picas.lifecycle import Claimant, State
from picas.selectors import parse
from picas.stores.base import Claim, Settlement, TokenStore
from picas.testing.samples import (
    DONE,
    FAILED,
    GIVEN_BACK,
    TODO,
    Background,
    Reopen,
    change,
    claim,
    claim_one,
    eventually,
    found,
    ids,
    put,
    settle,
    state,
)
from picas.tokens import Requirements
from picas.views import Design, View

__all__ = ["TestClaim", "TestClaimByMany", "TestClaimOrder", "TestOddDocuments", "TestOffer"]


class TestClaim:
    def test_locks_for_the_claimant(self, store: TokenStore) -> None:
        put(store, "a", input="x")
        before = found(store, "a")
        wish = Claim(view=TODO, count=1, claimant=Claimant(pilot="p1", hostname="node1", job={"slurm_job_id": "7_1"}))
        earliest = int(store.now())
        exchange = store.exchange([], wish)
        (doc,) = exchange.claimed
        assert exchange.settled == []
        assert doc == found(store, "a")
        assert doc["_rev"] != before["_rev"]
        assert earliest <= doc["lock"] <= store.now()
        assert doc["claim"] == {"fence": 1, "pilot": "p1", "at": doc["lock"]}
        assert (doc["fence"], doc["hostname"], doc["slurm_job_id"], doc["input"]) == (1, "node1", "7_1", "x")
        assert state(store, "a") is State.LOCKED

    def test_at_most_so_many(self, store: TokenStore) -> None:
        put(store, *"abcde")
        assert [len(claim(store, 2)) for _ in range(4)] == [2, 2, 1, 0]
        assert claim(store, 0) == []

    def test_a_pool_without_work_gives_nothing(self, store: TokenStore) -> None:
        assert claim(store, 10) == []

    def test_only_what_waits(self, store: TokenStore) -> None:
        put(store, "held", lock=-1)
        put(store, "locked", lock=5)
        put(store, "done", lock=5, done=6, exit_code=0)
        put(store, "error", lock=99, done=99)
        put(store, "todo")
        assert ids(claim(store, 10)) == ["todo"]

    def test_the_fence_rises_with_every_claim(self, store: TokenStore) -> None:
        put(store, "a")
        for fence in (1, 2, 3):
            doc = claim_one(store)
            assert doc["fence"] == fence
            settle(store, doc, GIVEN_BACK)

    def test_settles_first_and_claims_then_in_one_step(self, store: TokenStore) -> None:
        put(store, "a", "b")
        (a,) = claim(store)
        wish = Claim(view=TODO, count=5, claimant=Claimant(pilot="p1"))
        exchange = store.exchange([Settlement(doc=a, outcome=GIVEN_BACK)], wish)
        assert ids(exchange.settled) == ["a"]  # type: ignore[arg-type]
        assert sorted(ids(exchange.claimed)) == ["a", "b"]

    def test_a_claim_is_made_though_what_would_go_back_is_not_ours_any_more(self, store: TokenStore) -> None:
        put(store, "a", "b")
        (a,) = claim(store)
        settle(store, a)
        wish = Claim(view=TODO, count=1, claimant=_pilot("p1"))
        exchange = store.exchange([Settlement(doc=a, outcome=GIVEN_BACK)], wish)
        assert ids(exchange.claimed) == ["b"]

    def test_a_claim_is_made_though_a_settlement_is_refused(self, store: TokenStore) -> None:
        put(store, "a", "b")
        (a,) = claim(store)
        settle(store, a)
        exchange = store.exchange([Settlement(doc=a, outcome=DONE)], Claim(view=TODO, count=1, claimant=_pilot("p1")))
        assert ids(exchange.claimed) == ["b"]

    def test_a_view_with_a_condition_gives_what_matches(self, store: TokenStore) -> None:
        store.install(Design("Large", parse({"cores": {"$gte": 4}})))
        put(store, "small", cores=1)
        put(store, "large", cores=8)
        put(store, "none")
        view = View.parse("Large/todo")
        assert ids(claim(store, 10, view=view)) == ["large"]
        assert claim(store, 10, view=view) == []


class TestClaimOrder:
    def test_the_highest_priority_first_then_the_oldest(self, store: TokenStore) -> None:
        for name, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0), ("f", 10**12)):
            put(store, name, priority=priority)
        assert ids(claim(store, 3)) == ["f", "b", "d"]
        assert ids(claim(store, 3)) == ["a", "e", "c"]

    def test_none_is_the_same_as_nought(self, store: TokenStore) -> None:
        put(store, "below", priority=-1)
        put(store, "a")
        put(store, "b", priority=0)
        assert ids(claim(store, 3)) == ["a", "b", "below"]

    def test_a_change_of_priority_counts_at_once(self, store: TokenStore) -> None:
        put(store, "a", "b", "c")
        change(store, "c", lambda doc: {**doc, "priority": 1})
        assert ids(claim(store, 3)) == ["c", "a", "b"]

    def test_a_token_that_must_wait_is_left_and_others_go_first(self, store: TokenStore) -> None:
        put(store, "later", priority=9, not_before=store.now() + 1000)
        put(store, "past", not_before=store.now() - 1000)
        put(store, "a")
        assert sorted(ids(claim(store, 10))) == ["a", "past"]
        assert state(store, "later") is State.TODO

    def test_a_wait_ends(self, store: TokenStore) -> None:
        put(store, "a", not_before=store.now() + 0.05)
        claimed: list[str] = []

        def comes() -> bool:
            claimed.extend(ids(claim(store)))
            return bool(claimed)

        eventually(comes)
        assert claimed == ["a"]
        assert "not_before" not in found(store, "a")


class TestOffer:
    @pytest.mark.parametrize(
        ("requires", "offer", "fits"),
        [
            (None, Requirements(cores=1), True),
            (None, Requirements(cores=0.5), False),
            ({"cores": 4}, Requirements(cores=4), True),
            ({"cores": 4}, Requirements(cores=3), False),
            ({"memory": "8 GiB"}, Requirements(cores=1, memory=8 * 2**30), True),
            ({"memory": "8 GiB"}, Requirements(cores=1, memory=8 * 10**9), False),
            ({"time": "2 h"}, Requirements(cores=1, time=7200), True),
            ({"time": "2 h"}, Requirements(cores=1, time=7199), False),
            ({"gpus": 1}, Requirements(cores=1), False),
            ({"licence": 2}, Requirements(cores=1, other={"licence": 2}), True),
            ({"licence": 2}, Requirements(cores=1, other={"licence": 1}), False),
            ({"licence": 1}, Requirements(cores=1), False),
            ({"cores": 64}, None, True),
        ],
    )
    def test_a_token_that_needs_more_is_left(
        self, store: TokenStore, requires: Any, offer: Requirements | None, fits: bool
    ) -> None:
        put(store, "a", **({"requires": requires} if requires else {}))
        assert ids(claim(store, offer=offer)) == (["a"] if fits else [])
        assert state(store, "a") is (State.LOCKED if fits else State.TODO)

    def test_one_after_the_other_of_which_some_do_not_fit(self, store: TokenStore) -> None:
        put(store, *(f"big{n}" for n in range(10)), requires={"cores": 64})
        put(store, *(f"small{n}" for n in range(10)))
        put(store, *(f"vast{n}" for n in range(100)), requires={"cores": 640})
        put(store, "z")
        offer = Requirements(cores=4)
        claimed = [name for _ in range(11) for name in ids(claim(store, 1, offer=offer))]
        assert sorted(claimed) == [*(f"small{n}" for n in range(10)), "z"]
        assert claim(store, 1, offer=offer) == []

    def test_many_that_do_not_fit_do_not_hide_one_that_does(self, store: TokenStore) -> None:
        put(store, *(f"big{n}" for n in range(400)), requires={"cores": 64}, priority=5)
        put(store, "small")
        assert ids(claim(store, 2, offer=Requirements(cores=4))) == ["small"]


class TestOddDocuments:
    """Whatever other programs left in the pool, a claim passes it over and goes on."""

    @pytest.mark.parametrize(
        "odd",
        [
            {"type": "note"},
            {"type": None},
            {"type": 1},
            {"lock": "0"},
            {"lock": False},
            {"lock": None},
            {"done": "0"},
            {"done": []},
            {"requires": "8 GiB"},
            {"requires": [1]},
            {"requires": {"cores": "many"}},
            {"requires": {"memory": None}},
            {"requires": {"gpus": -1}},
        ],
        ids=repr,
    )
    def test_it_is_passed_over(self, store: TokenStore, odd: dict[str, Any]) -> None:
        put(store, "odd", priority=9)
        kept = change(store, "odd", lambda doc: {**doc, **odd})
        put(store, "good")
        assert ids(claim(store, 10, offer=Requirements(cores=64, memory=10**15, gpus=64, time=10**9))) == ["good"]
        assert found(store, "odd") == kept

    @pytest.mark.parametrize(
        "odd",
        [
            {"priority": "high"},
            {"priority": None},
            {"priority": [1]},
            {"priority": 1.5},
            {"not_before": "tomorrow"},
            {"not_before": None},
            {"after": "x"},
            {"after": [1, None]},
            {"fence": "many"},
            {"claim": "mine"},
            {"claim": {"fence": "1", "pilot": 7, "at": None}},
            {"tags": 1},
            {"attempts": 5},
        ],
        ids=repr,
    )
    def test_an_odd_field_is_no_hindrance(self, store: TokenStore, odd: dict[str, Any]) -> None:
        put(store, "odd")
        change(store, "odd", lambda doc: {**doc, **odd})
        put(store, "good")
        assert sorted(ids(claim(store, 10))) == ["good", "odd"]
        assert settle(store, found(store, "odd"))["done"] > 0
        assert store.next_ready(TODO) is None


class TestClaimByMany:
    def test_no_token_goes_to_two(self, store: TokenStore, reopen: Reopen) -> None:
        put(store, *(f"t{n}" for n in range(200)))

        def pilot(name: str) -> list[str]:
            mine, got = reopen(), []
            while docs := claim(mine, 3, pilot=name):
                got += ids(docs)
            mine.close()
            return got

        pilots = [Background(lambda name=f"p{n}": pilot(name)) for n in range(4)]  # type: ignore[misc]
        shares = [one.result() for one in pilots]
        assert sorted(name for share in shares for name in share) == sorted(f"t{n}" for n in range(200))
        for number, share in enumerate(shares):
            assert all(found(store, name)["claim"]["pilot"] == f"p{number}" for name in share)

    def test_no_token_is_lost_when_all_settle_and_claim_at_once(self, store: TokenStore, reopen: Reopen) -> None:
        put(store, *(f"t{n}" for n in range(100)), max_scrub=1)

        def pilot(name: str) -> int:
            mine, accepted = reopen(), 0
            held = claim(mine, 2, pilot=name)
            while held:
                ended = [Settlement(doc=doc, outcome=DONE if doc["scrub_count"] else FAILED) for doc in held]
                exchange = mine.exchange(ended, Claim(view=TODO, count=2, claimant=_pilot(name)))
                accepted += sum(isinstance(answer, dict) for answer in exchange.settled)
                held = exchange.claimed
            mine.close()
            return accepted

        pilots = [Background(lambda name=f"p{n}": pilot(name)) for n in range(4)]  # type: ignore[misc]
        assert sum(one.result() for one in pilots) == 200
        assert store.count()[State.DONE] == 100


def _pilot(name: str) -> Claimant:
    return Claimant(pilot=name)
