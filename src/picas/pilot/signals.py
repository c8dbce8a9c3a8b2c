"""Signals that end a pilot."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """Signals that end a pilot, counted while inside; handlers are put back after. In the main thread only."""

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._before: list[Any] = []

    def __enter__(self) -> None:
        try:
            self._before = [signal.signal(number, self._handle) for number in self.numbers]
        except ValueError:
            self._before = []

    def __exit__(self, *exc: object) -> None:
        for number, handler in zip(self.numbers, self._before, strict=False):
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._note()
