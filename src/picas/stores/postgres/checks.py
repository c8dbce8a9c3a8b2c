"""What can be wrong with a pool's tables, and mending what cannot do harm."""

from __future__ import annotations

import json
from collections.abc import Iterator

from picas.lifecycle import State
from picas.stores.base import Problem
from picas.stores.derived import STATES, columns, read, state_numbered
from picas.stores.postgres import rows
from picas.stores.postgres.connection import Database, Sql

__all__ = ["check"]

_PAGE = 5000
_ROWS = """SELECT id, rev, state, rank, not_before, pilot, requires, doc::text FROM @tokens
    WHERE id > %s ORDER BY id LIMIT %s"""
_LOOSE = {
    "files": """@files f WHERE (token IS NULL AND made_at < clock_timestamp() - interval '1 day')
        OR (token IS NOT NULL AND NOT EXISTS (SELECT FROM @tokens t WHERE t.id = f.token))""",
    "pieces of files": "@chunks c WHERE NOT EXISTS (SELECT FROM @files f WHERE f.file = c.file)",
    "waits": "@waits w WHERE NOT EXISTS (SELECT FROM @tokens t WHERE t.id = w.id AND t.state = 5)",
}
_STUCK = """SELECT t.id FROM @tokens t WHERE t.state = 5 AND EXISTS (SELECT FROM @waits w WHERE w.id = t.id)
    AND NOT EXISTS (SELECT FROM @waits w LEFT JOIN @tokens o ON o.id = w.needs
        WHERE w.id = t.id AND o.state IS DISTINCT FROM 3)"""
_MISSING = """SELECT t.id, a.name FROM @tokens t, LATERAL json_object_keys(t.doc -> '_attachments') AS a (name)
    WHERE t.doc::jsonb ? '_attachments'
    AND NOT EXISTS (SELECT FROM @files f WHERE f.token = t.id AND f.name = a.name)"""
_COUNTS = "SELECT state, count(*) FROM @tokens GROUP BY state"


def check(db: Database, *, mend: bool) -> list[Problem]:
    """Columns against documents, waits, files and stubs against each other, kept counts against rows."""
    return [
        *_columns(db, mend=mend),
        *_loose(db, mend=mend),
        *_stuck(db, mend=mend),
        *_missing(db),
        *_counts(db, mend=mend),
    ]


def _columns(db: Database, *, mend: bool) -> Iterator[Problem]:
    last = ""
    while found := db.rows(_ROWS, last, _PAGE):
        for token_id, rev, *derived, text in found:
            last = token_id
            doc = read(text)
            if (token_id, rev, *derived) == (doc["_id"], doc["_rev"], *columns(doc)):
                continue
            if mend and token_id == doc["_id"]:
                db.write(lambda sql, old=derived[0], new=doc: rows.replace(sql, [(old, new)], checked=True))  # type: ignore[misc]
            yield Problem(text=f"token {token_id}: an index column disagrees with the document", mended=mend)


def _loose(db: Database, *, mend: bool) -> Iterator[Problem]:
    for what, rest in _LOOSE.items():
        (number,) = db.write(lambda sql, rest=rest: sql.one(f"SELECT count(*) FROM {rest}"), patience=None)  # type: ignore[misc]
        if number and mend:
            db.write(lambda sql, rest=rest: sql.run(f"DELETE FROM {rest}"), patience=None)  # type: ignore[misc]
        if number:
            yield Problem(text=f"{number} {what} belong to no token", mended=mend)


def _stuck(db: Database, *, mend: bool) -> Iterator[Problem]:
    """What a process left that died between adding a token and looking whether what it waits for is done."""
    found = [row[0] for row in db.write(lambda sql: sql.rows(_STUCK), patience=None)]
    for start in range(0, len(found) if mend else 0, _PAGE):
        part = found[start : start + _PAGE]
        db.write(lambda sql, part=part: rows.recheck(sql, part, []))  # type: ignore[misc]
    for token_id in found:
        yield Problem(text=f"token {token_id}: it is held, and what it waits for is done", mended=mend)


def _missing(db: Database) -> Iterator[Problem]:
    for token_id, name in db.write(lambda sql: sql.rows(_MISSING), patience=None):
        yield Problem(text=f"token {token_id}: attachment {json.dumps(name)} is listed but not there")


def _counts(db: Database, *, mend: bool) -> Iterator[Problem]:
    def compare(sql: Sql) -> list[tuple[State | None, int, int]]:
        # No token changes meanwhile: the lock is one that writers wait for and readers do not.
        sql.run("LOCK TABLE @tokens IN SHARE MODE")
        kept, found = rows.counts(sql), dict(sql.rows(_COUNTS))
        wrong = {number: found.get(number, 0) - kept[number] for number in STATES.values()}
        if mend:
            rows.note(sql, rows.Tally(wrong))
            sql.wakes = False
        return [(state_numbered(n), kept[n], found.get(n, 0)) for n, by in wrong.items() if by]

    for state, kept, found in db.write(compare, patience=None):
        yield Problem(text=f"{kept} tokens are counted as {state or 'no token'}, there are {found}", mended=mend)
