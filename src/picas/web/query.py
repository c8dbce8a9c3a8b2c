"""Which tokens a page or a program asks for, read from a query, and a page of them, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from picas.errors import NothingMatched, UsageError
from picas.lifecycle import Doc, state_of
from picas.listing import command_line, tagged, token_row
from picas.pool import Pool
from picas.selectors import Selector, both, matches, parse_where
from picas.stores.base import Page
from picas.views import View

__all__ = ["SORTS", "Found", "Query", "find", "query_of", "token_of"]

_LIMIT, _MOST = 50, 500
_PAGE = 500
_SECONDS = 0.4
"""For which tokens are looked through at once; then whoever asks is told how far it came."""
_MOST_SORTED = 5_000

SORTS: Mapping[str, str] = {
    "": "order of claims",
    "id": "id",
    "-ended": "ended last",
    "-runtime": "runtime, longest first",
    "runtime": "runtime, shortest first",
    "-tries": "tries, most first",
    "-priority": "priority",
    "host": "host",
}
"""Ways to sort, with their names. All but the first need all that match, so that those may not be too many."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What was asked for. ``after`` is the cursor of the page before; ``ids`` a selection of their own."""

    view: View | None = None
    where: str = ""
    tag: str = ""
    text: str = ""
    sort: str = ""
    after: str = ""
    limit: int = _LIMIT
    ids: tuple[str, ...] | None = None

    @property
    def selector(self) -> Selector | None:
        """The condition, of ``where`` and ``tag`` together."""
        return both(parse_where(self.where) if self.where.strip() else None, tagged([self.tag] if self.tag else []))

    def fits(self, doc: Doc) -> bool:
        """Whether a token has the text in what a listing shows of it, or in its tags."""
        if not self.text:
            return True
        tags = doc.get("tags")
        shown = (doc["_id"], command_line(doc), doc.get("hostname"), doc.get("reason"), tags if tags else "")
        return self.text.lower() in "\n".join(map(str, shown)).lower()


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of tokens; ``next`` is the cursor of the one after, empty on the last one.

    ``looked_at`` tokens were looked through; ``is_cut`` when time was over before the page was full.
    """

    docs: list[Doc] = field(default_factory=list)
    next: str = ""
    looked_at: int = 0
    is_cut: bool = False


def query_of(given: Mapping[str, str], *, ids: tuple[str, ...] | None = None) -> Query:
    """A query from its parts as text; UsageError for what makes no sense."""
    view, limit, sort = given.get("view", ""), given.get("limit", ""), given.get("sort", "")
    if limit and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST):
        raise UsageError(f"limit {limit!r:.40} is not a number from 1 to {_MOST}")
    if sort not in SORTS:
        raise UsageError(f"sort {sort!r:.40} is not known", hint=f"known are {', '.join(filter(None, SORTS))}")
    query = Query(
        view=View.parse(view) if view else None,
        where=given.get("where", ""),
        tag=given.get("tag", ""),
        text=given.get("text", ""),
        sort=sort,
        after=given.get("after", ""),
        limit=int(limit or _LIMIT),
        ids=ids,
    )
    query.selector  # noqa: B018 - a condition that cannot be read is said now
    return query


def find(pool: Pool, query: Query) -> Found:
    """The page that was asked for."""
    if query.ids is not None:
        return _by_id(pool, query)
    return _sorted(pool, query) if query.sort else _in_order(pool, query)


def token_of(pool: Pool, token_id: str) -> Doc:
    """The token of this id; NothingMatched when there is none."""
    doc = pool.get(token_id)
    if doc is None:
        raise NothingMatched(f"there is no token {token_id}")
    return doc


def _in_order(pool: Pool, query: Query) -> Found:
    """In the store's order, going through as many tokens as it takes to fill the page, for a while."""
    until = time.monotonic() + _SECONDS
    docs: list[Doc] = []
    after, looked_at = query.after or None, 0
    # With a text most may not fit: larger pages then, of which the cursor is between tokens all the same.
    while True:
        page = _page(pool, query, after, query.limit - len(docs) if not query.text else _PAGE)
        looked_at += len(page.docs)
        fitting = [doc for doc in page.docs if state_of(doc) and query.fits(doc)]
        room = query.limit - len(docs)
        if len(fitting) > room:
            # The page is full in its midst: read again to there, for a cursor at that place.
            stop = next(place for place, doc in enumerate(page.docs) if doc is fitting[room])
            again = _page(pool, query, after, stop)
            return Found(docs=docs + fitting[:room], next=again.next or "", looked_at=looked_at)
        docs += fitting
        after = page.next
        if after is None or len(docs) >= query.limit:
            return Found(docs=docs, next=after or "", looked_at=looked_at)
        if time.monotonic() > until:
            return Found(docs=docs, next=after, looked_at=looked_at, is_cut=True)


def _sorted(pool: Pool, query: Query) -> Found:
    """Sorted by a field: all that match, which may not be too many, and of them a part; the cursor is a number."""
    start = _number(query.after)
    docs: list[Doc] = []
    until = time.monotonic() + _SECONDS
    after: str | None = None
    while True:
        page = _page(pool, query, after, _PAGE)
        docs += (doc for doc in page.docs if state_of(doc) and query.fits(doc))
        after = page.next
        if after is None:
            break
        if len(docs) > _MOST_SORTED or time.monotonic() > until:
            hint = "narrow it down by a view, a condition or a tag, or have it in the order of claims"
            raise UsageError(f"more match than can be sorted at once ({_MOST_SORTED:,})", hint=hint)
    docs.sort(key=_KEYS[query.sort])
    end = start + query.limit
    return Found(docs=docs[start:end], next=str(end) if end < len(docs) else "", looked_at=len(docs))


def _by_id(pool: Pool, query: Query) -> Found:
    """Those of these ids that are there and match; the cursor is a number."""
    ids, start = query.ids or (), _number(query.after)
    selector = query.selector
    docs: list[Doc] = []
    place = start
    while place < len(ids) and len(docs) < query.limit:
        part = ids[place : place + query.limit - len(docs)]
        for doc in pool.store.get(part):
            is_of_view = doc is not None and (query.view is None or state_of(doc) is query.view.state)
            if doc is not None and is_of_view and query.fits(doc) and (selector is None or matches(selector, doc)):
                docs.append(doc)
        place += len(part)
    return Found(docs=docs, next=str(place) if place < len(ids) else "", looked_at=place - start)


def _page(pool: Pool, query: Query, after: str | None, limit: int) -> Page:
    return pool.store.page(query.view, after=after, limit=limit, where=query.selector)


def _number(cursor: str) -> int:
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise UsageError(f"{cursor!r:.40} is no place in this listing", hint="begin at its first page")
    return int(cursor or 0)


def _by(name: str, *, falling: bool = False) -> Callable[[Doc], tuple[bool, float, str, str]]:
    """A key for sorting by a column: what has no value comes last, text after numbers."""

    def key(doc: Doc) -> tuple[bool, float, str, str]:
        value = doc.get("done") if name == "ended" else doc.get(name, token_row(doc).get(name))
        if name == "id":
            value = doc["_id"]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if is_number else 0.0  # type: ignore[arg-type]
        return not value, -number if falling else number, "" if is_number else str(value), doc["_id"]

    return key


_KEYS = {name: _by(name.lstrip("-"), falling=name.startswith("-")) for name in SORTS if name}
