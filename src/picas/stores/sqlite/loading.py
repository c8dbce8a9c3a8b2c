"""Adding any number of documents at once: read into a temporary table first, then added in one transaction.

The pool's write lock is held only for the second part, so that slow input (a pipe, say) keeps no pilot waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from picas.errors import InvalidToken
from picas.lifecycle import Doc, State
from picas.stores.base import Loaded
from picas.stores.derived import STATES, columns, new_document, read
from picas.stores.sqlite import rows
from picas.stores.sqlite.connection import Database, Sql

__all__ = ["load"]

_STAGE = """CREATE TEMP TABLE staged (number INTEGER PRIMARY KEY, id TEXT UNIQUE, rev TEXT, state INTEGER,
            rank INTEGER, not_before REAL, pilot TEXT, requires TEXT, doc TEXT)"""
_COLUMNS = "id, rev, state, rank, not_before, pilot, requires, doc"


def load(db: Database, docs: Iterable[Doc]) -> Loaded:
    """Add all documents or, when one is refused or the iterator raises, none."""
    with db.translated():
        db.sql.execute("DROP TABLE IF EXISTS temp.staged")
        db.sql.execute(_STAGE)
    try:
        staged = _stage(db, docs)
        with db.transaction() as sql:
            added = _add(sql)
        return Loaded(added=added, existing=staged - added)
    finally:
        with db.translated():
            db.sql.execute("DROP TABLE IF EXISTS temp.staged")


def _stage(db: Database, docs: Iterable[Doc]) -> int:
    insert = f"INSERT INTO temp.staged ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"
    reader = _Reader(docs)
    with db.translated():
        db.sql.execute("BEGIN")
        try:
            db.sql.executemany(insert, reader)
        except apsw.ConstraintError:
            raise InvalidToken(f"id {reader.last_id!r} stands twice in the input") from None
        finally:
            db.sql.execute("COMMIT")
    return reader.count


def _add(sql: Sql) -> int:
    sql.execute(
        f"INSERT INTO tokens ({_COLUMNS}) SELECT {_COLUMNS} FROM temp.staged WHERE true "
        "ORDER BY number ON CONFLICT (id) DO NOTHING"
    )
    added = int(sql.changes())
    query = """SELECT t.seq, t.id, t.doc, t.state FROM temp.staged s JOIN tokens t ON t.id = s.id AND t.rev = s.rev
               WHERE s.state IN (?, ?)"""
    held, done = STATES[State.HELD], STATES[State.DONE]
    for seq, token_id, text, state in sql.execute(query, (held, done)).fetchall():
        if state == held:
            rows.start_waiting(sql, seq, read(text))
        else:
            rows.release_dependents(sql, token_id)
    return added


class _Reader:
    """The rows of documents as they come, counted, so that the last one can be named."""

    def __init__(self, docs: Iterable[Doc]) -> None:
        self._docs = docs
        self.count = 0
        self.last_id = ""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for doc in self._docs:
            if "_attachments" in doc:
                raise InvalidToken(f"token {doc.get('_id')}: attachments are added one by one, not with the tokens")
            new, text = new_document(doc if "_rev" not in doc else {name: doc[name] for name in doc if name != "_rev"})
            self.last_id = new["_id"]
            yield (self.last_id, new["_rev"], *columns(new), text)
            self.count += 1
