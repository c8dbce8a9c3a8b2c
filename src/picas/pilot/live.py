"""Live output: a pilot sends what its commands write, as long as somebody follows, and not a byte before.

Whoever follows says so in the store. The pilot hears of it with its next beat, or sooner: at once where the store tells
it, else by a few looks soon after a token's start, of which it has so few that they do not count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from picas.errors import PicasError
from picas.lifecycle import fence_of
from picas.pilot.holdings import Holding
from picas.pilot.settling import Settler
from picas.pilot.windows import Window
from picas.stores.base import TokenStore

__all__ = ["MOST_FOLLOWED", "Live"]

MOST_FOLLOWED = 8
"""Tokens of one pilot that can be followed at once."""

_SEND_EVERY = 1.2
_ASK_EVERY = 5.0
"""Seconds until it is asked whether somebody still follows, when there was nothing to send."""
_PATIENCE = 0.3
"""Seconds for which runners are waited for, so that one request sends what all have written."""
_LOOK_EVERY = 1.0
_LOOK_SELDOM = 3.0
_YOUNG = 15.0
"""Seconds after a token was first seen running for which it is looked whether somebody follows it, if that costs."""
_LOOKS, _LOOKS_PER_SECOND = 8, 1 / 450

log = logging.getLogger("picas.pilot")


class _Runners(Protocol):
    def ask_tails(self, places: Iterable[tuple[int, int, int]]) -> None: ...
    def take_tails(self) -> list[tuple[int, int, bytes, int, bytes]]: ...


class Live:
    """One pilot's part in it. Nothing that goes wrong here harms a token: at worst nothing is to be seen."""

    def __init__(self, store: TokenStore, pilot: str, settler: Settler) -> None:
        self._store = store
        self._pilot = pilot
        self._settler = settler
        self._next_at = 0.0 if store.capabilities.live_output else float("inf")
        self._asked: set[int] = set()
        self._asked_at = 0.0
        self._told_at = 0.0
        self._changed = False
        self._followed: frozenset[str] = frozenset()
        self._windows: dict[int, Window] = {}
        self._seen: dict[int, float] = {}
        self._looks = _Allowance()

    def hear(self, followed: frozenset[str]) -> None:
        """Somebody follows these tokens, by the word of the store."""
        if followed and self._next_at < float("inf"):
            self._next_at = self._next_at if self._followed else 0.0
            self._followed = followed

    def step(self, holdings: Iterable[Holding], crew: _Runners) -> None:
        """Do what is due; once in each turn of the pilot."""
        if not self._asked and time.monotonic() < self._next_at:
            return
        now = time.monotonic()
        if self._asked:
            self._take(crew, now)
        elif self._settler.is_away:
            self._next_at = now + _LOOK_EVERY
        elif self._followed:
            self._next_at = now + _SEND_EVERY
            self._ask(holdings, crew, now)
        else:
            self._next_at = now + _LOOK_EVERY
            self._look(holdings, now)

    def _look(self, holdings: Iterable[Holding], now: float) -> None:
        """See whether somebody follows what has been running for a moment."""
        running = {holding.number for holding in holdings if holding.sent}
        last = [at for number, at in self._seen.items() if number in running]
        self._seen = {number: self._seen.get(number, now) for number in running}
        if not last:
            return
        if self._store.capabilities.tells_followers:
            if self._guarded(lambda: self._store.has_followers(self._pilot)):
                self._followed = self._guarded(lambda: self._store.followed(self._pilot)) or frozenset()
        elif max(last) > now - _YOUNG and self._looks.take(now):
            self._next_at = now + _LOOK_SELDOM
            self._followed = self._guarded(lambda: self._store.followed(self._pilot)) or frozenset()
        self._next_at = 0.0 if self._followed else self._next_at

    def _ask(self, holdings: Iterable[Holding], crew: _Runners, now: float) -> None:
        """Ask the runners for what is new; the store whether anybody follows, when it has not been heard for long."""
        wanted = {one.number: one for one in holdings if one.sent and one.doc["_id"] in self._followed}
        gone = self._windows.keys() - wanted.keys()
        room = MOST_FOLLOWED + len(gone) - len(self._windows)
        new = [number for number in wanted if number not in self._windows][:room]
        self._changed = self._changed or bool(gone or new)
        for number in gone:
            del self._windows[number]
        for number in new:
            doc = wanted[number].doc
            self._windows[number] = Window(doc["_id"], fence_of(doc))
        self._asked, self._asked_at = set(self._windows), now
        crew.ask_tails((number, window.out.end, window.err.end) for number, window in self._windows.items())
        if not self._asked:
            self._tell(now)

    def _take(self, crew: _Runners, now: float) -> None:
        for number, out_at, out, err_at, err in crew.take_tails():
            self._asked.discard(number)
            if number in self._windows:
                self._changed = self._windows[number].take(out_at, out, err_at, err, now) or self._changed
        if not self._asked or now > self._asked_at + _PATIENCE:
            self._asked.clear()
            self._tell(now)

    def _tell(self, now: float) -> None:
        """Send what there is, if any of it is new; when nobody follows any more, take it back."""
        if not self._changed and now < self._told_at + _ASK_EVERY:
            return
        if self._changed:
            tails = [window.tail() for window in self._windows.values()]
            followed = self._guarded(lambda: self._store.send_tails(self._pilot, tails))
        else:
            followed = self._guarded(lambda: self._store.followed(self._pilot))
        if followed is None:
            return
        self._told_at, self._followed, self._changed = now, followed, False
        if not followed and self._windows:
            self._windows.clear()
            self._guarded(lambda: self._store.send_tails(self._pilot, []))

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """Ask the store something; None when it is away, and for good when it refuses."""
        try:
            return self._settler.asked(act)
        except PicasError as error:
            # The tokens run on as they would have; only nobody can watch them.
            log.warning("live output of this pilot is off: %s", error)
            self._next_at, self._followed = float("inf"), frozenset()
            self._asked.clear()
            return None


class _Allowance:
    """So many looks at once, and few after that: who is not there is not to be paid for."""

    def __init__(self) -> None:
        self._left = float(_LOOKS)
        self._at = time.monotonic()

    def take(self, now: float) -> bool:
        """Whether there is one left."""
        self._left = min(_LOOKS, self._left + (now - self._at) * _LOOKS_PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
