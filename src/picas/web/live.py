"""How the pool stands, found out once for all who look, and since when nobody can tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from picas.errors import PicasError
from picas.lifecycle import State
from picas.pool import Pool
from picas.reports.pace import Estimate, Pace, estimate
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot
from picas.stores.steering import Pause
from picas.views import MONITOR, View
from picas.web.desk import Desk
from picas.web.failures import Failures, Lines, Survey
from picas.web.history import History
from picas.web.paced import Paced

__all__ = ["REFRESH", "Live", "Sight", "Summary", "rank"]

REFRESH = 2.0
"""Seconds between looks while somebody looks on."""
_IDLE = 60.0
_LOOKING = 15.0
"""Seconds for which somebody who looked is taken to look on."""
_PART = 0.05
"""Of the time, at most, is the store asked for the summary."""
_HANGS = 2.0
"""Seconds without an answer after which that is said; longer where answers take long."""
_SLOWER = 3.0
"""By how much an answer may take longer than the one before."""
_FIRST = 10.0
_DESIGNS_EVERY = 10.0
_FAILURES_EVERY = 6.0
_REMEMBERED = 50_000
"""Tokens that had ended before the first look, whose times are read."""
_PAUSE = 0.02

Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A pool at a time (unix seconds): counts by state, pilots, whether it is paused, when the next is to be claimed.

    ``ready_in`` is 0 where something can be claimed, None where nothing waits.
    """

    at: float
    counts: Counts
    pilots: Sequence[PilotRecord]
    paused: Pause | None
    ready_in: float | None
    took: float

    @property
    def alive(self) -> list[PilotRecord]:
        """Pilots that claim tokens."""
        return [pilot for pilot in self.pilots if pilot.alive and not is_autopilot(pilot)]

    @property
    def lost(self) -> list[PilotRecord]:
        """Pilots that fell silent."""
        return [pilot for pilot in self.pilots if not pilot.alive]

    @property
    def cores(self) -> int:
        """Cores of pilots alive."""
        return sum(one.cores for one in self.alive)

    @property
    def busy(self) -> int:
        """How many of them are given to commands, as far as pilots say."""
        return sum(one.busy or 0 for one in self.alive)


def rank(pilot: PilotRecord) -> tuple[bool, int, str]:
    """Pilots as they are listed: lost ones first, then those with most to do."""
    return pilot.alive, -pilot.running, pilot.id


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What can be shown: the last summary, how it goes on, and since when (unix seconds) and why there is no newer."""

    summary: Summary | None
    estimate: Estimate | None
    away_since: float | None = None
    why: str = ""


class Live:
    """One for all viewers. `run` looks on while there are any, and once a minute otherwise, for the curve."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pace = Pace()
        self.history = History()
        self.ended = 0
        """Tokens that ended since the first look."""
        self._summary: Summary | None = None
        self._asked_at = 0.0
        self._since: float | None = None
        self._begun: float | None = None
        self._why = ""
        self._wake = asyncio.Event()
        self._fresh = asyncio.Condition()
        self._lines: Lines = {}
        self.designs: Paced[dict[str, Counts]] = Paced(self._count_designs, every=_DESIGNS_EVERY)
        self.failures: Paced[Failures] = Paced(self._survey, every=_FAILURES_EVERY)
        self.is_remembered: bool | None = None
        """Whether the curve has what ended before the first look: None as long as that is being read."""
        self._memory: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look on, until cancelled."""
        try:
            while True:
                await self._refresh()
                await self._rest()
        finally:
            self.designs.stop()
            self.failures.stop()
            if self._memory is not None:
                self._memory.cancel()

    async def look(self) -> Sight:
        """How it stands. Where nobody has looked for a while it is found out first, as long as that goes quickly."""
        was_idle = not self._is_watched()
        self._asked_at = time.monotonic()
        if self._memory is None and self._summary is not None:
            self._memory = asyncio.create_task(self._remember())
        if was_idle or self._summary is None:
            self._wake.set()
            await self._renewed(_FIRST if self._summary is None else _HANGS)
        return self._sight()

    @property
    def last(self) -> Summary | None:
        """The last summary, however old."""
        return self._summary

    def changed(self) -> None:
        """The pool was changed from here: let it be seen at once."""
        self.failures.hurry()
        self.designs.hurry()
        self._wake.set()

    def _sight(self) -> Sight:
        since, why = self._since, self._why
        patience = max(_HANGS, _SLOWER * self._summary.took) if self._summary else _HANGS
        if since is None and self._begun is not None and time.time() - self._begun > patience:
            since, why = self._begun, "it does not answer"
        return Sight(summary=self._summary, estimate=self._estimate(), away_since=since, why=why)

    def _estimate(self) -> Estimate | None:
        summary = self._summary
        if summary is None:
            return None
        return estimate(summary.counts, self._pace, pilots=len(summary.alive), is_paused=summary.paused is not None)

    def _is_watched(self) -> bool:
        return time.monotonic() - self._asked_at < _LOOKING

    async def _renewed(self, seconds: float) -> None:
        before, since = self._summary, self._since

        async def wait() -> None:
            async with self._fresh:
                await self._fresh.wait_for(lambda: self._summary is not before or self._since != since)

        try:
            await asyncio.wait_for(wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _refresh(self) -> None:
        self._begun = time.time()
        try:
            summary = await self._desk.do(_summary)
        except PicasError as error:
            self._since = self._since or self._begun
            self._why = error.message
        else:
            self._summary, self._since, self._why = summary, None, ""
            self.ended += self._pace.look(summary.counts, time.monotonic())
            self.history.look(summary.counts, summary.at)
        self._begun = None
        async with self._fresh:
            self._fresh.notify_all()

    async def _rest(self) -> None:
        took = self._summary.took if self._summary else 0.0
        rest = max(REFRESH, took / _PART) if self._is_watched() else _IDLE
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), rest)
        except asyncio.TimeoutError:
            return

    async def _count_designs(self) -> dict[str, Counts]:
        """Counts of each design document; on stores without kept counts each is a scan."""
        names = await self._desk.do(lambda pool: [design.name for design in pool.store.designs()])
        found = {}
        for name in names:
            if name != MONITOR.name:
                found[name] = await self._desk.do(lambda pool, name=name: _counts(pool, name))  # type: ignore[misc]
        return found

    async def _survey(self) -> Failures:
        survey = Survey(self._lines)
        while survey.found is None:
            await self._desk.do(survey.take)
            await asyncio.sleep(_PAUSE)
        self._lines = survey.lines
        return survey.found

    async def _remember(self) -> None:
        """Read when the tokens ended that had ended before the first look, unless they are too many."""
        summary = self._summary
        if summary is None or summary.counts["done"] + summary.counts["error"] > _REMEMBERED:
            self.is_remembered = False
            return
        try:
            for state in (State.DONE, State.ERROR):
                async for docs in self._desk.pages(View(state)):
                    self.history.remember(docs)
            self.is_remembered = True
        except PicasError:
            self.is_remembered = False


def _summary(pool: Pool) -> Summary:
    begun = time.monotonic()
    counts = _counts(pool, MONITOR.name)
    waits = counts["todo"] and not counts["locked"]
    ready_in = pool.store.next_ready(View(State.TODO)) if waits else 0.0 if counts["todo"] else None
    pilots, paused = pool.pilots(), pool.store.paused()
    return Summary(
        at=time.time(),
        counts=counts,
        pilots=pilots,
        paused=paused,
        ready_in=ready_in,
        took=time.monotonic() - begun,
    )


def _counts(pool: Pool, design: str) -> Counts:
    return {str(state): count for state, count in pool.count(design).items()}
