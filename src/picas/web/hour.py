"""What was tried in the last hour, attempt by attempt, put together from tokens as they are read. No clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from picas.lifecycle import Doc, State, fence_of, state_of
from picas.reports.attempts import Attempt, Fate, attempts_of

__all__ = ["HOUR", "MOST_ATTEMPTS", "Hour"]

HOUR = 3600.0
MOST_ATTEMPTS = 20_000
"""Attempts that are kept; of more, those that ended first are dropped."""

_Key = tuple[str, str, float]


class Hour:
    """Takes in tokens in any order, each as often as may be: an attempt counts once."""

    def __init__(self) -> None:
        self._ended: dict[_Key, Attempt] = {}
        self._running: list[Attempt] = []
        self._fences: dict[str, int] = {}
        self.held: dict[str, list[str]] = {}
        """By pilot the tokens that it held when they were looked at last, the longest held first."""
        self.is_cut = False
        """Whether attempts of this hour had to be dropped."""

    def take(self, docs: Iterable[Doc], now: float) -> None:
        """Take in what was tried on tokens, whatever their state."""
        for doc in docs:
            state = state_of(doc)
            for one in attempts_of(doc, state, now) if state else ():
                if one.fate is not Fate.RUNNING and one.start is not None and (one.end or 0.0) >= now - HOUR:
                    self._ended[one.token, one.pilot, one.start] = one
        self._forget(now)

    def hold(self, docs: Iterable[Doc], now: float) -> list[str]:
        """Take in all tokens that are held; the ids of those that were, and whose claim is over."""
        found = [doc for doc in docs if state_of(doc) is State.LOCKED]
        running = [one for doc in found for one in attempts_of(doc, State.LOCKED, now) if one.fate is Fate.RUNNING]
        self._running = sorted(running, key=lambda one: (one.start or 0.0, one.token))
        self.held = {}
        for one in self._running:
            self.held.setdefault(one.pilot, []).append(one.token)
        fences = {doc["_id"]: fence_of(doc) for doc in found}
        over = [token for token, fence in self._fences.items() if fences.get(token) != fence]
        self._fences = fences
        self.take(found, now)
        return over

    def attempts(self) -> Iterator[Attempt]:
        """All that is known, what still runs last."""
        yield from self._ended.values()
        yield from self._running

    def _forget(self, now: float) -> None:
        self._ended = {key: one for key, one in self._ended.items() if (one.end or 0.0) >= now - HOUR}
        if len(self._ended) > MOST_ATTEMPTS:
            by_end = sorted(self._ended.items(), key=lambda item: item[1].end or 0.0)
            self._ended = dict(by_end[-MOST_ATTEMPTS:])
            self.is_cut = True
