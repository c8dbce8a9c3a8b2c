"""Clocks and dictionaries for PiCaS programs and for the modules above.

Standard library only, so that everything else can import it at no cost.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Timer", "merge_dicts", "seconds", "time_elapsed"]


def seconds() -> int:
    """Give the present as whole unix seconds, the unit of ``lock`` and ``done``."""
    return int(time.time())


class Timer:
    """Measure seconds since creation or since the last ``reset()``.

    It runs on the monotonic clock: a node whose wall clock is set does not end its pilot early.
    """

    def __init__(self) -> None:
        self._started_at = time.monotonic()

    def elapsed(self) -> float:
        """Give the seconds since the start."""
        return time.monotonic() - self._started_at

    def reset(self) -> float:
        """Start again; gives the seconds that had elapsed."""
        now = time.monotonic()
        elapsed = now - self._started_at
        self._started_at = now
        return elapsed


def time_elapsed(timer: Timer, max: float = 30.0) -> bool:  # noqa: A002 - programs pass it by this name
    """Tell whether the timer has run for more than ``max`` seconds.

    Made to be a stop function: ``actor.run(stop_function=time_elapsed, timer=Timer(), max=3600)``.
    """
    return timer.elapsed() > max


def merge_dicts(dict1: Mapping[str, Any], dict2: Mapping[str, Any]) -> dict[str, Any]:
    """Give a new dict with the fields of both; where both have one, the second wins.

    Neither argument is changed. Values of ``dict1`` are copied to any depth, so that defaults can be
    given as ``dict1``; those of ``dict2`` are shared with it.
    """
    return {**copy.deepcopy(dict(dict1)), **dict2}
