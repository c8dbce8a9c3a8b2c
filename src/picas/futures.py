"""`map` and `Executor`: functions called through a pool, by processes here or by pilots anywhere.

Both are after `concurrent.futures`: results in the order of the inputs, futures that `as_completed` and `wait` know,
and what a function raised is raised where its result is asked for.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from picas import tokens
from picas.collecting import CHUNK, CallFuture, Collector, Pace, has_ended, put_back_failed
from picas.errors import UsageError
from picas.lifecycle import Doc
from picas.pilot import calls, limits
from picas.pilot.calls import Function
from picas.pool import Pool, connect
from picas.workers import Workers

__all__ = ["CallFuture", "Executor", "Results", "map"]


def map(  # noqa: A001 - as in concurrent.futures and dask
    function: Function,
    inputs: Iterable[Any],
    *,
    pool: Pool | str = "picas.db",
    workers: int | None = None,
    key: str | Callable[[Any], str] | None = None,
    name: str | None = None,
    **options: Any,
) -> Results:
    """What ``function`` returns for each input, in order, as it comes; the first that it raises is raised.

    The calls are tokens of ``pool``, an open one or an address, where a SQLite pool is made if need be. ``workers``
    processes are started here to make them (default: one per core); with 0 they are left to pilots elsewhere, started
    by `work`. Inputs and results are JSON: InvalidToken, before anything is done, for an input that is not.

    With a ``key`` the same map again makes only calls that are missing or failed, and returns what is stored of the
    others. A string is a name for this piece of work; a function gives for each input an id of its own.
    ``options`` are those of `work`: ``token_time``, ``max_scrub``, ``lease``...
    """
    name = name or calls.name_of(function)
    count = limits.cores_here(os.environ) if workers is None else workers
    with contextlib.ExitStack() as stack:
        used = pool if isinstance(pool, Pool) else stack.enter_context(connect(pool, create=True))
        crew = Workers(used, {name: function}, count, options)
        ids = _submit(used, Ids(key, name), (calls.token(name, (item,), {}) for item in inputs), name)
        stack.enter_context(crew)
        return Results(_each(used, deque(ids), crew), stack.pop_all())


class Results(Iterator[Any]):
    """The results of a `map`. When they are read, closed, or let go of, the workers end."""

    def __init__(self, each: Iterator[Any], held: contextlib.ExitStack) -> None:
        self._each = each
        self._held = held
        self._closed = False

    def __next__(self) -> Any:
        if self._closed:
            raise UsageError("the results of this map were closed", hint="the same map with its key goes on with it")
        try:
            return next(self._each)
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. What is not done stays in the pool."""
        self._closed = True
        self._held.close()


class Executor(concurrent.futures.Executor):
    """Calls functions through a pool, by the verbs of `concurrent.futures.Executor`. A context manager.

    For each function ``workers`` processes are started here with its first call; with 0 the calls are left to pilots
    elsewhere. ``key`` and ``options`` are as in `map`. Calls are put into the pool some at a time, by a thread.
    """

    def __init__(
        self, pool: Pool | str = "picas.db", *, workers: int | None = None, key: str | None = None, **options: Any
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._pool = pool if isinstance(pool, Pool) else self._stack.enter_context(connect(pool, create=True))
        self._count = limits.cores_here(os.environ) if workers is None else workers
        self._key = key
        self._options = options
        self._functions: dict[str, tuple[Function, Ids]] = {}
        self._collector = Collector(self._pool)

    def submit(self, fn: Function, /, *args: Any, **kwargs: Any) -> CallFuture:
        """A future for the call. InvalidToken, at once, when its arguments are not JSON."""
        name = calls.name_of(fn)
        if name not in self._functions:
            self._collector.start(Workers(self._pool, {name: fn}, self._count, self._options))
            self._functions[name] = fn, Ids(self._key, name)
        known, ids = self._functions[name]
        if known is not fn:
            raise UsageError(f"two functions have the name {name!r}", hint="give one of them another `__qualname__`")
        doc = calls.token(name, args, kwargs)
        # As they are now: what the program does with its lists afterwards is not for the pool.
        doc = tokens.parse(tokens.encode({"_id": ids.new(doc), **doc}))
        return self._collector.submit(doc)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those there are, or cancel them. The workers end with the last."""
        self._collector.close(cancel=cancel_futures)
        if wait:
            self._collector.join()
            self._stack.close()


def _each(pool: Pool, ids: deque[str], crew: Workers) -> Iterator[Any]:
    pace, size = Pace(pool, [crew]), CHUNK
    while ids:
        some = list(islice(ids, size))
        docs = pace.guarded(partial(pool.store.get, some)) or []
        size = 1  # of calls behind one that has not ended nothing need be known
        for token_id, doc in zip(some, docs, strict=False):
            if not has_ended(doc):
                break
            size = CHUNK
            ids.popleft()
            pace.stirred()
            yield calls.result(doc, token_id)
        if size == 1:
            time.sleep(pace.pause())
        pace.tend()


def _submit(pool: Pool, ids: Ids, docs: Iterable[Doc], name: str) -> list[str]:
    """Add the calls that are not there; put back those of them that failed. Their ids."""
    order: list[str] = []
    given: set[str] = set()

    def new() -> Iterator[Doc]:
        for doc in docs:
            token_id = ids.new(doc)
            order.append(token_id)
            if token_id not in given:
                given.add(token_id)
                yield {"_id": token_id, **doc}

    if pool.add(new()).existing:
        for start in range(0, len(order), CHUNK):
            put_back_failed(pool, order[start : start + CHUNK], name)
    return order


class Ids:
    """Ids of calls: new ones without a key, else those that the same calls had before."""

    def __init__(self, key: str | Callable[[Any], str] | None, name: str) -> None:
        self._key = key
        self._name = name
        self._stamp = f"{name}-{time.strftime('%m%d%H%M%S', time.gmtime())}{os.urandom(3).hex()}"
        self._seen: Counter[str] = Counter()

    def new(self, doc: Doc) -> str:
        """The id for a call. Of calls that are the same in all each has its own, by their order."""
        if self._key is None:
            self._seen[""] += 1
            return f"{self._stamp}-{self._seen['']:06d}"
        if callable(self._key):
            return tokens.check_id(f"{self._name}-{self._key(doc.get('input'))}")
        tokens.encode({"_id": self._name, **doc})
        said = json.dumps([self._name, doc.get("input"), doc.get("arguments")], sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()[:24]
        self._seen[digest] += 1
        number = f".{self._seen[digest]}" if self._seen[digest] > 1 else ""
        return tokens.check_id(f"{self._key}-{digest}{number}")
