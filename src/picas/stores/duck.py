"""Claiming and saving on any PiCaS-shaped database object: mocks, subclasses, the client of the old package.

Such an object knows revisions only. A claim is safe all the same: the token is locked in the revision that was
found to be todo, so that of two pilots one has a conflict. What was claimed carries the same ``fence`` and
``claim`` as in other stores, by which a result is known to be still wanted.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import random
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from picas.documents import Document, Task
from picas.errors import Conflict
from picas.lifecycle import Doc, Edit, fence_of
from picas.stores.base import Capabilities

__all__ = ["Changes", "Database", "DuckStore", "changes_between", "couchdb_error", "jitter", "refill"]

log = logging.getLogger(__name__)

_WINDOW = 100
"""Tokens at the head of a view among which one is picked at random: pilots that start at once rarely meet."""
_SUSPICIOUS = 20
_SAVES = 20
_META = frozenset({"_id", "_rev", "_attachments"})


class Database(Protocol):
    """What is asked of a database object; anything else it can do is left alone."""

    def get_single_from_view(self, view: str, /, **params: Any) -> Any: ...
    def get(self, doc_id: str, /) -> Any: ...
    def save(self, doc: Any, /) -> Any: ...
    def copy(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a program did to a document: fields, inline attachments it added, names of those it removed."""

    edit: Edit
    attached: Mapping[str, Mapping[str, Any]]
    detached: frozenset[str]


class DuckStore:
    """The two steps of a pilot on a database object. ``stopped`` ends a claim that keeps meeting other pilots."""

    capabilities = Capabilities(
        durable=False,
        shared=True,
        atomic_load=False,
        note="durable if the database object is; claims are kept apart by revisions, and have no lease",
    )

    def __init__(
        self,
        database: Database,
        *,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.database = database
        self._stopped = stopped
        self._pause = pause

    def claim(self, view: str, pilot: str, **params: Any) -> Task:
        """A token of the view, locked and saved. IndexError when the view is empty, or when told to stop."""
        failures = 0
        while not self._stopped():
            task = self._claim(view, pilot, params)
            if task is not None:
                return task
            failures += 1
            if failures == _SUSPICIOUS:
                log.warning("view %s gave %d tokens in a row that were not todo any more", view, failures)
            self._pause(jitter(failures))
        raise IndexError(f"told to stop while claiming from view {view}")

    def settle(self, claimed: Doc, task: Task) -> bool:
        """Save a task that was claimed as ``claimed``; False, said in the log, when its result is superseded.

        After a conflict the changes are applied to the document as it is now, if the claim is still in force.
        """
        changes = changes_between(claimed, task.value)
        task.value.pop("claim", None)
        for failures in range(1, _SAVES + 1):
            try:
                self.database.save(task)
            except _conflicts() as conflict:
                current = self._current(task.id)
                if current is None or not _is_in_force(claimed, current):
                    log.warning("token %s is no longer this pilot's, result superseded: %s", task.id, conflict)
                    return False
                refill(task.value, _applied(changes, current))
            else:
                return True
            self._pause(jitter(failures))
        log.error("token %s changed %d times while its result was saved, result dropped", task.id, _SAVES)
        return False

    def _claim(self, view: str, pilot: str, params: Mapping[str, Any]) -> Task | None:
        """None when somebody else had the token first; its view was behind, or the save conflicted."""
        found = self.database.get_single_from_view(view, window_size=_WINDOW, **params)
        # A copy: an object in memory may give its own dict, which must stay as it is if the save fails.
        task = Task(deepcopy(found.value))
        if task.value.get("lock") or task.value.get("done"):
            return None
        fence = fence_of(task.value) + 1
        task.lock().update({"fence": fence, "claim": {"fence": fence, "pilot": pilot, "at": task["lock"]}})
        try:
            saved = self.database.save(task)
        except _conflicts():
            return None
        return Task(saved) if isinstance(saved, Document) else task

    def _current(self, token_id: str) -> Doc | None:
        missing: tuple[type[Exception], ...] = (KeyError, ValueError, *_known("ResourceNotFound"))
        try:
            found: Doc = self.database.get(token_id).value
        except missing:
            return None
        return deepcopy(found)


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """The difference of two states of a document, whose claim is over with it."""
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    gone = {name for name in before if name not in after}
    files, old_files = after.get("_attachments") or {}, before.get("_attachments") or {}
    return Changes(
        edit=Edit(
            changes={name: value for name, value in changed.items() if name not in _META and name != "claim"},
            removed=frozenset(gone - _META | {"claim"}),
        ),
        # With a digest it came from the database, however its bytes got here.
        attached={name: entry for name, entry in files.items() if "data" in entry and "digest" not in entry},
        detached=frozenset(old_files) - frozenset(files),
    )


@cache
def couchdb_error(name: str) -> type[Exception] | None:
    """An exception class of the ``couchdb`` package, which programs catch; None where it is not installed."""
    try:
        if importlib.util.find_spec("couchdb") is None:
            return None
        found: type[Exception] = getattr(importlib.import_module("couchdb.http"), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found


def jitter(failures: int) -> float:
    """Seconds to pause after so many conflicts: full jitter below min(5 ms * 2**failures, 0.5 s)."""
    return random.uniform(0.0, min(0.005 * float(2 ** min(failures, 10)), 0.5))


def _conflicts() -> tuple[type[Exception], ...]:
    return (Conflict, *_known("ResourceConflict"))


def _known(name: str) -> tuple[type[Exception], ...]:
    found = couchdb_error(name)
    return (found,) if found else ()


def _is_in_force(claimed: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Whether nobody else has locked, closed or reset the token since; a person's other changes do not matter."""
    names = ("lock", "done", "hostname", "claim")
    return bool(claimed.get("lock")) and all(claimed.get(name) == current.get(name) for name in names)


def _applied(changes: Changes, current: Doc) -> Doc:
    new = {**current, **changes.edit.changes}
    files = {**(current.get("_attachments") or {}), **changes.attached}
    kept = {name: entry for name, entry in files.items() if name not in changes.detached}
    if kept or "_attachments" in current:
        new["_attachments"] = kept
    return {name: value for name, value in new.items() if name not in changes.edit.removed}


def refill(doc: Doc, content: Doc) -> None:
    """Give a dict that programs hold a new content."""
    doc.clear()
    doc.update(content)
