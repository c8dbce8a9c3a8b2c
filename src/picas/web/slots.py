"""What the slots of pilots did: found out for all who look at it, at a cost that does not grow with the pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from picas.lifecycle import Doc, State
from picas.pool import Pool
from picas.selectors import parse
from picas.views import View
from picas.web.desk import Desk
from picas.web.gantt import Gantt, drawn
from picas.web.hour import HOUR, Hour
from picas.web.live import Live
from picas.web.paced import Paced

__all__ = ["MOST_HELD", "Seen", "Slots"]

MOST_HELD = 2_000
"""Tokens that are held, of which is found out who holds them, and those of a look before that are looked up."""
_REMEMBERED = 20_000
"""Ended tokens, beyond which those of the time before the first look are not looked for."""
_REREAD = 5_000
"""Ended tokens, beyond which those are not looked for that were claimed and ended between two looks."""
_OVERLAP = 5.0
"""Seconds before the last look that are looked through again: a result may be written later than it says."""
_EVERY = 4.0
_PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of slots: the picture, and by pilot the tokens it holds, the longest held first.

    ``begun_at`` (unix seconds) is since when attempts are followed where those before it were not read, else None.
    ``is_sampled`` where what was claimed and ended between two looks is not known, ``is_held_cut`` where more tokens
    are held than were read, ``is_cut`` where more was tried than is kept.
    """

    picture: Gantt
    held: Mapping[str, Sequence[str]] = field(default_factory=dict)
    begun_at: float | None = None
    is_sampled: bool = False
    is_held_cut: bool = False
    is_cut: bool = False


class Slots:
    """Follows the tokens that are held: one look reads those, and those that were held at the look before."""

    def __init__(self, desk: Desk, live: Live) -> None:
        self._desk = desk
        self._live = live
        self._hour = Hour()
        self._begun_at: float | None = None
        self._looked_at = 0.0
        self._is_remembered = False
        self.seen: Paced[Seen] = Paced(self._look, every=_EVERY)

    async def _look(self) -> Seen:
        now, held, is_cut = await self._desk.do(_held)
        over = self._hour.hold(held, now)
        await self._ended(over, now)
        is_whole = await self._recent(now)
        summary = self._live.last
        pilots = summary.pilots if summary else ()
        picture = await asyncio.to_thread(drawn, list(self._hour.attempts()), pilots, now)
        return Seen(
            picture=picture,
            held=self._hour.held,
            begun_at=None if self._is_remembered else self._begun_at,
            is_held_cut=is_cut,
            is_sampled=not is_whole,
            is_cut=self._hour.is_cut or len(over) > MOST_HELD,
        )

    async def _ended(self, ids: Sequence[str], now: float) -> None:
        """What became of tokens whose claims are over."""
        for place in range(0, min(len(ids), MOST_HELD), _PAGE):
            part = ids[place : place + _PAGE]
            found = await self._desk.do(partial(_docs, part))
            self._hour.take((doc for doc in found if doc is not None), now)

    async def _recent(self, now: float) -> bool:
        """Read what ended since the last look, at the first since an hour; False when it would be too much."""
        is_first = self._begun_at is None
        since = now - HOUR if is_first else self._looked_at - _OVERLAP
        self._begun_at, self._looked_at = self._begun_at or now, now
        summary = self._live.last
        ended = summary.counts["done"] + summary.counts["error"] if summary else 0
        if ended > (_REMEMBERED if is_first else _REREAD):
            return False
        where = parse({"done": {"$gte": since}})
        for state in (State.DONE, State.ERROR):
            async for docs in self._desk.pages(View(state), where):
                self._hour.take(docs, now)
        self._is_remembered |= is_first
        return True


def _docs(ids: Sequence[str], pool: Pool) -> list[Doc | None]:
    return pool.store.get(ids)


def _held(pool: Pool) -> tuple[float, list[Doc], bool]:
    """The time, the tokens that are held, and whether there are more."""
    docs: list[Doc] = []
    after: str | None = None
    while True:
        page = pool.store.page(View(State.LOCKED), after=after, limit=_PAGE)
        docs += page.docs
        after = page.next
        if after is None or len(docs) >= MOST_HELD:
            return time.time(), docs, after is not None
