"""The one place where calls to a store are logged, timed and counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from picas.stores.base import TokenStore

__all__ = ["Observed", "observe"]

log = logging.getLogger("picas.stores")


class Observed(TokenStore):
    """A store whose every verb is timed: ``calls`` and ``seconds`` by verb, a debug line for each call."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.capabilities = store.capabilities
        self.url = store.url
        self.server = store.server
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def note(self, verb: str, seconds: float, problem: BaseException | None) -> None:
        """Count one call, and log it."""
        self.calls[verb] += 1
        self.seconds[verb] += seconds  # type: ignore[assignment]  # a Counter of floats
        if problem is not None:
            log.debug("%s on %s failed after %.4f s: %s", verb, self.url, seconds, problem)
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("%s on %s took %.4f s", verb, self.url, seconds)


def observe(store: TokenStore) -> TokenStore:
    """The store, observed."""
    return _Complete(store)


def _timed(verb: str) -> Callable[..., Any]:
    def call(self: Observed, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        problem: BaseException | None = None
        try:
            return getattr(self.store, verb)(*args, **kwargs)
        except BaseException as error:
            problem = error
            raise
        finally:
            self.note(verb, time.perf_counter() - start, problem)

    call.__name__ = verb
    return call


def _twin(self: Observed) -> TokenStore:
    return observe(self.store.twin())


_Complete: type[Observed] = type(
    "_Complete",
    (Observed,),
    {verb: _timed(verb) for verb in (*TokenStore.__abstractmethods__, "findings", "grant")} | {"twin": _twin},
)
