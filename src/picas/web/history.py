"""How many tokens ended when: all the time in 256 stretches, the last quarter of an hour look by look. No clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from picas.lifecycle import Doc, State, state_of
from picas.reports.sketch import Load

__all__ = ["History"]

_RECENT = 900.0
_POINTS = 120
_FIRST_TIME = 1e8
"""Unix seconds; a smaller ``done`` is a mark that a program set."""
_ENDED = (State.DONE, State.ERROR)


class History:
    """Made from counts as they are taken, and from documents for what was before."""

    def __init__(self) -> None:
        self._loads = {str(state): Load() for state in _ENDED}
        self._looks: deque[tuple[float, dict[str, int]]] = deque()
        self.begun_at: float | None = None
        """The first look; what ended before it is known from documents only."""

    def look(self, counts: Mapping[str, int], at: float) -> None:
        """Take in counts by state at a time, unix seconds."""
        if self._looks:
            since, before = self._looks[-1]
            if at <= since:
                return
            for state, load in self._loads.items():
                new = counts[state] - before[state]
                if new > 0:
                    load.add(since, at, new / (at - since))
        else:
            self.begun_at = at
        self._looks.append((at, {state: counts[state] for state in self._loads}))
        while len(self._looks) > 2 and self._looks[1][0] < at - _RECENT:
            self._looks.popleft()

    def remember(self, docs: Iterable[Doc]) -> None:
        """Take in tokens that had ended before the first look."""
        for doc in docs:
            state, done = state_of(doc), doc.get("done")
            if state in _ENDED and isinstance(done, (int, float)) and _FIRST_TIME < done < (self.begun_at or 0.0):
                self._loads[str(state)].hit(float(done))

    def recent(self) -> dict[str, list[float]]:
        """Tokens per second along the last quarter of an hour, or as much of it as was watched."""
        if len(self._looks) < 2:
            return _nothing()
        last = self._looks[-1][0]
        width = max(1.0, min(_RECENT, last - self._looks[0][0]) / _POINTS)
        loads = {state: Load() for state in self._loads}
        for (since, before), (at, counts) in pairwise(self._looks):
            for state, load in loads.items():
                load.add(since, at, max(0, counts[state] - before[state]) / (at - since))
        return _series(loads, first=self._looks[0][0], last=last, least=width)

    def whole(self) -> dict[str, list[float]]:
        """Tokens per second from the first that ended to the last look."""
        if not self._looks:
            return _nothing()
        first = min([self._looks[0][0], *(load.begin for load in self._loads.values())])
        return _series(self._loads, first=first, last=self._looks[-1][0], least=1.0)


def _nothing() -> dict[str, list[float]]:
    return {"at": [], "done": [], "error": []}


def _series(loads: Mapping[str, Load], *, first: float, last: float, least: float) -> dict[str, Any]:
    """Rates in stretches of equal width, by state, and when each begins; the first and last may be cut."""
    width = max(load.width for load in loads.values())
    while width < least or (last - first) / width > 2 * _POINTS:
        width *= 2
    number = int(first // width)
    count = int(last // width) - number + 1
    edges = [(max(first, (number + place) * width), min(last, (number + place + 1) * width)) for place in range(count)]
    rates = {
        state: [
            round(amount / (end - start), 4) if end - start > width / 8 else None
            for amount, (start, end) in zip(load.amounts(width, number, count), edges, strict=True)
        ]
        for state, load in loads.items()
    }
    return {"at": [round(start, 3) for start, _ in edges], **rates}
