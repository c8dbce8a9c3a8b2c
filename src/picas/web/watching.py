"""Tokens that run while somebody looks at their pages: what they write, kept once for all who look."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from picas.following import STREAMS, Follower, Note
from picas.pool import Pool
from picas.web.desk import MOST_STREAMS, Desk

__all__ = ["Ending", "Watch", "Watches"]

_EVERY = 1.0
"""Seconds between two looks."""
_LEFT = 15.0
"""Seconds after which a token that nobody asked for is not watched any more."""
_KEPT_BYTES = 64 * 1024
_NOTES = 4


@dataclass
class Ending:
    """The end of a stream: ``data``, with ``skipped`` bytes before it."""

    data: bytes = b""
    skipped: int = 0

    def take(self, data: bytes) -> None:
        """Go on with more."""
        whole = self.data + data
        self.data = whole[-_KEPT_BYTES:]
        self.skipped += len(whole) - len(self.data)


@dataclass
class Watch:
    """One token: the end of what the attempt at it has written so far, and what there is to say about that."""

    token_id: str
    streams: dict[str, Ending] = field(default_factory=lambda: {name: Ending() for name in STREAMS})
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=_NOTES))
    asked_at: float = field(default_factory=time.monotonic)
    looked_at: float = 0.0
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    _follower: Follower | None = None
    _attempt: int | None = None

    def look(self, pool: Pool) -> None:
        """Take in what is new. Another attempt begins with nothing."""
        follower = self._follower = self._follower or Follower(pool, self.token_id)
        for found in follower.look(pool) if not follower.is_over else ():
            if follower.attempt not in (self._attempt, None):
                self._attempt = follower.attempt
                self.streams = {name: Ending() for name in STREAMS}
            if isinstance(found, Note):
                self.notes.append(found.text)
            else:
                self.streams[found.stream].take(found.data)


class Watches:
    """All tokens that are watched. They are as many as there may be streams; who asks for one more is told none."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._all: dict[str, Watch] = {}

    async def look(self, token_id: str) -> Watch | None:
        """What a token writes, as it is known now; None when too many are watched. Errors are the store's."""
        now = time.monotonic()
        self._all = {name: one for name, one in self._all.items() if now < one.asked_at + _LEFT}
        watch = self._all.get(token_id)
        if watch is None:
            if len(self._all) >= MOST_STREAMS:
                return None
            watch = self._all[token_id] = Watch(token_id)
        watch.asked_at = now
        async with watch.busy:
            if time.monotonic() > watch.looked_at + _EVERY:
                await self._desk.do(watch.look)
                watch.looked_at = time.monotonic()
        return watch

    def forget(self, token_id: str) -> None:
        """The token runs no more."""
        self._all.pop(token_id, None)
