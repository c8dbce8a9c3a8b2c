"""Results on their way back from a pool: calls put in, looked after, and turned into futures that are done."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from picas.errors import Conflict, StoreUnavailable, UsageError
from picas.lifecycle import Doc, State, state_of
from picas.pilot import calls
from picas.pool import Pool
from picas.stores.base import TokenStore
from picas.workers import Workers

__all__ = ["CHUNK", "CallFuture", "Collector", "Pace", "has_ended", "put_back_failed"]

CHUNK = 256
"""Calls that are looked at in one request."""
_TICK, _LONGEST_PAUSE = 0.02, 1.0
_TEND_EVERY, _RECOVER_EVERY = 1.0, 5.0


def has_ended(doc: Doc | None) -> bool:
    """Whether nothing more will come of a call; one that was deleted has ended too."""
    return doc is None or state_of(doc) in (State.DONE, State.ERROR)


class CallFuture(concurrent.futures.Future[Any]):
    """A call's future. ``token`` is its id in the pool."""

    def __init__(self, token: str, cancelled: Callable[[str], None]) -> None:
        super().__init__()
        self.token = token
        self._on_cancel = cancelled

    def cancel(self) -> bool:
        """Have the call not made, or ended by its pilot with the next beat; False when it has ended already."""
        if self.done() or not super().cancel():
            return self.cancelled()
        self._on_cancel(self.token)
        return True


class Collector:
    """The thread of an executor: puts calls into the pool, sees to the workers, and brings back results."""

    def __init__(self, pool: Pool) -> None:
        self._twin = pool.twin
        self._guard = threading.Condition()
        self._new: list[tuple[Doc, CallFuture]] = []
        self._crews: list[Workers] = []
        self._unwanted: list[str] = []
        self._closing = False
        self._pending: dict[str, CallFuture] = {}
        self._started = False
        self._thread = threading.Thread(target=self._live, name="picas-executor", daemon=True)

    def start(self, crew: Workers) -> None:
        self._add(self._crews, crew)

    def submit(self, doc: Doc) -> CallFuture:
        future = CallFuture(doc["_id"], lambda token: self._add(self._unwanted, token))
        self._add(self._new, (doc, future))
        return future

    def close(self, *, cancel: bool) -> None:
        with self._guard:
            self._closing = True
            futures = [*self._pending.values(), *(future for _, future in self._new)] if cancel else []
            self._guard.notify()
        for future in futures:
            future.cancel()

    def join(self) -> None:
        if self._started:
            self._thread.join()

    def _add(self, items: list[Any], item: Any) -> None:
        with self._guard:
            if self._closing and items is not self._unwanted:
                raise RuntimeError("cannot schedule new futures after shutdown")
            items.append(item)
            if not self._started:
                self._started = True
                self._thread.start()
            self._guard.notify()

    def _live(self) -> None:
        try:
            with self._twin() as pool, contextlib.ExitStack() as stack:
                self._serve(pool, stack)
        except BaseException as error:  # noqa: BLE001 - whoever waits for a result learns of it
            with self._guard:
                self._closing = True
                futures = [*self._pending.values(), *(future for _, future in self._new)]
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _serve(self, pool: Pool, stack: contextlib.ExitStack) -> None:
        crews: list[Workers] = []
        pace = Pace(pool, crews)
        while True:
            with self._guard:
                started, crews[len(crews) :] = self._crews[len(crews) :], self._crews[len(crews) :]
                new, self._new[:] = list(self._new), []
                unwanted, self._unwanted[:] = list(self._unwanted), []
                self._pending.update((future.token, future) for _, future in new)
            for crew in started:
                crew.pool = pool
                stack.enter_context(crew)
            pace.guarded(partial(_put, pool, [doc for doc, future in new if not future.cancelled()]), insist=True)
            pace.guarded(partial(_cancel, pool, unwanted), insist=True)
            if pace.guarded(partial(self._look, pool.store)):
                pace.stirred()
            with self._guard:
                if self._closing and not (self._pending or self._new or self._unwanted):
                    return
                if not (self._new or self._unwanted or len(self._crews) > len(crews)):
                    self._guard.wait(pace.pause())
            pace.tend()

    def _look(self, store: TokenStore) -> int:
        """Resolve futures whose calls have ended, from the oldest on, as long as there are some; how many there were.

        Calls end about in the order in which they came, so that not all that wait need be looked at each time.
        """
        ended, order = 0, iter(list(self._pending))
        while some := list(islice(order, CHUNK)):
            before = ended
            for token_id, doc in zip(some, store.get(some), strict=True):
                if has_ended(doc):
                    ended += 1
                    with self._guard:
                        future = self._pending.pop(token_id)
                    _resolve(future, doc)
            if ended == before:
                break
        return ended


class Pace:
    """How often whoever waits looks again, what else it does meanwhile, and that it waits for a pool that is away."""

    def __init__(self, pool: Pool, crews: Sequence[Workers]) -> None:
        self._pool = pool
        self._crews = crews
        self._stirred_at = time.monotonic()
        self._tend_at = self._recover_at = self._stirred_at + _TEND_EVERY

    def stirred(self) -> None:
        """Something came."""
        self._stirred_at = time.monotonic()

    def pause(self) -> float:
        """Seconds until the next look: the longer nothing came, the longer."""
        return min(_LONGEST_PAUSE, max(_TICK, (time.monotonic() - self._stirred_at) / 10))

    def tend(self) -> None:
        """See to workers that died, and to pilots that fell silent, when it is time."""
        now = time.monotonic()
        if now >= self._tend_at:
            self._tend_at = now + _TEND_EVERY
            for crew in self._crews:
                self.guarded(crew.tend)
        if now >= self._recover_at:
            self._recover_at = now + _RECOVER_EVERY
            self.guarded(self._pool.recover)

    def guarded(self, act: Callable[[], Any], *, insist: bool = False) -> Any:
        """What an act on the pool comes to; None while the pool is away, unless it is to be waited for."""
        while True:
            try:
                return act()
            except StoreUnavailable:
                if not insist:
                    return None
                time.sleep(_LONGEST_PAUSE)


def _put(pool: Pool, docs: Sequence[Doc]) -> None:
    for start in range(0, len(docs), CHUNK):
        some = docs[start : start + CHUNK]
        answers = pool.store.put(some)
        there = [doc for doc, answer in zip(some, answers, strict=True) if isinstance(answer, Conflict)]
        for doc in there:
            put_back_failed(pool, [doc["_id"]], doc["function"])


def _cancel(pool: Pool, ids: Sequence[str]) -> None:
    pool.cancel(doc for doc in pool.store.get(ids) if doc is not None)


def put_back_failed(pool: Pool, ids: Sequence[str], name: str) -> None:
    """Put back calls that failed before; UsageError when an id is that of something else."""
    docs = [doc for doc in pool.store.get(ids) if doc is not None]
    for doc in docs:
        if doc.get("function") != name:
            raise UsageError(f"token {doc['_id']} is no call of {name}", hint="use another key, or another pool")
    failed = [doc for doc in docs if state_of(doc) is State.ERROR]
    if failed:
        pool.reset(failed)


def _resolve(future: CallFuture, doc: Doc | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = calls.result(doc, future.token)
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(value)
