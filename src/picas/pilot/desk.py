"""What a pilot for functions has on its desk: calls to make, the one at work, results; and the watch over it.

Between calls the pilot itself does all there is to do. The watch, a thread, steps in while a call is long: it ends one
whose time is up or that was cancelled, sends off results, and gives back what would have to wait.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from picas.errors import PicasError
from picas.lifecycle import Doc, Outcome, Reason
from picas.pilot.heart import Heart
from picas.pilot.offspring import ALARM, Offspring, TimeIsUp
from picas.pilot.settling import Settler
from picas.stores.base import Beat, Settlement, TokenStore

__all__ = ["Alarm", "Desk", "Watch"]

log = logging.getLogger("picas.pilot")

_TICK = 0.2
"""Seconds between looks at the call at work; a time limit is kept as exactly as that."""
_LONG = 1.0
"""Seconds for which results, and calls that were not begun, may wait for the one at work."""
_GRACE = 5.0
"""Seconds between TERM and KILL for processes that a call has started."""


@dataclass
class Desk:
    """Shared by a pilot and its watch, each step under the lock. ``why`` the call at work is being ended, if it is."""

    queue: deque[Doc] = field(default_factory=deque)
    finished: list[Settlement] = field(default_factory=list)
    current: Doc | None = None
    since: float = 0.0
    why: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> Doc | None:
        """Take up the next call; None when there is none."""
        with self.lock:
            if not self.queue:
                return None
            self.current = self.queue.popleft()
            self.since = time.monotonic()
            self.why = ""
            return self.current

    def end(self, settlement: Settlement | None) -> None:
        """Put down the call at work, with its result if that is to be settled."""
        with self.lock:
            self.current = None
            if settlement is not None:
                self.finished.append(settlement)

    def take(self, *, unbegun: Reason | None = None) -> list[Settlement]:
        """The results, and with a reason the calls that were not begun, to be given back for it."""
        with self.lock:
            taken, self.finished = self.finished, []
            if unbegun is not None:
                back = Outcome(reason=unbegun, give_back=True)
                taken += [Settlement(doc=doc, outcome=back) for doc in self.queue]
                self.queue.clear()
            return taken


class Alarm:
    """Interrupts the call at work by `TimeIsUp`, in the main thread; elsewhere a call cannot be interrupted.

    ``on`` is true while an interruption does no harm: the alarm is passed over otherwise.
    """

    def __init__(self) -> None:
        self.on = False
        self._main = threading.main_thread()
        self._in_main = threading.current_thread() is self._main
        self._before: Any = None

    def __enter__(self) -> Alarm:
        if self._in_main:
            self._before = signal.signal(ALARM, self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_main:
            signal.signal(ALARM, self._before)

    def send(self) -> None:
        """Ring, from another thread."""
        if self._in_main:
            signal.pthread_kill(self._main.ident or 0, ALARM)

    def ring(self) -> None:
        """Raise `TimeIsUp` here, if it does no harm."""
        if self.on:
            self.on = False
            raise TimeIsUp

    def _ring(self, number: int, frame: Any) -> None:
        del number, frame
        self.ring()


class Watch:
    """Looks at the desk while it is entered. ``settler`` is its own, on a store that it opens and closes itself."""

    def __init__(
        self,
        desk: Desk,
        heart: Heart,
        alarm: Alarm,
        limit: float | None,
        settling: Callable[[], tuple[TokenStore, Settler]],
    ) -> None:
        self.settler: Settler | None = None
        self.orders = ""
        self._desk, self._heart, self._alarm, self._limit = desk, heart, alarm, limit
        self._settling = settling
        self._store: TokenStore | None = None
        self._beat: Beat | None = None
        self._seen: Doc | None = None
        self._offspring = Offspring()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"watch of {heart.record.id}", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _live(self) -> None:
        try:
            while not self._closing.wait(_TICK):
                self._look()
        finally:
            if self._store is not None:
                self._store.close()

    def _look(self) -> None:
        with self._desk.lock:
            doc, length, why = self._desk.current, time.monotonic() - self._desk.since, self._desk.why
        beat, before = self._heart.last, self._beat
        if beat is not None and beat is not before:
            self._beat = beat
            self.orders = self.orders or beat.orders
            if doc is not None:
                why = why or self._found_in(beat, doc)
            self._seen = doc
        if doc is not None and not why and self._limit is not None and length > self._limit:
            why = "time"
        if doc is not None and why:
            self._end(doc, why)
        if doc is not None and length > _LONG:
            self._relieve()

    def _found_in(self, beat: Beat, doc: Doc) -> str:
        """Why the call at work is to be ended, by the store's word.

        A claim may be younger than the beat: only one that was held at the beat before is known to be lost.
        """
        if beat.held.get(doc["_id"]) == doc["claim"]["fence"]:
            return "cancelled" if doc["_id"] in beat.cancelled else ""
        return "lost" if self._seen is doc else ""

    def _end(self, doc: Doc, why: str) -> None:
        with self._desk.lock:
            if self._desk.current is not doc:
                return
            if not self._desk.why:
                log.warning("token %s: its call is being ended: %s", doc["_id"], why)
            self._desk.why = self._desk.why or why
        self._offspring.end(_GRACE)
        self._alarm.send()

    def _relieve(self) -> None:
        """See to what waits for a long call."""
        waiting = self._desk.take(unbegun=Reason.STOPPED)
        if not waiting and (self.settler is None or not self.settler.waiting):
            return
        try:
            if self.settler is None:
                self._store, self.settler = self._settling()
        except PicasError as error:
            log.warning("%s; trying again", error)
            with self._desk.lock:
                self._desk.finished = [*waiting, *self._desk.finished]
            return
        for settlement in waiting:
            self.settler.add(settlement)
        if not self.settler.is_away:
            self.settler.exchange(None)
