"""A pilot's lease: renewed while it lives, and the look for pilots that let theirs run out."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from picas.pilot.idleness import Idleness
from picas.pilot.rescue import Rescue
from picas.pilot.settling import Settler
from picas.pilot.usage import Usage
from picas.pool import Pool
from picas.stores.base import Beat, PilotRecord
from picas.stores.records import is_autopilot

__all__ = ["Lease", "Lookout"]

_LOOKOUTS = 4
"""Pilots, the first by name, that look for silent ones every few seconds."""

log = logging.getLogger("picas.pilot")


class Lookout:
    """Looks for silent pilots when it is time, and the store is there.

    With ``kept``, where results are kept, those that dead pilots of this machine left there are handed in before.
    ``record`` is what the pilot says of itself, ``others`` those that were alive at the last look.
    """

    def __init__(
        self, pool: Pool, record: PilotRecord, settler: Settler, idleness: Idleness, kept: Path | None = None
    ) -> None:
        self.record = record
        self.others: list[PilotRecord] = []
        self._pool = pool
        self._settler = settler
        self._idleness = idleness
        self._rescue = Rescue(pool.store, kept, record.hostname) if kept is not None else None
        self._chance = random.Random(record.id)
        self._every = min(5.0, record.lease / 4)
        self._look_at = 0.0
        self._looked_at = 0.0

    def look(self) -> bool:
        """Look for silent pilots when it is time; whether tokens of such were given back."""
        now = time.monotonic()
        if (woken := self._idleness.woken_at) > self._looked_at:
            # Something has come into the pool, which a pilot may claim and die with.
            self._look_at = min(self._look_at, woken + self._every)
        if now < self._look_at or self._settler.is_away:
            return False
        self._looked_at = now
        self._look_at = now + self._every * self._chance.uniform(0.8, 1.0)
        found = self._settler.asked(self._recover)
        if found:
            log.warning("gave back %d tokens of pilots that fell silent", len(found))
        return bool(found)

    def close(self) -> None:
        """Leave what is not yet handed in of dead pilots' results to others."""
        if self._rescue is not None:
            self._rescue.close()

    def _recover(self) -> list[str]:
        # First what dead pilots of this machine left: their tokens are not given back when they have results.
        if self._rescue is not None and not self._rescue.look():
            self._look_at = time.monotonic()
            return []
        records = self._pool.store.pilots()
        given_back = self._pool.recover(records)
        pilots = [record for record in records if not is_autopilot(record)]
        self._idleness.silent = [pilot.id for pilot in pilots if not pilot.alive and not pilot.lapsed]
        # Of many pilots a few look often, and the others the more seldom the more there are. The dead look no more.
        self.others = [pilot for pilot in pilots if pilot.alive and pilot.id != self.record.id]
        alive = [pilot.id for pilot in pilots if pilot.alive]
        if sum(pilot < self.record.id for pilot in alive) >= _LOOKOUTS:
            self._look_at += (self._look_at - time.monotonic()) * (len(alive) / (2 * _LOOKOUTS))
        if [pilot.id for pilot in pilots] == [self.record.id] and self._idleness.is_quiet(self.record.lease):
            # Nobody to look after, and nothing for anyone else to have claimed.
            self._look_at = time.monotonic() + self.record.lease / 2
        return given_back


class Lease(Lookout):
    """Also beats, three times per lease. Nothing may be claimed before the first has come through: nobody would miss a
    pilot that was never heard of.
    """

    _beat_at = 0.0

    def beat(self, *, running: int, holding: int, finished: int, usage: Callable[[], Usage]) -> Beat | None:
        """Renew the lease when it is time, with what has changed of the record; what the store tells of it."""
        now = time.monotonic()
        if now < self._beat_at or self._settler.is_away:
            return None
        used = usage()
        self.record = replace(self.record, running=running, holding=holding, finished=finished, **vars(used))
        told = self._settler.asked(lambda: self._pool.store.beat(self.record))
        if told is not None:
            self._beat_at = now + self.record.lease / 3
        return told

    def look(self) -> bool:
        # Not when a beat has just failed: that one comes first, once the store is back.
        return time.monotonic() < self._beat_at and super().look()
