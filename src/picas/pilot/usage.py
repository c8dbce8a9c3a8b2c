"""What a pilot's commands use of the machine: a look at ``/proc``, once per beat."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gauge", "Usage"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Places in /proc/PID/stat (proc_pid_stat(5)), counted from behind the name in brackets.
_TIMES, _RESIDENT = slice(11, 15), 21
_MOST = 4096
"""Processes that are looked at; a machine that has more is told short."""


@dataclass(frozen=True)
class Usage:
    """Cores given to commands, cores they used on average since the last look, and the bytes of memory they hold.

    Memory is that of each process by itself: what several share counts several times.
    """

    busy: int
    cpu: float | None = None
    memory_used: int | None = None


class Gauge:
    """Looks at the runners of a pilot and all that descends from them."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def read(self, runners: Iterable[int], busy: int) -> Usage:
        """What is used now; no cpu at the first look."""
        seconds, memory = 0.0, 0
        for pid in (first := list(runners)):
            seconds += sum(_stat(pid)[:1])
        for used, held in (_stat(pid) for pid in _below(first)):
            seconds, memory = seconds + used, memory + held
        now, before = time.monotonic(), self._before
        self._before = now, seconds
        if before is None or now <= before[0]:
            return Usage(busy, None, memory)
        return Usage(busy, round(max(0.0, seconds - before[1]) / (now - before[0]), 2), memory)


def _below(pids: list[int]) -> Iterator[int]:
    """All descendants, by the kernel's own lists of children."""
    seen = 0
    while pids and seen < _MOST:
        pids = [child for pid in pids for child in _children(pid)]
        seen += len(pids)
        yield from pids


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - any thread may have started some
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    except OSError:
        pass
    return found


def _stat(pid: int) -> tuple[float, int]:
    """Seconds of processor of a process and of those it has waited for, and its memory; nothing of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    return sum(map(int, fields[_TIMES])) / _TICKS, int(fields[_RESIDENT]) * _PAGE
