"""Which tokens to try to claim: a window of a view, from its head or, where many pilots meet, from a random place."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from picas import lifecycle, tokens
from picas.errors import InvalidToken, NoSuchView, UsageError
from picas.lifecycle import Doc, State, state_of
from picas.stores.base import Claim
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.dependents import Dependents
from picas.stores.couchdb.scripts import COMPANION, INDEX, TODO, all_of, companion_of
from picas.tokens import Requirements
from picas.views import View

__all__ = ["Queue"]

_chance = random.SystemRandom()

log = logging.getLogger("picas.stores")

T = TypeVar("T")

_AHEAD, _FEWEST, _MOST = 4, 32, 512
"""Tokens are read for so many claims of the same size at once, within these numbers: one that is claimed and settled
between two readings is brought up to date in the server's index once, not twice."""
_FRESH = 1.0
"""Seconds for which what was read ahead is believed; a claim of what changed meanwhile only conflicts."""
_PAGE = 200
_WIDEST = 8192


@dataclass(frozen=True)
class _Source:
    """A view to read: ``ranked`` when it is our index, with keys ``[todo, -priority, not_before]``."""

    design: str
    name: str
    ranked: bool


class Queue:
    """Finds tokens of a view that can be claimed. Its order is by priority, then by id, which sorts by age.

    While claims meet those of others, windows begin at random within the highest priority, the more the wider.
    """

    def __init__(self, database: Database, dependents: Dependents) -> None:
        self._database = database
        self._dependents = dependents
        self._ahead: dict[View, list[Doc]] = {}
        self._read_at = 0.0
        self._spread = 0
        self._unranked: set[str] = set()
        self._top: dict[_Source, tuple[float, int]] = {}
        self._odd: set[str] = set()

    def forget(self, *, views: bool = False) -> None:
        """What was read ahead, and with ``views`` which of them there are, is out of date."""
        self._ahead.clear()
        if views:
            self._unranked.clear()

    def tried(self, claims: int, conflicts: int) -> None:
        """How claims went: the more were lost to others, the farther apart the next windows begin."""
        if conflicts:
            self._ahead.clear()
        if conflicts * 4 > claims:
            self._spread = min(_WIDEST, max(2 * self._spread, 4 * claims, 64))
        elif not conflicts:
            self._spread = self._spread * 7 // 8

    def candidates(self, wish: Claim, count: int, now: float) -> list[Doc]:
        """At most so many tokens to try; fewer only when the view has no more that fit."""
        if count <= 0:
            return []

        def choose(source: _Source) -> list[Doc]:
            skip = self._skip(source, count)
            chosen = self._choose(wish, source, count, now, skip)
            return self._choose(wish, source, count, now, 0) if skip and len(chosen) < count else chosen

        return self._either(wish.view, choose)

    def _choose(self, wish: Claim, source: _Source, count: int, now: float, skip: int) -> list[Doc]:
        chosen: list[Doc] = []
        seen: set[str] = set()
        for doc in self._documents(wish, source, count, now, skip):
            if doc["_id"] in seen or not self._is_claimable(doc, now, wish.offer):
                continue
            seen.add(doc["_id"])
            if lifecycle.is_suspect(doc):
                return chosen or ([doc] if wish.suspects else [])
            chosen.append(doc)
            if len(chosen) >= count:
                break
        return chosen

    def next_ready(self, view: View, now: float) -> float | None:
        """Seconds until a token of the view can be claimed: 0 now, None when there is none."""

        def look(source: _Source) -> float | None:
            soonest: float | None = None
            for at in self._starts(source) if source.ranked else self._pauses(source):
                if at <= now:
                    return 0.0
                soonest = at if soonest is None else min(soonest, at)
            return None if soonest is None else soonest - now

        return self._either(view, look)

    def _documents(self, wish: Claim, source: _Source, count: int, now: float, skip: int) -> Iterator[Doc]:
        ahead = self._ahead.get(wish.view, [])
        if time.monotonic() - self._read_at < _FRESH and count <= len(ahead):
            yield from self._spend(wish.view, ahead, count)
        limit = max(count, min(_MOST, max(_AHEAD * count, _FEWEST)))
        rows = self._window(source, skip, limit)
        docs = [row["doc"] for row in rows if row.get("doc")]
        self._read_at = time.monotonic()
        yield from self._spend(wish.view, docs, count)
        if len(rows) >= limit:
            yield from self._further(source, rows[-1], wish.offer, now)

    def _spend(self, view: View, docs: list[Doc], count: int) -> Iterator[Doc]:
        """The first documents, the rest being kept for the next claim; that too when some of the first did not fit."""
        self._ahead[view] = docs[count:]
        yield from docs[:count]
        self._ahead.pop(view, None)
        yield from docs[count:]

    def _further(self, source: _Source, last: dict[str, Any], offer: Requirements | None, now: float) -> Iterator[Doc]:
        """Documents behind a row; where the view tells what they require, only those that may fit."""
        while True:
            rows = self._rows(source, after=last, limit=_PAGE, docs=not source.ranked)
            if source.ranked:
                fitting = [row["id"] for row in rows if row["key"][2] <= now and _may_fit(row["value"], offer)]
                yield from (doc for doc in self._database.docs(fitting) if doc is not None)
            else:
                yield from (row["doc"] for row in rows if row.get("doc"))
            if len(rows) < _PAGE:
                return
            last = rows[-1]
            if source.ranked and last["key"][2] > now:
                # All others of this priority come later still.
                last = {"key": [*last["key"][:2], {}], "id": ""}

    def _window(self, source: _Source, skip: int, limit: int) -> list[dict[str, Any]]:
        """The first rows, behind ``skip``; with them, in one request, whether any token waits for others."""
        asked = _asked(source, limit=limit, skip=skip)
        if source.design != COMPANION:
            return self._database.view(source.design, source.name, **asked)[0]
        rows, *others = self._database.views(source.design, source.name, [asked, *self._dependents.queries()])
        self._dependents.answer(others)
        return rows

    def _rows(
        self, source: _Source, *, after: Mapping[str, Any] | None = None, limit: int, docs: bool = True
    ) -> list[dict[str, Any]]:
        asked = _asked(source, limit=limit, docs=docs)
        if after is not None:
            asked |= {"limit": limit + 1, "startkey": after["key"], "startkey_docid": after["id"]}
        rows, _ = self._database.view(source.design, source.name, **asked)
        if after is not None:
            rows = [row for row in rows if row["id"] != after["id"]][:limit]
        return rows

    def _skip(self, source: _Source, count: int) -> int:
        if not self._spread:
            return 0
        room = self._of_top_priority(source) - count if source.ranked else self._spread
        return _chance.randint(0, max(0, min(self._spread, room)))

    def _of_top_priority(self, source: _Source) -> int:
        """How many tokens have the highest priority; windows do not begin behind them."""
        at, found = self._top.get(source, (0.0, 0))
        if time.monotonic() - at > _FRESH:
            rows, _ = self._database.view(source.design, source.name, group_level=2, limit=1, **all_of(TODO))
            found = rows[0]["value"] if rows else 0
            self._top[source] = time.monotonic(), found
        return found

    def _starts(self, source: _Source) -> Iterator[float]:
        """When the first token of each priority can be claimed."""
        after: dict[str, Any] | None = None
        while rows := self._rows(source, after=after, limit=1, docs=False):
            *rank, at = rows[0]["key"]
            yield at
            after = {"key": [*rank, {}], "id": ""}

    def _pauses(self, source: _Source) -> Iterator[float]:
        """When each token of a view that does not tell can be claimed."""
        last: dict[str, Any] | None = None
        while rows := self._rows(source, after=last, limit=_PAGE):
            for row in rows:
                if row.get("doc") and state_of(row["doc"]) is State.TODO:
                    yield _not_before(row["doc"])
            last = rows[-1]

    def _either(self, view: View, act: Callable[[_Source], T]) -> T:
        """Do it with our own queue beside the view's design document; where that is missing, with the view itself."""
        if view.name:
            return act(_Source(view.design, view.name, ranked=False))
        if view.state is not State.TODO:
            raise UsageError(f"nothing can be claimed from view {view}", hint="claim from a todo view")
        if view.design not in self._unranked:
            try:
                return act(_Source(companion_of(view.design), INDEX, ranked=True))
            except NoSuchView:
                log.debug("view %s has no queue of ours beside it", view)
        found = act(_Source(view.design, str(view.state), ranked=False))
        self._unranked.add(view.design)
        return found

    def _is_claimable(self, doc: Doc, now: float, offer: Requirements | None) -> bool:
        if state_of(doc) is not State.TODO:
            self._pass_over(doc, "it is no token that waits")
            return False
        if _not_before(doc) > now:
            return False
        if offer is None:
            return True
        try:
            return tokens.requirements(doc).within(offer)
        except InvalidToken as error:
            self._pass_over(doc, str(error))
            return False

    def _pass_over(self, doc: Doc, why: str) -> None:
        if doc["_id"] not in self._odd and len(self._odd) < 1000:
            self._odd.add(doc["_id"])
            log.warning("document %s is passed over: %s", doc["_id"], why)


def _asked(source: _Source, *, limit: int, skip: int = 0, docs: bool = True) -> dict[str, Any]:
    asked: dict[str, Any] = {"limit": limit, "include_docs": docs, "reduce": False, **({"skip": skip} if skip else {})}
    return {**asked, **all_of(TODO)} if source.ranked else asked


def _may_fit(requires: Any, offer: Requirements | None) -> bool:
    if offer is None:
        return True
    try:
        return tokens.requirements({"requires": requires} if requires else {}).within(offer)
    except InvalidToken:
        return False


def _not_before(doc: Mapping[str, Any]) -> float:
    value = doc.get("not_before")
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
