"""Waiting for work: a thread that listens to the changes of waiting tokens, and wakes who waits."""

from __future__ import annotations

import logging
import random
import threading
import time
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
    """Tells of tokens that came to wait. It listens from `start` on, over a connection of its own.

    ``database`` opens that; it is closed with the watcher. A server that is away is asked again, with growing pauses,
    and its return counts as a change: there may be work.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._count = 0
        self._seen = 0
        self._since = ""
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether changes are noticed."""
        return self._thread is not None

    def start(self) -> None:
        """Notice changes from now on."""
        with self._changed:
            if self._thread is not None or self._closed:
                return
            self._since = str((self._database.info() or {}).get("update_seq", "now"))
            self._thread = threading.Thread(target=self._listen, name="picas watcher", daemon=True)
            self._thread.start()

    def prime(self) -> None:
        """What came up to now is about to be looked at."""
        self._seen = self._count

    def wait(self, seconds: float) -> bool:
        """Block until something came since the last look, at most so long; whether it did."""
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._count != self._seen, timeout=max(0.0, seconds))
            came, self._seen = self._count != self._seen, self._count
            return came and not self._closed

    def close(self) -> None:
        """Stop; who waits is let go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._database.http.abort()
        if self._thread is None:
            self._database.http.close()

    def _listen(self) -> None:
        try:
            self._follow()
        except Exception:
            # The connection was broken off under the driver's hands; no token hangs on it.
            if not self._closed:
                raise
        finally:
            self._database.http.close()

    def _follow(self) -> None:
        failures = 0
        while not self._closed:
            try:
                found = self._database.changes(self._since, _POLL)
                since = self._next(found)
            except PicasError as error:
                failures += 1
                log.debug("no word of changes: %s", error)
                self._sleep(_chance.uniform(0.0, min(_LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10))))
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

    def _tell(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=max(0.0, until - time.monotonic()))
