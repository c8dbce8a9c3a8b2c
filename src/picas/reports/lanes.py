"""Attempts put into lanes, one for each slot of a pilot, so that no two of a lane overlap. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from picas.reports.attempts import Fate

__all__ = ["Lanes", "Placed", "Span", "TooManyLanes", "place", "runs"]

_SLACK = 0.002
"""Seconds that one attempt may begin before the end of another in its lane: both times are rounded."""


class TooManyLanes(Exception):
    """More lanes are needed than are wanted."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """From when to when an attempt took so many slots."""

    token: str
    start: float
    end: float
    width: int
    fate: Fate
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A span in its lanes, the times such that it overlaps nothing there."""

    span: Span
    lanes: tuple[int, ...]
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """All of a pilot: how many lanes it has, what lies in them, and what was claimed but can have had none."""

    count: int
    placed: list[Placed]
    without: list[Span]


def place(spans: Iterable[Span], cores: int = 1, most: int = 512) -> Lanes:
    """Put spans into lanes, in order of their starts, each into the first that are free; TooManyLanes above ``most``.

    Of attempts that were lost or still run only the claim is known, and pilots claim ahead: those come last, begin no
    sooner than a lane is free, get no lane beyond the pilot's ``cores``, and may be left without.
    """
    if cores > most:
        raise TooManyLanes
    ordered = sorted(spans, key=lambda span: (not span.fate.certain, span.start, span.end, span.token))
    free_at = [float("-inf")] * cores
    placed, without = [], []
    for span in ordered:
        lanes = _lanes_for(span, free_at, most) if span.fate.certain else _soonest(span, free_at)
        start = max([span.start, *(free_at[lane] for lane in lanes)])
        if not lanes or (not span.fate.certain and start >= span.end - _SLACK):
            without.append(span)
            continue
        end = max(start, span.end)
        for lane in lanes:
            free_at[lane] = end
        placed.append(Placed(span=span, lanes=lanes, start=start, end=end))
    return Lanes(count=len(free_at), placed=placed, without=without)


def runs(lanes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring lanes: the first of each, and how many."""
    first = previous = lanes[0]
    for lane in lanes[1:]:
        if lane != previous + 1:
            yield first, previous - first + 1
            first = lane
        previous = lane
    yield first, previous - first + 1


def _lanes_for(span: Span, free_at: list[float], most: int) -> tuple[int, ...]:
    free = [lane for lane, at in enumerate(free_at) if at <= span.start + _SLACK]
    while len(free) < span.width:
        if len(free_at) >= most:
            raise TooManyLanes
        free.append(len(free_at))
        free_at.append(float("-inf"))
    return _together(free, span.width)


def _soonest(span: Span, free_at: list[float]) -> tuple[int, ...]:
    by_time = sorted(range(len(free_at)), key=lambda lane: (free_at[lane], lane))
    return tuple(sorted(by_time[: span.width])) if span.width <= len(free_at) else ()


def _together(free: list[int], width: int) -> tuple[int, ...]:
    """So many lanes, side by side if there are such."""
    for first in range(len(free) - width + 1):
        if free[first + width - 1] - free[first] == width - 1:
            return tuple(free[first : first + width])
    return tuple(free[:width])
