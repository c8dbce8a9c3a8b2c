"""How a runner waits for a short command: in the kernel, with a timer that breaks it off."""

from __future__ import annotations

import os
import signal
import time

__all__ = ["Patience"]


class _Long(Exception):
    """The command is none of the short ones."""


class Patience:
    """Waits for a command's end for a moment, in the kernel: what a look at several descriptors costs is saved.

    A timer breaks it off. It goes on ticking from one short command to the next, so that it costs nothing for each.
    """

    def __init__(self, tick: float) -> None:
        self._every = tick
        self._until = float("inf")
        self._ticking = False
        signal.signal(signal.SIGALRM, self._tick)

    def wait(self, pid: int, until: float) -> None:
        """Come back when the process has ended, and remains to be waited for, or soon after ``until``."""
        self.begin()
        try:
            self._until = until
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            finally:
                self._until = float("inf")
        except _Long:
            self.rest()

    def begin(self) -> None:
        """Start the timer: from now on each wait is broken off for a moment, now and again."""
        if not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_REAL, self._every, self._every)

    def rest(self) -> None:
        """Stop the timer."""
        if self._ticking:
            self._ticking = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _tick(self, number: int, frame: object) -> None:
        del number, frame
        if time.monotonic() >= self._until:
            # Raised once, and only within `wait`: whatever it breaks off there has no result that could be lost.
            self._until = float("inf")
            raise _Long
