"""Where the pool is asked: stores block and belong to one thread, so a few clerks with a thread each have it open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from picas.errors import PicasError, StoreUnavailable
from picas.lifecycle import Doc
from picas.pool import Pool
from picas.selectors import Selector
from picas.stores.base import Page
from picas.views import View

__all__ = ["MOST_STREAMS", "Busy", "Desk"]

T = TypeVar("T")

_CLERKS = 4
_PATIENCE = 30.0
"""Seconds after which who asked is told that there is no answer. The clerk goes on waiting for it."""
_PAGE = 500
_REST = 0.02
MOST_STREAMS = 20


class Busy(PicasError):
    """As many files are being sent as there may be; ask again later."""


class _Clerk:
    """A thread with a handle of its own on the pool, opened when it is first needed."""

    def __init__(self, pool: Pool) -> None:
        self._source = pool
        self._pool: Pool | None = None
        self._thread = ThreadPoolExecutor(1, "picas-web")

    def start(self, work: Callable[[Pool], T]) -> asyncio.Future[T]:
        """Begin; what comes of it, or is raised, is the future's."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[Pool], T]) -> T:
        if self._pool is None:
            self._pool = self._source.twin()
        return work(self._pool)

    def leave(self) -> None:
        """Close the handle when all that was begun has ended; returns at once."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.close()


class Desk:
    """Asks the pool, a few questions at a time. What it is given runs in a thread and may block.

    Whoever asks more than the clerks can answer waits, and is told `StoreUnavailable` when that takes too long: a store
    that hangs takes neither the page with it, nor more threads than there are clerks.
    """

    def __init__(self, pool: Pool, clerks: int = _CLERKS) -> None:
        self._pool = pool
        self._clerks = [_Clerk(pool) for _ in range(clerks)]
        self._free: asyncio.Queue[_Clerk] = asyncio.Queue()
        for clerk in self._clerks:
            self._free.put_nowait(clerk)
        self._streams = 0

    async def do(self, work: Callable[[Pool], T], patience: float = _PATIENCE) -> T:
        """What the work answers; errors are those it raises."""
        try:
            return await asyncio.wait_for(self._ask(work), patience)
        except asyncio.TimeoutError:
            raise StoreUnavailable(f"pool {self._pool.url} has not answered for {patience:.0f} s") from None

    async def _ask(self, work: Callable[[Pool], T]) -> T:
        clerk = await self._free.get()
        answer = clerk.start(work)
        # Who asked may have gone by then; the clerk is free when the store has answered, not before.
        answer.add_done_callback(lambda done: self._release(clerk, done))
        return await asyncio.shield(answer)

    def _release(self, clerk: _Clerk, done: asyncio.Future[T]) -> None:
        done.cancelled() or done.exception()  # else asyncio complains of errors that nobody is there to hear
        self._free.put_nowait(clerk)

    async def pages(self, view: View, where: Selector | None = None) -> AsyncIterator[Sequence[Doc]]:
        """All tokens of a view that match, a page at a time, with a rest in between for what others ask."""
        after: str | None = None
        while True:
            page = await self.do(partial(_page, view, after, where))
            yield page.docs
            after = page.next
            if after is None:
                return
            await asyncio.sleep(_REST)

    async def stream(self, work: Callable[[Pool], Iterator[bytes]]) -> AsyncIterator[bytes]:
        """A file piece by piece, each read when the one before is sent, by a clerk of its own; Busy when too many are.

        What the work itself raises is raised before there is an iterator.
        """
        if self._streams >= MOST_STREAMS:
            raise Busy(f"{MOST_STREAMS} files are being sent")
        self._streams += 1
        clerk = _Clerk(self._pool)
        try:
            pieces = await clerk.start(work)
        except BaseException:
            self._end(clerk)
            raise
        return self._sent(clerk, pieces)

    async def _sent(self, clerk: _Clerk, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        try:
            while (piece := await clerk.start(lambda _: next(pieces, None))) is not None:
                yield piece
        finally:
            self._end(clerk)

    def _end(self, clerk: _Clerk) -> None:
        self._streams -= 1
        clerk.leave()

    def close(self) -> None:
        """Let all clerks go."""
        for clerk in self._clerks:
            clerk.leave()


def _page(view: View, after: str | None, where: Selector | None, pool: Pool) -> Page:
    return pool.store.page(view, after=after, limit=_PAGE, where=where)
