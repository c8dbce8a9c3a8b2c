"""Documents as rows: the one way in and out of the table ``tokens``, so that no derived column can be stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from picas import lifecycle, tokens
from picas.lifecycle import Doc, State
from picas.stores.derived import STATES, columns, new_document, next_rev, read, state_numbered
from picas.stores.sqlite.connection import Sql

__all__ = ["Changes", "add", "release_dependents", "remove", "replace", "stage_values", "start_waiting"]

_DONE, _HELD = STATES[State.DONE], STATES[State.HELD]

_INSERT = "INSERT INTO tokens (id, rev, state, rank, not_before, pilot, requires, doc) VALUES (?,?,?,?,?,?,?,?)"
_UPDATE = "UPDATE tokens SET rev=?, state=?, rank=?, not_before=?, pilot=?, requires=?, doc=? WHERE seq=?"
_UNMET = """SELECT count(*) FROM waits w LEFT JOIN tokens t ON t.id = w.needs
            WHERE w.seq = ? AND coalesce(t.state, 0) <> 3"""


def stage_values(doc: Doc, *, as_given: bool = False) -> tuple[Any, ...]:
    """A new document as the values of its row; InvalidToken when it breaks a rule."""
    new, text = new_document(doc, as_given=as_given)
    return (new["_id"], new["_rev"], *columns(new), text)


def add(sql: Sql, doc: Doc, *, as_given: bool = False) -> str | None:
    """Insert a new document; its revision, or None when the id exists."""
    values = stage_values(doc, as_given=as_given)
    if sql.execute("SELECT 1 FROM tokens WHERE id=?", (values[0],)).fetchone():
        return None
    sql.execute(_INSERT, values)
    seq = sql.last_insert_rowid()
    if values[2] == STATES[State.HELD]:
        start_waiting(sql, seq, doc)
    elif values[2] == STATES[State.DONE]:
        release_dependents(sql, values[0])
    row = sql.execute("SELECT rev FROM tokens WHERE seq=?", (seq,)).fetchone()
    return str(row[0])


def start_waiting(sql: Sql, seq: int, doc: Mapping[str, Any]) -> Doc | None:
    """Note what a held token waits for; it is made ready at once when all of that is done, and then returned."""
    needs = lifecycle.awaited(doc)
    if not needs:
        return None
    sql.executemany("INSERT OR IGNORE INTO waits (needs, seq) VALUES (?, ?)", [(need, seq) for need in needs])
    return _release_if_met(sql, seq)


def replace(sql: Sql, seq: int, old: State | None, doc: Doc, *, checked: bool = False) -> Doc:
    """Write a changed document under a new revision, with all that follows from its state; what was stored.

    ``checked`` spares the rules a second look at a document that was read from the store and changed by us only.
    """
    doc = {**doc, "_rev": next_rev(doc["_rev"])}
    text = tokens.dumps(doc) if checked else tokens.encode(doc)
    derived = columns(doc)
    sql.execute(_UPDATE, (doc["_rev"], *derived, text, seq))
    new = state_numbered(derived[0])
    if new is State.DONE and old is not State.DONE:
        release_dependents(sql, doc["_id"])
    if old is State.HELD:
        sql.execute("DELETE FROM waits WHERE seq=?", (seq,))
    if new is State.HELD:
        return start_waiting(sql, seq, doc) or doc
    return doc


class Changes:
    """Locked tokens that change, gathered to be written at once. What is written then was read and changed by us."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._values: list[tuple[Any, ...]] = []
        self._done: list[str] = []
        self._held: list[tuple[int, Doc]] = []

    def add(self, seq: int, doc: Doc, *, unsized: bool) -> Doc:
        """Take in a document of ours, which gets a new revision; InvalidToken when it is ``unsized`` and too large."""
        doc["_rev"] = next_rev(doc["_rev"])
        text = tokens.dumps(doc)
        if unsized:
            tokens.sized(text, doc["_id"])
        derived = columns(doc)
        self._values.append((doc["_rev"], *derived, text, seq))
        if derived[0] == _DONE:
            self._done.append(doc["_id"])
        elif derived[0] == _HELD:
            self._held.append((seq, doc))
        return doc

    def write(self) -> None:
        """Write them, with all that follows from their states; one that was let go at once is then as it is stored."""
        self._sql.executemany(_UPDATE, self._values)
        for seq, doc in self._held:
            start_waiting(self._sql, seq, doc)
        if self._done and self._sql.execute("SELECT 1 FROM waits LIMIT 1").fetchone():
            for token_id in self._done:
                release_dependents(self._sql, token_id)
        for seq, doc in self._held:
            stored = read(self._sql.execute("SELECT doc FROM tokens WHERE seq=?", (seq,)).fetchone()[0])
            doc.clear()
            doc.update(stored)


def remove(sql: Sql, seq: int) -> None:
    """Delete a document with its files and what it waits for."""
    sql.execute("DELETE FROM chunks WHERE file IN (SELECT file FROM files WHERE token=?)", (seq,))
    sql.execute("DELETE FROM files WHERE token=?", (seq,))
    sql.execute("DELETE FROM waits WHERE seq=?", (seq,))
    sql.execute("DELETE FROM tokens WHERE seq=?", (seq,))


def release_dependents(sql: Sql, token_id: str) -> None:
    """Make ready every held token that waited for this one last."""
    for (seq,) in sql.execute("SELECT seq FROM waits WHERE needs=?", (token_id,)).fetchall():
        _release_if_met(sql, seq)


def _release_if_met(sql: Sql, seq: int) -> Doc | None:
    if sql.execute(_UNMET, (seq,)).fetchone()[0]:
        return None
    doc = read(sql.execute("SELECT doc FROM tokens WHERE seq=?", (seq,)).fetchone()[0])
    return replace(sql, seq, State.HELD, lifecycle.ready(doc), checked=True)
