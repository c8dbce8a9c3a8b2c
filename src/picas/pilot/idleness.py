"""A pilot without work: when it looks for some again, how long it waits, and when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum

from picas.pool import Pool
from picas.stores.steering import Pause
from picas.views import View

__all__ = ["Idleness", "Step"]

log = logging.getLogger("picas.pilot")

_MISFITS = 3
"""Claims that come back empty though there is work, until it is taken to be for other pilots."""
_LOOK_AGAIN = 120.0
"""Seconds after which it looks for work though nothing told of any."""
_PAUSE_LOOK = 10.0
"""Seconds between looks at whether a paused pool goes on, where nothing tells of it."""
_SLICE = 0.5
"""Seconds of waiting between looks at signals and at the lease."""


class Step(Enum):
    """What an idle pilot does next."""

    CLAIM, WAIT, END = range(3)


class Idleness:
    """The idle time of a pilot that claims from a view, and may be idle for ``patience`` seconds at a time.

    ``woken_at`` is when it last heard of something that came into the pool, on the monotonic clock. ``silent`` are
    pilots not heard of and not yet known to be lost: while they hold tokens, some may come back.
    """

    def __init__(self, pool: Pool, view: View, patience: float) -> None:
        self.silent: list[str] = []
        self._pool = pool
        self._view = view
        self._patience = patience
        self._misfits = 0
        self._hopeful = False
        self._pause: Pause | None = None
        self._ready_at: float | None = None
        self._since: float | None = None
        self.woken_at = 0.0
        self._busy_at = time.monotonic()

    @property
    def why(self) -> str:
        """Why a pilot ends that has been idle too long."""
        return "what is left needs more than this pilot offers" if self._misfits else "no work is left"

    def claimed(self, count: int) -> None:
        """A claim came back with so many tokens."""
        self._ready_at = None
        self._misfits = 0 if count else self._misfits

    def over(self) -> None:
        """The pilot has something to do."""
        self._since = None
        self._busy_at = time.monotonic()

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing has come into the pool, and this pilot had nothing to do, for so long."""
        return time.monotonic() >= max(self._busy_at, self.woken_at) + seconds

    def is_time_to_look(self) -> bool:
        """Whether it is time to try a claim: a token's pause is over, or some time has passed."""
        now = time.monotonic()
        if self._pause is not None and (self._ready_at is None or now >= self._ready_at) and not self._is_paused():
            return True
        if self._ready_at is None:
            self._ready_at = self._find_ready(now)
        return now >= self._ready_at

    def is_too_long(self) -> bool:
        """Whether the pilot has been idle as long as it may, with nothing that will come back by itself."""
        if self._pause or self._hopeful or (self.silent and self._pool.is_holding(self.silent)):
            return False
        now = time.monotonic()
        self._since = self._since or now
        return now >= self._since + self._patience and not self._is_paused()

    def step(self, rest: Callable[[], bool] | None = None) -> Step:
        """What a pilot with nothing to do does next; a little was waited when it is to wait on (by `rest`, or this)."""
        if self.is_time_to_look():
            return Step.CLAIM
        if self.is_too_long():
            return Step.END
        return Step.CLAIM if (rest or self.rest)() else Step.WAIT

    def rest(self) -> bool:
        """Wait a little; whether the pool has changed."""
        now = time.monotonic()
        ends = [now + _SLICE, self._ready_at or now]
        if self._since is not None and self._since + self._patience > now:
            # Once that is past it waits for what comes back by itself, in slices all the same.
            ends.append(self._since + self._patience)
        changed = self._pool.store.wait(max(0.0, min(ends) - now))
        if changed:
            self._misfits = 0
            self.woken_at = time.monotonic()
        return changed

    def _is_paused(self) -> bool:
        """Whether the pool hands out nothing for now; said when that begins and ends."""
        before, self._pause = self._pause, self._pool.store.paused()
        if self._pause is not None:
            self._ready_at = time.monotonic() + _PAUSE_LOOK
            if before != self._pause:
                why = f": {self._pause.why}" if self._pause.why else ""
                log.warning("the pool is paused by %s%s; waiting until it goes on", self._pause.by, why)
        elif before is not None:
            self._misfits = 0
            log.warning("the pool goes on")
        return self._pause is not None

    def _find_ready(self, now: float) -> float:
        """When to look again if nothing tells of work before: what is there is for other pilots, or for later."""
        ready = self._pool.store.next_ready(self._view)
        self._hopeful = bool(ready)
        if ready == 0.0:
            self._misfits += 1
            if self._misfits == _MISFITS and self._is_paused():
                return now + _PAUSE_LOOK
            return now if self._misfits < _MISFITS else now + _LOOK_AGAIN
        self._misfits = 0
        return now + (_LOOK_AGAIN if ready is None else min(_LOOK_AGAIN, ready))
