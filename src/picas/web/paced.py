"""What is dear to find out: done again at most for a small part of the time, and only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from picas.errors import PicasError

__all__ = ["Paced"]

T = TypeVar("T")

_PART = 0.1
"""Of the time, at most, it is worked at."""


class Paced(Generic[T]):
    """A value that is found out anew when it is asked for and old enough; whoever asks gets what there is at once."""

    def __init__(self, find: Callable[[], Awaitable[T]], *, every: float) -> None:
        self._find = find
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self._next_at = 0.0
        self.value: T | None = None
        self.problem = ""
        """Why it could not be found out the last time."""

    def look(self) -> T | None:
        """The value as last found, None before that; finding begins anew when it is time."""
        if (self._task is None or self._task.done()) and time.monotonic() >= self._next_at:
            self._task = asyncio.create_task(self._work())
        return self.value

    def hurry(self) -> None:
        """Something has changed: find out anew at the next look."""
        self._next_at = 0.0

    async def settled(self, seconds: float) -> T | None:
        """The value, waiting up to so long for one that is being found out."""
        self.look()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
        return self.value

    def stop(self) -> None:
        """Give up what is being found out."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        begun = time.monotonic()
        # Set before, since `hurry` may come meanwhile and must not be forgotten.
        self._next_at = begun + self._every
        try:
            self.value, self.problem = await self._find(), ""
        except PicasError as error:
            self.problem = error.message
        took = time.monotonic() - begun
        if self._next_at:
            self._next_at = max(self._next_at, begun + took / _PART)
