"""Which tokens to try to claim: a window of a view, from its head or, where many pilots meet, from a random place."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from picas import lifecycle, tokens
from picas.errors import InvalidToken, UsageError
from picas.lifecycle import Doc, State, state_of
from picas.stores.base import Claim
from picas.stores.couchdb.crowd import Crowd
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.dependents import Dependents
from picas.stores.couchdb.library import Library
from picas.stores.couchdb.scripts import COMPANION, INDEX, TODO, all_of, companion_of
from picas.tokens import Requirements
from picas.views import View

__all__ = ["Queue"]

log = logging.getLogger("picas.stores")

T = TypeVar("T")

_AHEAD, _FEWEST, _MOST = 4, 32, 512
"""Tokens are read for so many claims of the same size at once, within these numbers: one that is claimed and settled
between two readings is brought up to date in the server's index once, not twice."""
_FRESH, _FRESH_IN_CROWD = 1.0, 5.0
"""Seconds for which what was read ahead is believed; a claim of what changed meanwhile only conflicts. Longer where
many pilots share the server, and each has a part of the queue to itself."""
_PAGE = 200
_TOP: dict[str, Any] = {**all_of(TODO), "group_level": 2, "limit": 1}
"""How many tokens have the highest priority."""
_KINDS: dict[str, Any] = {"group_level": 1}
"""How many rows of each kind the index has."""


@dataclass(frozen=True)
class _Source:
    """A view to read: ``ranked`` when it is our index, with keys ``[todo, -priority, not_before]``."""

    design: str
    name: str
    ranked: bool


