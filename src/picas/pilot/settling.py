"""Results on their way into the pool: gathered, settled together, kept through the store's absence, counted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from picas.errors import Conflict, InvalidToken, StoreUnavailable
from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.pilot.keep import keep
from picas.pilot.options import RunReport
from picas.pilot.spool import Spool, is_worth_keeping
from picas.pilot.uploads import upload
from picas.pilot.work import refused
from picas.stores.base import Claim, Exchange, Settlement, TokenStore

__all__ = ["Counts", "Settler"]

log = logging.getLogger("picas.pilot")

T = TypeVar("T")

_AGE = 0.2
"""Seconds that a result waits at most for others to be settled with."""
_BATCH = 256
_LONGEST_PAUSE = 30.0


@dataclass
class Counts:
    """What became of the tokens so far."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    given_back: int = 0
    superseded: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def report(self, seconds: float, why: str, *, unfit: bool = False) -> RunReport:
        """The report of a pilot whose counts these are."""
        return RunReport(**vars(self), seconds=seconds, why=why, unfit=unfit)


class Settler:
    """Settles results and claims tokens in one step; goes on trying while the store is away.

    Results are in the ``spool`` before the first try to settle them; where the store itself is on this machine's disk,
    as soon as a try has failed. None: the store does not outlive this process either.
    """

    def __init__(
        self, store: TokenStore, folder: Path, longest_pause: float = _LONGEST_PAUSE, spool: Spool | None = None
    ) -> None:
        self.counts = Counts()
        self._spool = spool
        self._is_local = store.capabilities.local
        self._unspooled: list[Settlement] = []
        self._has_warned = False
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
        self._unspooled.append(settlement)

    def is_due(self, *, nothing_running: bool) -> bool:
        """Whether results should be settled now rather than with more; they are on disk while they cannot be."""
        if not self._finished:
            return False
        if self.is_away:
            self.put_by()
            return False
        return nothing_running or len(self._finished) >= _BATCH or time.monotonic() - self._oldest >= _AGE

    def exchange(self, claim: Claim | None) -> list[Doc] | None:
        """Settle everything that waits and claim; the claimed tokens, or None when the store is away."""

        def act() -> Exchange:
            self._finished = [ready for result in self._finished if (ready := self._upload(result)) is not None]
            return self._store.exchange(self._finished, claim)

        if not self._is_local or self._failures:
            self.put_by()
        answer = self.asked(act)
        if answer is None:
            self.put_by()
            return None
        finished, self._finished = self._finished, []
        self._unspooled = []
        for settlement, stored in zip(finished, answer.settled, strict=True):
            self._note(settlement, stored)
        if self._spool is not None and not self._finished:
            self._spool.forget()
        return answer.claimed

    def guarded(self, act: Callable[[], object]) -> bool:
        """Do something with the store; False when it is away, and then not before a while is it tried again."""
        return self.asked(lambda: (act(),)) is not None

    def asked(self, act: Callable[[], T]) -> T | None:
        """What something that is asked of the store comes to, which is not None; None when the store is away."""
        try:
            answer = act()
        except StoreUnavailable as error:
            pause = random.SystemRandom().uniform(0, min(self._longest_pause, 0.2 * 2**self._failures)) + 0.05
            if self._failures == 0:
                log.warning("%s; trying again", error)
            self._failures = min(self._failures + 1, 10)
            self._again_at = time.monotonic() + pause
            return None
        if self._failures:
            log.warning("the pool is back")
        self._failures = 0
        return answer

    def put_by(self) -> None:
        """Have all results on disk, before a try to settle them and while there can be none; else go on without."""
        if self._spool is None or not self._unspooled:
            return
        try:
            self._spool.write(self._unspooled)
        except OSError as error:
            if not self._has_warned:
                words = (
                    "results cannot be kept in %s until they are settled: %s; what is lost with this pilot runs again"
                )
                log.warning(words, self._spool.folder, error.strerror or error)
            self._has_warned = True
            return
        self._unspooled = []

    def keep_rest(self) -> int:
        """Leave on disk what could not be settled; for the end of the pilot. How many results there were."""
        rest = [settlement for settlement in self._finished if is_worth_keeping(settlement)]
        self._finished = []
        self.put_by()
        if self._spool is None or self._unspooled:
            for settlement in rest:
                place = self._kept(settlement, "the store was away")
                log.error("token %s: result not settled, %s", settlement.doc["_id"], place)
        if self._spool is not None:
            self._leave(self._spool, empty=not rest)
        return len(rest)

    def _leave(self, spool: Spool, *, empty: bool) -> None:
        try:
            (spool.close if empty else spool.release)()
        except OSError as error:
            log.error("the spool %s could not be left in good order: %s", spool.folder, error.strerror or error)

    def _upload(self, settlement: Settlement) -> Settlement | None:
        """Send large files ahead; None when the token turns out to be no longer ours."""
        ready = upload(self._store, settlement)
        if isinstance(ready, Conflict):
            self._superseded(settlement, ready)
            return None
        return ready

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
        log.warning("%s; %s", error, self._kept(settlement, str(error)))

    def _kept(self, settlement: Settlement, why: str) -> str:
        """Keep a result that no store takes; where, in words."""
        try:
            return f"kept in {keep(settlement, why, self._folder)}"
        except OSError as error:
            return f"it could not be kept: {error.strerror or error}"
