"""How fast tokens end, and when all will have: pure, from counts that somebody took, honest about what is unknown."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Estimate", "Pace", "estimate"]

_LEAST_ENDED = 5
"""Tokens that must have ended before a time is told."""
_LEAST_SECONDS = 10.0
_MOST_DOUBT = 0.85


class Pace:
    """How many tokens ended lately, from the counts by state at several times.

    A state that has fewer than before was reset or deleted from; that takes nothing from what has ended.
    """

    def __init__(self, over: float = 60.0) -> None:
        self._over = over
        self._ended: deque[tuple[float, int]] = deque()
        self._before: tuple[int, int] | None = None

    def look(self, counts: Mapping[str, int], at: float) -> int:
        """Take note of the counts at a time, in seconds on any clock; how many ended since the look before."""
        now = counts["done"], counts["error"]
        new = sum(max(0, count - old) for count, old in zip(now, self._before or now, strict=True))
        self._before = now
        self._ended.append((at, (self._ended[-1][1] if self._ended else 0) + new))
        while len(self._ended) > 2 and self._ended[0][0] < at - self._over:
            self._ended.popleft()
        return new

    @property
    def ended(self) -> int:
        """How many ended in the time that is looked back on."""
        return self._ended[-1][1] - self._ended[0][1] if self._ended else 0

    @property
    def seconds(self) -> float:
        """How long that time is; it grows to a minute, or what else was asked for."""
        return self._ended[-1][0] - self._ended[0][0] if self._ended else 0.0

    @property
    def rate(self) -> float | None:
        """Tokens that ended per second; None at the first look."""
        return self.ended / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """When it will be over: ``soonest`` and ``latest`` seconds from now, both None where ``why`` says why not."""

    left: int
    rate: float | None
    soonest: float | None = None
    latest: float | None = None
    why: str = ""


def estimate(counts: Mapping[str, int], pace: Pace, *, pilots: int, is_paused: bool) -> Estimate:
    """When what waits and runs will have ended, if it goes on as it did. Held tokens wait for more than pilots.

    ``n`` ends in a time tell the rate to about two parts in the root of ``n``; the two ends of the answer are that far.
    """
    left = counts["todo"] + counts["locked"]
    why = _unknown(counts, pace, pilots=pilots, is_paused=is_paused)
    if why or pace.rate is None or not left:
        return Estimate(left=left, rate=pace.rate, why=why if left else "nothing is left to do")
    doubt = 2 / math.sqrt(pace.ended)
    return Estimate(
        left=left,
        rate=pace.rate,
        soonest=left / (pace.rate * (1 + doubt)),
        latest=left / (pace.rate * (1 - doubt)) if doubt < _MOST_DOUBT else math.inf,
    )


def _unknown(counts: Mapping[str, int], pace: Pace, *, pilots: int, is_paused: bool) -> str:
    """Why nobody can tell; empty where one can."""
    if is_paused and counts["todo"]:
        return "the pool is paused"
    if not pilots and not counts["locked"]:
        return "no pilot is alive"
    if pace.seconds < _LEAST_SECONDS:
        return "it has not been watched for long enough"
    if pace.ended < _LEAST_ENDED:
        ended = f"{pace.ended} token{'s' * (pace.ended != 1)}" if pace.ended else "no token"
        return f"{ended} ended in the last {pace.seconds:.0f} s"
    return ""
