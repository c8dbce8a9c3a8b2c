"""Watching what running tokens write, with a pool in memory and a pilot whose part is played here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from picas import following
from picas.lifecycle import fence_of
from picas.pool import Pool
from picas.stores.base import Tail
from picas.stores.memory import MemoryStore
from picas.testing.samples import beat_of, claim_one, put, settle
from picas.web import watching
from picas.web.desk import MOST_STREAMS, Desk
from picas.web.watching import Ending, Watches


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(following, "_DOCUMENT_EVERY", 0.0)
    monkeypatch.setattr(watching, "_EVERY", 0.0)
    with Pool(MemoryStore()) as made:
        put(made.store, "a")
        made.store.beat(beat_of("p1", live=True))
        yield made


def run(pool: Pool, work: Any) -> None:
    async def inner() -> None:
        desk = Desk(pool)
        try:
            await work(Watches(desk))
        finally:
            desk.close()

    asyncio.run(inner())


def send(pool: Pool, doc: dict[str, Any], out: bytes, at: int = 0) -> None:
    tail = Tail(id=doc["_id"], fence=fence_of(doc), out=out, out_at=at, err=b"", err_at=0)
    pool.store.send_tails("p1", [tail])


def test_what_is_new_is_added_once_for_all_who_look(pool: Pool) -> None:
    async def work(watches: Watches) -> None:
        doc = claim_one(pool.store)
        send(pool, doc, b"one ")
        both = await asyncio.gather(watches.look("a"), watches.look("a"))
        assert both[0] is both[1]
        send(pool, doc, b"two", at=4)
        watch = await watches.look("a")
        assert watch is both[0]
        assert watch.streams["out"].data == b"one two"
        assert "runs on node1" in watch.notes[0]
        assert "a" in pool.store.followed("p1")

    run(pool, work)


def test_another_attempt_begins_with_nothing(pool: Pool) -> None:
    async def work(watches: Watches) -> None:
        doc = claim_one(pool.store)
        send(pool, doc, b"before")
        await watches.look("a")
        pool.reset([doc])
        again = claim_one(pool.store)
        watch = await watches.look("a")
        assert watch is not None
        assert watch.streams["out"].data == b""
        send(pool, again, b"after")
        await watches.look("a")
        assert watch.streams["out"].data == b"after"
        settle(pool.store, again)
        await watches.look("a")
        await watches.look("a")
        assert watch.streams["out"].data == b"after"

    run(pool, work)


def test_as_many_are_watched_as_there_may_be_streams(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(pool.store, *(f"b{number}" for number in range(MOST_STREAMS)))

    async def work(watches: Watches) -> None:
        for number in range(MOST_STREAMS):
            assert await watches.look(f"b{number}") is not None
        assert await watches.look("a") is None
        assert await watches.look("b1") is not None
        watches.forget("b1")
        assert await watches.look("a") is not None
        monkeypatch.setattr(watching, "_LEFT", -1.0)  # nobody has asked for any of them since
        assert await watches.look("b1") is not None

    run(pool, work)


def test_of_much_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_KEPT_BYTES", 4)
    ending = Ending()
    for data in (b"abc", b"de", b"", b"fghijk"):
        ending.take(data)

    assert (ending.data, ending.skipped) == (b"hijk", 7)
