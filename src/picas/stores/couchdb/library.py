"""The views of a pool: made, listed, read in pages and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from picas.errors import Conflict, NoSuchView, UsageError
from picas.lifecycle import Doc, State
from picas.rows import OVERVIEW
from picas.stores.base import Problem
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.scripts import (
    COMPANION,
    HELD,
    INDEX,
    TODO,
    all_of,
    companion_of,
    companion_views,
    design_of,
    is_usual,
    views_of,
)
from picas.views import MONITOR, Design, View

__all__ = ["Library"]

_DESIGN = "_design/"
_TRIES = 20
_BELIEVED = 30.0
_KINDS = {State.TODO: TODO, State.HELD: HELD}
"""States whose tokens are read by our own index, in the order of claims."""


class Library:
    """The design documents of a database, and what can be read through them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._indexed: dict[str, tuple[float, bool]] = {}

    def has_index(self, design: str) -> bool:
        """Whether our index is beside this design document, and has the same tokens as its own view ``todo``.

        What is found is believed for a while.
        """
        at, found = self._indexed.get(design, (float("-inf"), False))
        if time.monotonic() - at > _BELIEVED:
            names = (f"{_DESIGN}{design}", f"{_DESIGN}{companion_of(design)}")
            its, ours = self._database.docs(names)
            found = bool(its and ours and INDEX in (ours.get("views") or {}) and is_usual(its))
            self._indexed[design] = time.monotonic(), found
        return found

    def forget(self) -> None:
        """Design documents have changed."""
        self._indexed.clear()

    def complete(self) -> list[str]:
        """Make what is missing of the pool's own views; views that are there stay as they are. What was made."""
        made = []
        for doc in (views_of(MONITOR), companion_views(MONITOR)):
            stored = self._database.doc(doc["_id"])
            ours = doc["_id"] == f"{_DESIGN}{COMPANION}"
            views = doc["views"] if ours else {**doc["views"], **(stored or {}).get("views", {})}
            if stored is None or stored.get("views") != views:
                self._store({**doc, **(stored or {}), "views": views})
                made.append(doc["_id"])
        return made

    def install(self, design: Design) -> None:
        """Add or replace a design document; UsageError for one that would replace views that somebody wrote."""
        if design.name == MONITOR.name:
            if design.selector is not None:
                raise UsageError(f"{MONITOR.name} has no condition", hint="give the design document another name")
            self.complete()
            return
        if design.javascript is not None:
            self._store(_written(design))
            return
        doc, beside = views_of(design), companion_views(design)
        stored = self._database.doc(doc["_id"])
        found = design_of(stored) if stored else None
        if found is not None and found.javascript is not None:
            raise UsageError(
                f"there is a design document {design.name!r} with views that somebody wrote",
                hint="they can be claimed from as they are; choose another name",
            )
        self._store(beside)
        self._store(doc)

    def uninstall(self, name: str) -> bool:
        """Remove a design document that was installed here; whether it was there."""
        if name == MONITOR.name:
            return False
        stored = self._database.doc(f"{_DESIGN}{name}")
        found = design_of(stored) if stored else None
        if stored is None or found is None:
            return False
        if found.javascript is not None:
            raise UsageError(f"the views of {name!r} were written by somebody", hint="remove them where they were made")
        beside = self._database.doc(f"{_DESIGN}{companion_of(name)}")
        if beside is not None:
            self._database.remove(beside["_id"], beside["_rev"])
        return self._database.remove(stored["_id"], stored["_rev"])

    def designs(self) -> list[Design]:
        """All design documents that can be claimed from or looked at, ``Monitor`` first."""
        rows = self._database.all_docs(startkey=_DESIGN, endkey=f"{_DESIGN}\ufff0", include_docs=True)
        found = [design_of(row["doc"]) for row in rows if row.get("doc")]
        return [MONITOR, *(design for design in found if design is not None and design != MONITOR)]

    def documents(self, view: View | None, after: str | None, step: int) -> Iterator[tuple[str, Doc]]:
        """The documents of a view, or all, behind a cursor; each with the cursor for what comes after it."""
        last = _place(after)
        while True:
            rows = self._rows(view, last, step + 1)
            for row in rows:
                last = [row["key"], row["id"]]
                if row.get("doc") and not row["doc"]["_id"].startswith(_DESIGN):
                    yield json.dumps(last), row["doc"]
            if len(rows) <= step:
                return

    def count(self, design: str) -> dict[State, int]:
        """How many tokens of a design document are in each state."""
        counts = dict.fromkeys(State, 0)
        try:
            rows, _ = self._database.view(design, OVERVIEW, group=True)
            found = {row["key"]: row["value"] for row in rows}
        except NoSuchView:
            found = self._lengths(design)
        counts |= {state: int(found.get(str(state), 0)) for state in State}
        try:
            rows, _ = self._database.view(companion_of(design), INDEX, **all_of(HELD))
        except NoSuchView:
            return counts
        return counts | {State.HELD: rows[0]["value"] if rows else 0}

    def check(self, *, mend: bool) -> list[Problem]:
        """Views of the pool that are missing, or not as this version has them; `complete` makes them."""
        wanted = {doc["_id"]: doc["views"] for doc in (views_of(MONITOR), companion_views(MONITOR))}
        problems = []
        for doc_id, views in wanted.items():
            stored = (self._database.doc(doc_id) or {}).get("views", {})
            missing = [name for name in views if name not in stored]
            if missing:
                problems.append(Problem(text=f"{doc_id} has no view {', '.join(missing)}", mended=mend))
        if problems and mend:
            self.complete()
        return problems

    def _lengths(self, design: str) -> dict[str, int]:
        """Counts of a design document that has no ``overview_total``, from those of the views that it has."""
        found, missing = {}, None
        for name in (state for state in State if state is not State.HELD):
            try:
                _, about = self._database.view(design, str(name), limit=0, reduce=False)
                found[str(name)] = int(about.get("total_rows") or 0)
            except NoSuchView as error:
                missing = error
        if missing is not None and not found and self._database.doc(f"{_DESIGN}{design}") is None:
            raise missing
        return found

    def _rows(self, view: View | None, last: list[Any] | None, limit: int) -> list[dict[str, Any]]:
        params: dict[str, Any] = {"limit": limit + 1 if last else limit, "include_docs": True}
        if view is None:
            rows = self._database.all_docs(**params, **({"startkey": last[1]} if last else {}))
        else:
            if last:
                params |= {"startkey": last[0], "startkey_docid": last[1]}
            rows = self._of_view(view, params)
        return [row for row in rows if last is None or row["id"] != last[1]][:limit]

    def _of_view(self, view: View, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        kind = _KINDS.get(view.state) if not view.name else None
        if kind is not None and (kind != TODO or self.has_index(view.design)):
            try:
                asked = {**all_of(kind), **params, "reduce": False}
                return self._database.view(companion_of(view.design), INDEX, **asked)[0]
            except NoSuchView:
                if view.state is State.HELD and self._database.doc(f"{_DESIGN}{view.design}") is not None:
                    return []
        return self._database.view(view.design, view.in_design(), reduce=False, **params)[0]

    def _store(self, doc: Mapping[str, Any]) -> None:
        for _ in range(_TRIES):
            stored = self._database.doc(doc["_id"]) or {}
            new = {**doc, **({"_rev": stored["_rev"]} if stored else {})}
            if stored == new or self._database.put(new):
                return
        raise Conflict(f"{doc['_id']} does not stop changing", hint="try again")


def _written(design: Design) -> dict[str, Any]:
    views = {name: dict(parts) for name, parts in (design.javascript or {}).items()}
    return {"_id": f"{_DESIGN}{design.name}", "language": "javascript", "views": views}


def _place(cursor: str | None) -> list[Any] | None:
    if cursor is None:
        return None
    try:
        key, doc_id = json.loads(cursor)
    except (ValueError, TypeError, RecursionError):
        raise UsageError(f"{cursor!r:.80} is no cursor of this store") from None
    if not isinstance(doc_id, str):
        raise UsageError(f"{cursor!r:.80} is no cursor of this store")
    return [key, doc_id]