class Queue:
    """Finds tokens of a view that can be claimed. Its order is by priority, then by id, which sorts by age.

    Alone, a pilot reads from the head. Where others claim too each begins at a place of its own, at random within the
    highest priority, and reads on from there, so that they seldom meet.
    """

    def __init__(self, database: Database, library: Library, dependents: Dependents, crowd: Crowd) -> None:
        self._database = database
        self._library = library
        self._dependents = dependents
        self._crowd = crowd
        self._ahead: dict[View, list[Doc]] = {}
        self._places: dict[View, dict[str, Any]] = {}
        self._read_at = 0.0
        self._ends: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._odd: set[str] = set()

    def forget(self) -> None:
        """What was read ahead is out of date."""
        self._ahead.clear()

    def tried(self, claims: int, conflicts: int) -> None:
        """How claims went: those that were not lost to others are held now."""
        self._crowd.tried(claims, conflicts)
        if 2 * conflicts > claims:
            # Somebody else works here.
            self._ahead.clear()
            self._places.clear()

    def enough(self, claimed: int, count: int) -> bool:
        """Whether so many claims will do: any, where others claim too and would be met again at once."""
        return claimed >= count or (claimed > 0 and self._crowd.others > 0)

    def settled(self, count: int) -> None:
        """So many are held no more."""
        self._crowd.mine = max(0, self._crowd.mine - count)

    def candidates(self, wish: Claim, count: int, now: float) -> list[Doc]:
        """At most so many tokens to try; fewer when the view has no more that fit, or others are at it too."""
        if count <= 0:
            return []
        source = self._source(wish.view)
        chosen = self._choose(wish, source, count, now)
        if not chosen and self._crowd.reach:
            # The end of the view was met on the way, and its head was not read.
            self._places.pop(wish.view, None)
            self._crowd.reach = 0
            chosen = self._choose(wish, source, count, now)
        return chosen

    def _choose(self, wish: Claim, source: _Source, count: int, now: float) -> list[Doc]:
        chosen: list[Doc] = []
        seen: set[str] = set()
        for doc in self._documents(wish, source, count, now):
            if doc is None:
                if chosen and self._crowd.reach:
                    break  # Some now is better than all later: others take what is read meanwhile.
                continue
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
        source = self._source(view)
        soonest: float | None = None
        for at in self._starts(source) if source.ranked else self._pauses(source):
            if at <= now:
                return 0.0
            soonest = at if soonest is None else min(soonest, at)
        return None if soonest is None else soonest - now

    def _documents(self, wish: Claim, source: _Source, count: int, now: float) -> Iterator[Doc | None]:
        """Documents in order; None each time before the view is read again."""
        ahead = self._ahead.get(wish.view, [])
        fresh = _FRESH_IN_CROWD if self._crowd.reach else _FRESH
        if time.monotonic() - self._read_at < fresh and count <= len(ahead):
            yield from self._spend(wish.view, ahead, count)
        limit = self._limit(source, count)
        rows = self._window(wish.view, source, limit, count)
        self._read_at = time.monotonic()
        yield from self._spend(wish.view, self._open(source, rows, wish.offer, now), count)
        while len(rows) >= limit:
            yield None
            rows = self._further(source, rows[-1], now)
            limit = _PAGE
            yield from self._open(source, rows, wish.offer, now)

    def _open(self, source: _Source, rows: list[dict[str, Any]], offer: Requirements | None, now: float) -> list[Doc]:
        """The documents of rows; where the view tells what they require, only of those that may fit."""
        fits = [
            row["id"] for row in rows if not source.ranked or (row["key"][2] <= now and _may_fit(row["value"], offer))
        ]
        found = {doc["_id"]: doc for doc in self._database.open_docs(fits)}
        return [found[token_id] for token_id in fits if token_id in found]

    def _spend(self, view: View, docs: list[Doc], count: int) -> Iterator[Doc]:
        """The first documents, the rest being kept for the next claim; that too when some of the first did not fit."""
        self._ahead[view] = docs[count:]
        yield from docs[:count]
        self._ahead.pop(view, None)
        yield from docs[count:]

    def _further(self, source: _Source, last: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
        """The rows behind one; those of its priority that come later than now are passed over together."""
        if source.ranked and last["key"][2] > now:
            last = {"key": [*last["key"][:2], {}], "id": ""}
        return self._rows(source, after=last, limit=_PAGE)

    def _limit(self, source: _Source, count: int) -> int:
        """How many rows to read for a claim; where others claim too, what falls to this pilot at most."""
        if source.design == COMPANION and not self._crowd.known:
            self._look_round(source, count)
        limit = min(_MOST, max(_AHEAD * count, _FEWEST))
        return max(count, min(limit, self._crowd.share(count)) if self._crowd.reach else limit)

    def _look_round(self, source: _Source, count: int) -> None:
        """Learn how long the queue is, who else is there, and between which ids it lies."""
        whole = {**all_of(TODO), "limit": 1, "reduce": False}
        back = {**whole, "startkey": whole["endkey"], "endkey": whole["startkey"], "descending": True}
        queries = [_TOP, _KINDS, whole, back]
        top, kinds, first, last = self._database.views(source.design, source.name, queries)
        self._crowd.learn(top, kinds, count)
        self._ends = (first[0], last[0]) if first and last else None

    def _window(self, view: View, source: _Source, limit: int, count: int) -> list[dict[str, Any]]:
        """Rows to claim from; with them, in one request, what others hold, and whether any token waits for others."""
        if source.design != COMPANION:
            return self._rows(source, limit=limit, skip=self._crowd.skip())
        place = self._place(view, source, count) if self._crowd.reach else None
        asked = _asked(source, limit=limit)
        if place is not None:
            asked |= {"startkey": place["key"], "startkey_docid": place["id"]}
        queries = [asked, _TOP, self._dependents.query(), *([_KINDS] if self._crowd.is_old() else [])]
        rows, top, waiting, *kinds = self._database.views(source.design, source.name, queries)
        self._dependents.answer(waiting)
        self._crowd.learn(top, kinds[0] if kinds else None, count)
        if place is not None and (not rows or not top or rows[0]["key"][:2] != top[0]["key"]):
            # A higher priority has come up, or the end of this one.
            self._places.pop(view, None)
            rows = self._rows(source, limit=limit)
        elif len(rows) >= limit:
            self._places[view] = rows[-1]
        return [row for row in rows if place is None or row["id"] != place["id"]]

    def _place(self, view: View, source: _Source, count: int) -> dict[str, Any] | None:
        """Where to read on; at first a place at random among the tokens of the highest priority."""
        if view not in self._places:
            if self._ends is None:
                self._look_round(source, count)
            ends, self._ends = self._ends, None
            if ends is None or ends[0]["key"][:2] != ends[1]["key"][:2]:
                return None
            self._places[view] = {"key": ends[0]["key"], "id": self._crowd.between(ends[0]["id"], ends[1]["id"])}
        return self._places[view]

    def _rows(
        self, source: _Source, *, after: Mapping[str, Any] | None = None, limit: int, skip: int = 0
    ) -> list[dict[str, Any]]:
        asked = _asked(source, limit=limit, skip=skip)
        if after is not None:
            asked |= {"limit": limit + 1, "startkey": after["key"], "startkey_docid": after["id"]}
        rows, _ = self._database.view(source.design, source.name, **asked)
        if after is not None:
            rows = [row for row in rows if row["id"] != after["id"]][:limit]
        return rows

    def _starts(self, source: _Source) -> Iterator[float]:
        """When the first token of each priority can be claimed."""
        after: dict[str, Any] | None = None
        while rows := self._rows(source, after=after, limit=1):
            *rank, at = rows[0]["key"]
            yield at
            after = {"key": [*rank, {}], "id": ""}

    def _pauses(self, source: _Source) -> Iterator[float]:
        """When each token of a view that does not tell can be claimed."""
        last: dict[str, Any] | None = None
        while rows := self._rows(source, after=last, limit=_PAGE):
            for doc in self._database.open_docs([row["id"] for row in rows]):
                if state_of(doc) is State.TODO:
                    yield _not_before(doc)
            last = rows[-1]

    def _source(self, view: View) -> _Source:
        """Our own index beside the view's design document; where that is missing, or another view, the view itself."""
        if view.name:
            return _Source(view.design, view.name, ranked=False)
        if view.state is not State.TODO:
            raise UsageError(f"nothing can be claimed from view {view}", hint="claim from a todo view")
        if self._library.has_index(view.design):
            return _Source(companion_of(view.design), INDEX, ranked=True)
        return _Source(view.design, str(view.state), ranked=False)

    def _is_claimable(self, doc: Doc, now: float, offer: Requirements | None) -> bool:
        if (state := state_of(doc)) is not State.TODO:
            if state is None:
                self._pass_over(doc, f"it is no token: type {doc.get('type')!r:.40}, lock {doc.get('lock')!r:.40}")
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


def _asked(source: _Source, *, limit: int, skip: int = 0) -> dict[str, Any]:
    asked: dict[str, Any] = {"limit": limit, "reduce": False, **({"skip": skip} if skip else {})}
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
