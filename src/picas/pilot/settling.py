"""Results on their way into the pool: gathered, settled together, kept through the store's absence, counted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from picas.errors import Conflict, InvalidToken, StoreUnavailable
from picas.lifecycle import Claimant, Doc, Outcome, State, fence_of, state_of
from picas.pilot.keep import keep
from picas.pilot.work import refused
from picas.stores.base import Claim, Exchange, Settlement, TokenStore

__all__ = ["Counts", "Settler"]

log = logging.getLogger("picas.pilot")

_AGE = 0.2
"""Seconds that a result waits at most for others to be settled with."""
_BATCH = 256
_STREAMED_BYTES = 1 << 20
_LONGEST_PAUSE = 30.0


@dataclass
class Counts:
    """What became of the tokens so far."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    given_back: int = 0
    superseded: int = 0


class Settler:
    """Settles results and claims tokens in one step; goes on trying while the store is away."""

    def __init__(self, store: TokenStore, folder: Path, longest_pause: float = _LONGEST_PAUSE) -> None:
        self.counts = Counts()
        self._longest_pause = longest_pause
        self._store = store
        self._folder = folder
        self._finished: list[Settlement] = []
        self._oldest = 0.0
        self._failures = 0
        self._again_at = 0.0

    @property
    def waiting(self) -> int:
        """Results not yet settled."""
        return len(self._finished)

    @property
    def is_away(self) -> bool:
        """Whether the store was away just now, and it is too early to try again."""
        return time.monotonic() < self._again_at

    @property
    def failing(self) -> bool:
        """Whether the last call to the store failed because it was away."""
        return self._failures > 0

    def add(self, settlement: Settlement) -> None:
        """Take in one result."""
        if not self._finished:
            self._oldest = time.monotonic()
        self._finished.append(settlement)

    def is_due(self, *, nothing_running: bool) -> bool:
        """Whether results should be settled now rather than together with more of them."""
        if not self._finished or self.is_away:
            return False
        return nothing_running or len(self._finished) >= _BATCH or time.monotonic() - self._oldest >= _AGE

    def exchange(self, claim: Claim | None) -> list[Doc] | None:
        """Settle everything that waits and claim; the claimed tokens, or None when the store is away."""
        answer: Exchange | None = None

        def act() -> None:
            nonlocal answer
            self._finished = [ready for result in self._finished if (ready := self._upload(result)) is not None]
            answer = self._store.exchange(self._finished, claim)

        if not self.guarded(act) or answer is None:
            return None
        finished, self._finished = self._finished, []
        for settlement, stored in zip(finished, answer.settled, strict=True):
            self._note(settlement, stored)
        return answer.claimed

    def guarded(self, act: Callable[[], None]) -> bool:
        """Do something with the store; False when it is away, and then not before a while is it tried again."""
        try:
            act()
        except StoreUnavailable as error:
            pause = random.SystemRandom().uniform(0, min(self._longest_pause, 0.2 * 2**self._failures)) + 0.05
            if self._failures == 0:
                log.warning("%s; trying again", error)
            self._failures = min(self._failures + 1, 10)
            self._again_at = time.monotonic() + pause
            return False
        if self._failures:
            log.warning("the pool is back")
        self._failures = 0
        return True

    def keep_rest(self) -> int:
        """Put what could not be settled on disk; for the end of the pilot. How many results there were."""
        kept = 0
        for settlement in self._finished:
            if not (isinstance(settlement.outcome, Outcome) and settlement.outcome.give_back):
                place = keep(settlement, "the store was away", self._folder)
                log.error("token %s: result not settled, kept in %s", settlement.doc["_id"], place)
                kept += 1
        self._finished = []
        return kept

    def _upload(self, settlement: Settlement) -> Settlement | None:
        """Send large files ahead in pieces; None when the token turns out to be no longer ours."""
        if not settlement.attachments:
            return settlement
        small = dict(settlement.attachments)
        for name, attachment in settlement.attachments.items():
            path = Path(attachment.path) if attachment.path is not None else None
            if path is None or path.stat().st_size <= _STREAMED_BYTES:
                continue
            token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
            with path.open("rb") as file:
                try:
                    kind = attachment.content_type
                    self._store.put_attachment(token_id, name, file, content_type=kind, fence=fence)
                except Conflict as error:
                    self._superseded(settlement, error)
                    return None
            del small[name]
        return Settlement(doc=settlement.doc, outcome=settlement.outcome, attachments=small)

    def _note(self, settlement: Settlement, stored: Doc | Conflict | InvalidToken) -> None:
        if isinstance(stored, InvalidToken):
            log.warning("%s", stored)
            claimant = Claimant(pilot=settlement.doc["claim"]["pilot"], hostname=settlement.doc.get("hostname", ""))
            self.add(Settlement(doc=settlement.doc, outcome=refused(settlement.doc, stored, claimant, time.time())))
        elif isinstance(stored, Conflict):
            self._superseded(settlement, stored)
        elif state_of(stored) is State.DONE:
            self.counts.done += 1
        elif state_of(stored) is State.ERROR:
            self.counts.failed += 1
        elif isinstance(settlement.outcome, Outcome) and settlement.outcome.give_back:
            self.counts.given_back += 1
        else:
            self.counts.retried += 1

    def _superseded(self, settlement: Settlement, error: Conflict) -> None:
        """Somebody else has the token now: say so, and keep the output where a person can find it."""
        if isinstance(settlement.outcome, Outcome) and settlement.outcome.give_back:
            return
        self.counts.superseded += 1
        place = keep(settlement, str(error), self._folder)
        log.warning("%s; kept in %s", error, place)
