"""Waiting for work: a thread that listens to the changes of waiting tokens, and wakes who waits."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

from picas.errors import PicasError
from picas.stores.couchdb.database import Database

__all__ = ["Watcher"]

_chance = random.SystemRandom()

log = logging.getLogger("picas.stores")

_POLL = 55.0
"""Seconds of one long poll: below the minute after which proxies cut what is silent."""
_LONGEST_PAUSE = 30.0


class Watcher:
    """Tells of tokens that came to wait, by a `_Listener` that is there while this pilot finds no work.

    A server looks at each change of the pool for each who listens, so that whoever has work does not.
    """

    def __init__(self, open_database: Callable[[], Database]) -> None:
        self._open = open_database
        self._changed = threading.Condition()
        self._count = 0
        self._seen = 0
        self._missed = False
        self._closed = False
        self._listener: _Listener | None = None

    @property
    def running(self) -> bool:
        """Whether changes are noticed."""
        return self._listener is not None

    def start(self) -> None:
        """Notice changes from now on."""
        with self._changed:
            if self._listener is None and not self._closed:
                self._listener = _Listener(self._open(), self._tell)
                self._listener.begin()

    def stop(self) -> None:
        """Notice nothing more until it is started again; the next `wait` takes it that something came meanwhile."""
        with self._changed:
            listener, self._listener = self._listener, None
            self._missed = True
        if listener is not None:
            listener.end()

    def prime(self) -> None:
        """What came up to now is about to be looked at."""
        self._seen = self._count

    def wait(self, seconds: float) -> bool:
        """Block until something came since the last look, at most so long; whether it did."""
        with self._changed:
            missed = self._missed and self._listener is None
            self._missed = False
        self.start()
        if missed:
            return True
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._count != self._seen, timeout=max(0.0, seconds))
            came, self._seen = self._count != self._seen, self._count
            return came and not self._closed

    def close(self) -> None:
        """Stop for good; who waits is let go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.stop()

    def _tell(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()


class _Listener:
    """A thread that follows the changes of waiting tokens over a connection of its own, which it closes in the end.

    A server that is away is asked again, with growing pauses, and its return counts as a change: there may be work.
    """

    def __init__(self, database: Database, tell: Callable[[], None]) -> None:
        self._database = database
        self._tell = tell
        self._ended = threading.Event()
        self._since = "now"
        self.thread = threading.Thread(target=self._listen, name="picas watcher", daemon=True)

    def begin(self) -> None:
        """Follow from now on; raises where the server cannot be asked what now is."""
        try:
            self._since = str((self._database.info() or {}).get("update_seq", "now"))
        except BaseException:
            self._database.http.close()
            raise
        self.thread.start()

    def end(self) -> None:
        """Break off."""
        self._ended.set()
        self._database.http.abort()

    def _listen(self) -> None:
        try:
            self._follow()
        except Exception:
            # The connection was broken off under the driver's hands; no token hangs on it.
            if not self._ended.is_set():
                raise
        finally:
            self._database.http.close()

    def _follow(self) -> None:
        failures = 0
        while not self._ended.is_set():
            try:
                found = self._database.changes(self._since, _POLL)
                since = self._next(found)
            except PicasError as error:
                failures += 1
                log.debug("no word of changes: %s", error)
                self._ended.wait(_chance.uniform(0.0, min(_LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10))))
                continue
            self._since = since
            if found.get("results") or failures:
                self._tell()
            failures = 0

    def _next(self, found: dict[str, Any]) -> str:
        """Where to go on: behind all there is now, since whoever is woken looks at all of it."""
        if not found.get("results"):
            return str(found.get("last_seq", self._since))
        return str((self._database.info() or {}).get("update_seq", found.get("last_seq")))
