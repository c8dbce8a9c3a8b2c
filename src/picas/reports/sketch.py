"""Sums of any number of values in little memory: quantiles to one part in a hundred, and load along a time axis."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import Any

__all__ = ["BINS", "Load", "Quantiles"]

BINS = 256
"""Stretches of time that a `Load` tells apart."""
_FINEST = 2.0**-7
_GROWTH = 1.02


class Quantiles:
    """A histogram whose bins grow by 2 %: its quantiles are within 1 % of a value that was added.

    The method is DDSketch's (Masson, Rim, Lee, VLDB 2019). Least, largest and mean are exact.
    """

    def __init__(self) -> None:
        self.count = 0
        self.least = math.inf
        self.most = -math.inf
        self._sum = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Take in one value; it is not negative."""
        self.count += 1
        self._sum += value
        self.least, self.most = min(self.least, value), max(self.most, value)
        self._bins[math.ceil(math.log(max(value, 1e-9)) / _LOG)] += 1

    def at(self, part: float) -> float:
        """The least value such that this part of all are not larger."""
        seen = 0
        for index in sorted(self._bins):
            seen += self._bins[index]
            if seen >= part * self.count:
                return min(max(math.exp((index - 0.5) * _LOG), self.least), self.most)
        return self.most

    def told(self) -> dict[str, Any]:
        """The figures that people want; None where nothing was added."""
        if not self.count:
            return {"count": 0, "min": None, "median": None, "mean": None, "p95": None, "max": None}
        figures = {"min": self.least, "median": self.at(0.5), "mean": self._sum / self.count, "p95": self.at(0.95)}
        return {"count": self.count, **{name: float(f"{value:.4g}") for name, value in figures.items()}} | {
            "max": self.most
        }


_LOG = math.log(_GROWTH)


class Load:
    """How much of something went on in each of at most `BINS` stretches of time.

    Their width doubles, and neighbours are put together, whenever the time covered outgrows them. Widths are powers of
    two and stretches begin at multiples of them, so that loads of different widths can be added.

    A span is kept by its two ends alone, whatever its length: from an end at ``t`` in stretch i, ``parts[i]`` has what
    falls into that stretch, and ``rest[i]`` the level that every later one has.
    """

    def __init__(self) -> None:
        self.width = _FINEST
        self._first = 0
        self._parts = _zeros()
        self._rest = _zeros()
        self.begin = math.inf
        self.end = -math.inf

    def add(self, start: float, end: float, level: float) -> None:
        """A span of time in which there was so much more."""
        self._reach(start, end)
        for at, sign in ((start, level), (end, -level)):
            index = int(at // self.width)
            self._parts[index - self._first] += sign * ((index + 1) * self.width - at)
            self._rest[index - self._first] += sign

    def hit(self, at: float) -> None:
        """One more event."""
        self._reach(at, at)
        self._parts[int(at // self.width) - self._first] += 1

    def amounts(self, width: float, first: int, count: int) -> list[float]:
        """Level times seconds, or events, in each of ``count`` stretches of a width not below ours.

        ``first`` is the number of the first stretch, counted from time 0.
        """
        other = self._copy()
        while other.width < width:
            other._fold()
        found, level = [0.0] * count, 0.0
        for place in range(BINS):
            amount = other._parts[place] + level * width
            level += other._rest[place]
            index = other._first + place - first
            if 0 <= index < count:
                found[index] += max(0.0, amount)
        return found

    def _copy(self) -> Load:
        other = Load()
        other.width, other._first = self.width, self._first
        other._parts, other._rest = self._parts[:], self._rest[:]
        return other

    def _reach(self, start: float, end: float) -> None:
        """Make room for a span."""
        self.begin, self.end = min(self.begin, start), max(self.end, end)
        low = self._first * self.width
        if low <= start and end < low + BINS * self.width:
            return
        while self.end // self.width - self.begin // self.width >= BINS:
            self._fold()
        # Room is left on the side on which it was lacking, or each span in turn would have all moved.
        first = int(self.end // self.width) - BINS + 1 if start < low else int(self.begin // self.width)
        self._parts, self._rest = (_moved(values, self._first - first) for values in (self._parts, self._rest))
        self._first = first

    def _fold(self) -> None:
        parts, rest, first = _zeros(), _zeros(), self._first >> 1
        for place in range(BINS):
            index = self._first + place
            level = self._rest[place]
            parts[(index >> 1) - first] += self._parts[place] + (level * self.width if index % 2 == 0 else 0.0)
            rest[(index >> 1) - first] += level
        self.width, self._first, self._parts, self._rest = self.width * 2, first, parts, rest


def _zeros() -> array[float]:
    return array("d", bytes(8 * BINS))


def _moved(values: array[float], by: int) -> array[float]:
    moved = _zeros()
    for place, value in enumerate(values):
        if value and 0 <= place + by < BINS:
            moved[place + by] = value
    return moved
