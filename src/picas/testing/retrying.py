"""Contract: retry rules as a store settles them."""

from __future__ import annotations

from picas import lifecycle
from picas.lifecycle import Outcome, State
from picas.stores.base import TokenStore
from picas.testing.samples import claim, claim_one, found, ids, put, settle
from picas.tokens import Requirements

__all__ = ["TestRetry"]

FAILED = Outcome(exit_code=1)


class TestRetry:
    def test_a_rule_counts_its_own_tries_and_changes_what_is_required(self, store: TokenStore) -> None:
        put(store, "a", max_scrub=1, requires={"memory": 1000, "cores": 1})
        grown = {"requires": {"memory": 2000, "cores": 1}}
        ruled = Outcome(exit_code=75, retry={"cause": "75", "most": 2, "changes": grown})
        states = []
        for outcome in (ruled, ruled, FAILED, ruled):
            settled = settle(store, claim_one(store), outcome)
            states.append((lifecycle.state_of(settled), settled["scrub_count"], settled["retried"]))
        # Two tries of the rule, and one that any failure has; the rule has none left then.
        assert states == [
            (State.TODO, 1, {"75": 1}),
            (State.TODO, 2, {"75": 2}),
            (State.TODO, 3, {"75": 2}),
            (State.ERROR, 3, {"75": 2}),
        ]
        assert found(store, "a")["requires"] == grown["requires"]

    def test_what_a_rule_requires_decides_who_may_claim_next(self, store: TokenStore) -> None:
        put(store, "a")
        ruled = Outcome(exit_code=75, retry={"cause": "75", "most": 1, "changes": {"requires": {"memory": 2000}}})
        settle(store, claim_one(store), ruled)
        small, large = (Requirements(cores=1, memory=size, time=1e9) for size in (1999, 2000))
        assert claim(store, offer=small) == []
        assert ids(claim(store, offer=large)) == ["a"]
