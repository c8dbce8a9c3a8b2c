"""A pilot's heart: a thread that keeps its lease while the pilot itself is busy with a token."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from picas.errors import PicasError
from picas.stores.base import Beat, PilotRecord, TokenStore

__all__ = ["Heart"]

log = logging.getLogger(__name__)

_FIRST_BEAT = 10.0
"""Seconds for which a pilot's start waits until the pool knows of it."""
_CLOSING = 10.0


class Heart:
    """Beats when entered, and then three times per lease, on a twin of the store that it opens and closes itself.

    When it is left the record is forgotten, unless the pilot still holds claims: then its silence gives them back
    in time. A store that is away does not stop it. ``record`` may be replaced at any time; the next beat tells it.
    ``heed`` is told, in the heart's thread, what each beat brought, until the heart is being left.
    """

    def __init__(
        self, twin: Callable[[], TokenStore], record: PilotRecord, heed: Callable[[Beat], None] | None = None
    ) -> None:
        self._heed = heed
        self.record = record
        self.last: Beat | None = None
        self._twin = twin
        self._store: TokenStore | None = None
        self._begun = threading.Event()
        self._closing = threading.Event()
        self._keep_claims = False
        self._thread = threading.Thread(target=self._live, name=f"heart of {record.id}", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        # Claims before the first beat would be nobody's if the pilot died: there would be no record to miss.
        self._begun.wait(_FIRST_BEAT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, *, keep_claims: bool = False) -> None:
        """Sign off, once. With ``keep_claims`` for good: what the pilot holds stays locked until a person acts."""
        if not self._closing.is_set():
            self._keep_claims = keep_claims
            self._closing.set()
        self._thread.join(_CLOSING)

    def _live(self) -> None:
        every = self.record.lease / 3
        try:
            while not self._closing.wait(every if self._beat_and_heed() else every / 4):
                pass
            self._sign_off()
        finally:
            if self._store is not None:
                self._store.close()

    def _beat_and_heed(self) -> bool:
        heard = self._beat()
        if heard and self._heed is not None and self.last is not None and not self._closing.is_set():
            self._heed(self.last)
        return heard

    def _beat(self) -> bool:
        try:
            if self._store is None:
                self._store = self._twin()
            self.last = self._store.beat(self.record)
        except PicasError as error:
            log.warning("pilot %s could not renew its lease, trying again: %s", self.record.id, error)
            return False
        except Exception:
            # A heart that died would leave a pilot at work that the pool takes for dead: its token would run twice.
            log.exception("pilot %s could not renew its lease, trying again", self.record.id)
            return False
        finally:
            self._begun.set()
        return True

    def _sign_off(self) -> None:
        if not self._beat() or self._store is None or self.last is None:
            return
        if self.last.held and not self._keep_claims:
            log.warning(
                "pilot %s ends with claims that its lease will give back: %s", self.record.id, ", ".join(self.last.held)
            )
            return
        try:
            self._store.forget(self.record.id)
        except PicasError as error:
            log.warning("pilot %s could not sign off: %s", self.record.id, error)
