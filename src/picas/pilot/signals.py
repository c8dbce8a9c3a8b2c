"""Signals that end a pilot."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """Signals that end a pilot, counted while inside; handlers are put back after. In the main thread only.

    ``warnings`` are what batch systems send before they stop or kill a job, and would end it at once: they end a pilot
    too, where the program that it is in makes nothing else of them.
    """

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    warnings = (signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        free = [number for number in self.warnings if signal.getsignal(number) is signal.SIG_DFL]
        with contextlib.suppress(ValueError):
            for number in (*self.numbers, *free):
                self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._note()
