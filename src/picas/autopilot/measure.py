"""How much work a pool has for a kind of pilots: tokens that such a pilot could claim now."""

from __future__ import annotations

import math

from picas.autopilot.config import Kind
from picas.errors import InvalidToken, NoSuchView
from picas.lifecycle import Doc, State
from picas.pool import BATCH, Pool
from picas.stores.base import Page
from picas.submission import warning_of
from picas.tokens import Requirements, requirements
from picas.views import View

__all__ = ["ready_tokens"]

_LOOKED_AT = 100_000
"""Tokens that are read at most; behind so many that do not fit, others may go unseen."""


def ready_tokens(pool: Pool, kind: Kind) -> tuple[int, bool]:
    """How many tokens are ready for a kind, and whether there may be more.

    No more are counted than could make a difference. Held tokens are in no view to claim from; those that wait for
    their next try, or need more than the pilots have, do not count.
    """
    offer = Requirements(
        cores=kind.cores,
        memory=math.inf if kind.memory is None else kind.memory,
        gpus=kind.gpus,
        time=math.inf if kind.time is None else kind.time - warning_of(kind.time),
    )
    enough = 2 * max(1, kind.max) * max(kind.backlog, kind.cores)
    now = pool.store.now()
    ready, seen, after = 0, 0, None
    while True:
        page = _page(pool, kind, after)
        ready += sum(_is_ready(doc, offer, now) for doc in page.docs)
        seen += len(page.docs)
        after = page.next
        if after is None:
            return ready, False
        if ready >= enough or seen >= _LOOKED_AT:
            return ready, True


def _page(pool: Pool, kind: Kind, after: str | None) -> Page:
    try:
        return pool.store.page(kind.view, after=after, limit=BATCH)
    except NoSuchView:
        if kind.where is None:
            raise
        # Not made yet: whoever plans changes nothing.
        return pool.store.page(View(State.TODO), after=after, limit=BATCH, where=kind.where)


def _is_ready(doc: Doc, offer: Requirements, now: float) -> bool:
    later = doc.get("not_before")
    if isinstance(later, (int, float)) and later > now:
        return False
    try:
        return requirements(doc).within(offer)
    except InvalidToken:
        return False
