"""Rows of a view as CouchDB gives them: picked from documents by its parameters, in order of key."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from picas.errors import Unsupported
from picas.lifecycle import Doc, State

__all__ = ["OVERVIEW", "Row", "ViewResult", "overview", "rows_of"]

OVERVIEW = "overview_total"
_OVERVIEW_STATES = (State.DONE, State.ERROR, State.LOCKED, State.TODO)


class Row(dict[str, Any]):
    """A row of a view: ``id``, ``key``, ``value``, and ``doc`` when asked for, by attribute and by ``[]``.

    As an attribute one that is not there, the ``id`` of a reduced row say, is None.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in ("id", "key", "value", "doc"):
            raise AttributeError(f"a row has no {name!r}, only {', '.join(self)}")
        return self.get(name)


class ViewResult:
    """The rows of a view as they were when it was asked for.

    ``total_rows`` is how many it has in all, ``offset`` how many came before these; None where that is not known.
    """

    def __init__(self, rows: list[Row], *, total_rows: int | None = None, offset: int | None = None) -> None:
        self.rows = rows
        self.total_rows = total_rows
        self.offset = offset

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def rows_of(
    docs: Iterable[Doc],
    *,
    limit: int | None = None,
    skip: int = 0,
    descending: bool = False,
    include_docs: bool = False,
    reduce: bool = False,
    **keys: Any,
) -> list[Row]:
    """The rows for a view's documents: sorted by key, which is the id, then cut to ``skip`` and ``limit``."""
    if reduce:
        raise Unsupported("this view has no reduce function", hint=f"{OVERVIEW} counts tokens by state")
    wanted = _key_test(descending=descending, **keys)
    rows = (_row(doc, include_docs) for doc in docs if wanted(doc["_id"]))
    if limit is None:
        return sorted(rows, key=_by_id, reverse=descending)[skip:]
    ordered = heapq.nlargest if descending else heapq.nsmallest
    return ordered(skip + limit, rows, key=_by_id)[skip:]


def overview(counts: Mapping[State, int], *, group: bool = False, **unknown: Any) -> list[Row]:
    """The rows of ``overview_total``: tokens per state, of states that have any, or (not grouped) their sum."""
    _refuse(unknown)
    found = {str(state): counts[state] for state in _OVERVIEW_STATES if counts[state]}
    if not group:
        return [Row(key=None, value=sum(found.values()))] if found else []
    return [Row(key=name, value=number) for name, number in found.items()]


def _key_test(
    *, descending: bool, key: Any = None, startkey: Any = None, endkey: Any = None, **unknown: Any
) -> Callable[[str], bool]:
    _refuse(unknown)
    if not all(isinstance(value, (str, type(None))) for value in (key, startkey, endkey)):
        raise Unsupported("keys of this view are ids, so that a key to look for is a string")
    low, high = (endkey, startkey) if descending else (startkey, endkey)
    return lambda token_id: (
        (key is None or token_id == key) and (low is None or token_id >= low) and (high is None or token_id <= high)
    )


def _row(doc: Doc, include_docs: bool) -> Row:
    row = Row(id=doc["_id"], key=doc["_id"], value=doc["_id"])
    if include_docs:
        row["doc"] = doc
    return row


def _by_id(row: Row) -> str:
    found: str = row["id"]
    return found


def _refuse(unknown: Mapping[str, Any]) -> None:
    if unknown:
        raise Unsupported(f"view parameters not known here: {', '.join(sorted(unknown))}")
