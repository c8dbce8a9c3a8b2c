"""The server: a pool in memory on virtual time, each change of which is shown to the checker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from picas.lifecycle import Doc
from picas.stores.base import Beat, Exchange, PilotRecord, Settlement
from picas.stores.memory import MemoryStore
from picas.stores.memory.rows import Row
from picas.stores.memory.state import Pool
from picas.testing.simulation.loop import BASE, Actor, Loop

__all__ = ["Server", "Watch"]

T = TypeVar("T")


class Watch(Protocol):
    """Who is told of every change of a document, and of what a pilot was told became of its results."""

    def changed(self, old: Doc | None, new: Doc | None) -> None: ...

    def believes(self, pilot: Actor, settlement: Settlement, answer: object) -> None: ...


class _Pool(Pool):
    """A pool whose changes are shown to a watch; ``muted`` while a transaction is carried out that is undone."""

    def __init__(self, clock: Callable[[], float], watch: Watch) -> None:
        self.watch = watch
        self.muted = False
        super().__init__(clock)

    def _replace(self, token_id: str, row: Row | None) -> None:
        old = self.rows.get(token_id)
        super()._replace(token_id, row)
        if not self.muted:
            self.watch.changed(old.doc if old else None, row.doc if row else None)


class Server:
    """The pool, and what a server knows beside it: when pilots were heard of, and which transactions took place."""

    def __init__(self, loop: Loop, watch: Watch) -> None:
        self.loop = loop
        self.down_until = 0.0
        self.heard_at: dict[str, float] = {}
        self.listed_at: dict[str, float] = {}
        """When each pilot last looked up the others."""
        self.undecided: dict[str, float] = {}
        self._watch = watch
        self._pool = _Pool(lambda: BASE + loop.now, watch)
        self.store = MemoryStore(self._pool.clock)
        self.store._pool = self._pool
        self._ends: dict[str, bool] = {}
        self._numbers = itertools.count(1)

    @property
    def sequence(self) -> int:
        """A number that rises with every change."""
        return self._pool.sequence

    @property
    def docs(self) -> list[Doc]:
        """All documents, to be looked at only."""
        return [row.doc for row in self._pool.rows.values()]

    def transaction(self, work: Callable[[Server], T], *, keep: bool) -> tuple[T, str]:
        """Carry out a transaction, or only find what it would come to; its number."""
        number = str(next(self._numbers))
        self._ends[number] = keep
        if keep:
            return work(self), number
        pool = self._pool
        rows, waiting = dict(pool.rows), {name: dict(ids) for name, ids in pool._dependents.items()}
        pool.muted = True
        try:
            return work(self), number
        finally:
            pool.rows, pool._dependents, pool.muted = rows, waiting, False

    def took_place(self, number: str) -> bool | None:
        """What became of a transaction; None while the server does not know."""
        return None if self.undecided.get(number, 0.0) > self.loop.now else self._ends[number]

    def beat(self, record: PilotRecord) -> Beat:
        """`TokenStore.beat`, noted."""
        self.heard_at[record.id] = self.loop.now
        return self.store.beat(record)

    def forget(self, pilot: str) -> None:
        """`TokenStore.forget`, noted."""
        self.loop.note("forgets", pilot)
        self.store.forget(pilot)

    def believes(self, pilot: Actor, settlements: Sequence[Settlement], done: Exchange) -> None:
        """Hear what a pilot was told of its results."""
        for settlement, answer in zip(settlements, done.settled, strict=True):
            self._watch.believes(pilot, settlement, answer)
