"""Documents as rows: the one way in and out of the table ``tokens``, so that no derived column can be stale."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from typing import Any

from picas import lifecycle, tokens
from picas.errors import StoreFailure
from picas.lifecycle import Doc, State, state_of
from picas.stores.sqlite.connection import RESTORE, Sql

__all__ = [
    "STATES",
    "add",
    "columns",
    "next_rev",
    "read",
    "release_dependents",
    "remove",
    "replace",
    "stage_values",
    "start_waiting",
]

STATES = {None: 0, State.TODO: 1, State.LOCKED: 2, State.DONE: 3, State.ERROR: 4, State.HELD: 5}

_BY_NUMBER = {number: state for state, number in STATES.items()}

_random_bits = random.Random(os.urandom(32)).getrandbits  # one that asks the kernel each time is slow

_INSERT = "INSERT INTO tokens (id, rev, state, rank, not_before, pilot, requires, doc) VALUES (?,?,?,?,?,?,?,?)"
_UPDATE = "UPDATE tokens SET rev=?, state=?, rank=?, not_before=?, pilot=?, requires=?, doc=? WHERE seq=?"
_UNMET = """SELECT count(*) FROM waits w LEFT JOIN tokens t ON t.id = w.needs
            WHERE w.seq = ? AND coalesce(t.state, 0) <> 3"""


def next_rev(rev: str | None) -> str:
    """The revision after ``rev``: its number plus one, and 64 random bits, so that none ever comes again."""
    number = int(rev.partition("-")[0]) + 1 if rev else 1
    return f"{number}-{_random_bits(64):016x}"


def columns(doc: Mapping[str, Any]) -> tuple[Any, ...]:
    """The derived columns of a document: state, rank, not_before, pilot, requires."""
    state = state_of(doc)
    priority, requires, not_before = doc.get("priority", 0), doc.get("requires"), doc.get("not_before")
    claim = doc.get("claim") if state is State.LOCKED else None
    return (
        STATES[state],
        -priority if type(priority) is int else 0,
        float(not_before) if isinstance(not_before, (int, float)) else None,
        claim.get("pilot") if isinstance(claim, Mapping) and isinstance(claim.get("pilot"), str) else None,
        json.dumps(requires, sort_keys=True) if requires else None,
    )


def read(text: str) -> Doc:
    """A document from its row."""
    try:
        doc: Doc = tokens.parse(text)
    except ValueError as error:
        raise StoreFailure(f"a document of the pool is damaged: {error}", hint=RESTORE) from None
    return doc


def stage_values(doc: Doc, *, as_given: bool = False) -> tuple[Any, ...]:
    """A new document as the values of its row; InvalidToken when it breaks a rule."""
    if as_given:
        tokens.check_id(doc.get("_id"))
    else:
        tokens.check(doc)
    new = {**doc} if as_given else lifecycle.put(doc)
    new["_rev"] = next_rev(None)
    return (new["_id"], new["_rev"], *columns(new), tokens.encode(new))


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


def start_waiting(sql: Sql, seq: int, doc: Mapping[str, Any]) -> None:
    """Note what a held token waits for; it is made ready at once when all of that is done."""
    needs = doc.get("after")
    if not isinstance(needs, list) or not needs:
        return
    sql.executemany("INSERT OR IGNORE INTO waits (needs, seq) VALUES (?, ?)", [(str(need), seq) for need in needs])
    _release_if_met(sql, seq)


def replace(sql: Sql, seq: int, old: State | None, doc: Doc, *, checked: bool = False) -> Doc:
    """Write a changed document under a new revision, with all that follows from its state; what was stored.

    ``checked`` spares the rules a second look at a document that was read from the store and changed by us only.
    """
    doc = {**doc, "_rev": next_rev(doc["_rev"])}
    text = tokens.dumps(doc) if checked else tokens.encode(doc)
    derived = columns(doc)
    sql.execute(_UPDATE, (doc["_rev"], *derived, text, seq))
    new = _BY_NUMBER[derived[0]]
    if new is State.DONE and old is not State.DONE:
        release_dependents(sql, doc["_id"])
    if old is State.HELD and new is not State.HELD:
        sql.execute("DELETE FROM waits WHERE seq=?", (seq,))
    elif new is State.HELD and old is not State.HELD:
        start_waiting(sql, seq, doc)
    return doc


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


def _release_if_met(sql: Sql, seq: int) -> None:
    if sql.execute(_UNMET, (seq,)).fetchone()[0]:
        return
    doc = read(sql.execute("SELECT doc FROM tokens WHERE seq=?", (seq,)).fetchone()[0])
    replace(sql, seq, State.HELD, lifecycle.ready(doc), checked=True)
