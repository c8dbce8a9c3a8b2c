"""What a runner watches a running command for: that it goes on writing, and what it keeps on a disk that is full."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Growing", "Quiet"]

_LOOKS = 4
"""How often within its limit a command that is quiet is looked at more closely."""


class Quiet:
    """A command that may be quiet for so many seconds: in which neither it nor a process of its own writes anything.

    What it computes does not count: a program that spins for ever is what this is for.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._since = self._looked_at = now
        self._output = 0
        self._written = -1

    def is_over(self, now: float, output: int) -> bool:
        """Whether it has been quiet for too long; ``output`` is what has come of it so far."""
        if output != self._output:
            self._output, self._since = output, now
            return False
        if now - self._looked_at < self._limit / _LOOKS:
            return False
        self._looked_at = now
        written = _written_below(os.getpid())
        if written != self._written:
            if self._written >= 0:
                self._since = now
            self._written = written
        return now - self._since >= self._limit

    @property
    def wait(self) -> float:
        """Seconds after which to look again."""
        return min(1.0, self._limit / _LOOKS)


class Growing:
    """Whether a command's output grows on the disk, from one warning that it is full to the next."""

    def __init__(self) -> None:
        self._number = -1
        self._size = 0

    def warned(self, number: int, size: int) -> bool:
        """Whether job ``number``, which now keeps so many bytes, kept fewer at the last warning."""
        grows = number == self._number and size > self._size
        self._number, self._size = number, size
        return grows


def _written_below(parent: int) -> int:
    """Bytes that all descendants of a process have ever written to anything, where the kernel tells (proc(5), io)."""
    return sum(_written(pid) + _written_below(pid) for pid in _children(parent))


def _children(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        return found
    return found


def _written(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("wchar:")), 0)
