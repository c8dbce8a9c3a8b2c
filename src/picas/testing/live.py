"""The contract on live output: who follows a pilot's tokens, and what it sends of them."""

from __future__ import annotations

import pytest

from picas.lifecycle import State
from picas.stores.base import Tail, TokenStore
from picas.testing.samples import Reopen, beat_of, claim_one, eventually, found, put

__all__ = ["TestLive", "other"]

TAIL = Tail(id="a", fence=1, out=bytes(range(256)), out_at=7, err=b"\xff\n", err_at=1 << 40)


@pytest.fixture
def other(store: TokenStore, reopen: Reopen) -> TokenStore:
    """Who follows: another handle on a pool in which p1 is at work on a."""
    if not store.capabilities.live_output:
        pytest.skip("this store has no live output")
    put(store, "a", "b")
    claim_one(store, pilot="p1")
    store.beat(beat_of("p1", live=True))
    return reopen()


class TestLive:
    def test_a_pilot_hears_who_follows_with_its_beat(self, store: TokenStore, other: TokenStore) -> None:
        assert store.beat(beat_of("p1", live=True)).followed == frozenset()
        assert other.follow("p1", "a", 60) is True
        assert other.follow("p1", "b", 60) is True
        assert store.beat(beat_of("p1", live=True)).followed == {"a", "b"}
        assert store.followed("p1") == {"a", "b"}
        assert store.followed("p2") == frozenset()
        other.close()

    def test_orders_are_not_lost_for_followers_nor_these_for_orders(self, store: TokenStore, other: TokenStore) -> None:
        other.follow("p1", "a", 60)
        other.order("p1", "drain")
        other.follow("p1", "b", 60)
        beat = store.beat(beat_of("p1", live=True))
        assert beat.orders == "drain"
        assert beat.followed == {"a", "b"}
        other.close()

    def test_following_ends_by_itself(self, store: TokenStore, other: TokenStore) -> None:
        other.follow("p1", "a", 0.2)
        other.follow("p1", "b", 60)
        other.follow("p1", "b", 0.1)
        eventually(lambda: store.followed("p1") == {"b"})
        assert store.beat(beat_of("p1", live=True)).followed == {"b"}
        other.close()

    def test_an_unknown_pilot_is_not_followed(self, store: TokenStore, other: TokenStore) -> None:
        assert other.follow("nobody", "a", 60) is False
        assert store.followed("nobody") == frozenset()
        assert other.tails("nobody") == []
        other.close()

    def test_a_pilot_is_told_soon_where_the_store_can(self, store: TokenStore, other: TokenStore) -> None:
        while store.has_followers("p1"):
            assert store.capabilities.tells_followers
        other.follow("p1", "a", 60)
        if store.capabilities.tells_followers:
            eventually(lambda: store.has_followers("p1"))
        else:
            assert not store.has_followers("p1")
        other.close()

    def test_what_is_sent_arrives_byte_for_byte(self, store: TokenStore, other: TokenStore) -> None:
        other.follow("p1", "a", 60)
        second = Tail(id="b", fence=3)
        assert store.send_tails("p1", [TAIL, second]) == {"a"}
        assert other.tails("p1") == [TAIL, second]
        assert store.send_tails("p1", [second]) == {"a"}
        assert other.tails("p1") == [second]
        assert other.tails("p2") == []
        other.close()

    def test_64_kib_of_eight_tokens_go_at_once(self, store: TokenStore, other: TokenStore) -> None:
        tails = [Tail(id=f"t{n}", fence=n, out=bytes([n]) * 32768, err=b"x" * 32768) for n in range(8)]
        store.send_tails("p1", tails)
        assert other.tails("p1") == tails
        other.close()

    def test_nothing_is_left_when_it_is_taken_back(self, store: TokenStore, other: TokenStore) -> None:
        store.send_tails("p1", [TAIL])
        assert store.send_tails("p1", []) == frozenset()
        assert other.tails("p1") == []
        other.close()

    def test_who_signed_off_leaves_nothing(self, store: TokenStore, other: TokenStore) -> None:
        other.follow("p1", "a", 60)
        store.send_tails("p1", [TAIL])
        store.forget("p1")
        assert other.tails("p1") == []
        assert other.follow("p1", "a", 60) is False
        store.beat(beat_of("p1", live=True))
        assert store.followed("p1") == frozenset()
        assert other.tails("p1") == []
        other.close()

    def test_a_token_is_not_changed_by_it(self, store: TokenStore, other: TokenStore) -> None:
        before = found(store, "a")
        other.follow("p1", "a", 60)
        store.send_tails("p1", [TAIL])
        assert found(store, "a") == before
        assert len(store.page(None).docs) == 2
        assert store.count()[State.LOCKED] == 1
        other.close()
