"""What can be wrong with a pool file, and mending what cannot do harm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from picas.stores.base import Problem
from picas.stores.derived import columns, read
from picas.stores.sqlite import rows
from picas.stores.sqlite.connection import Database

__all__ = ["check"]

_ABANDONED_AFTER = 86400.0
_PAGE = 5000
_ROWS = """SELECT seq, id, rev, state, rank, not_before, pilot, requires, doc FROM tokens
    WHERE seq > ? ORDER BY seq LIMIT ?"""


def check(db: Database, *, mend: bool) -> list[Problem]:
    """SQLite's own check of the file; then columns against documents, waits, files and stubs against each other."""
    damage = [Problem(text=f"SQLite: {row[0]}") for row in db.rows("PRAGMA integrity_check(20)") if row[0] != "ok"]
    if damage:
        return damage
    return [*_columns(db, mend=mend), *_orphans(db, mend=mend), *_missing(db)]


def _columns(db: Database, *, mend: bool) -> Iterator[Problem]:
    seq = -1
    while found := db.rows(_ROWS, seq, _PAGE):
        for seq, token_id, rev, *derived, text in found:
            doc = read(text)
            if (token_id, rev, *derived) == (doc["_id"], doc["_rev"], *columns(doc)):
                continue
            if mend:
                with db.transaction() as sql:
                    rows.replace(sql, seq, None, doc, checked=True)
            yield Problem(text=f"token {token_id}: an index column disagrees with the document", mended=mend)


def _orphans(db: Database, *, mend: bool) -> Iterator[Problem]:
    old = time.time() - _ABANDONED_AFTER
    condition = "(token IS NULL AND made_at < ?) OR (token NOT NULL AND token NOT IN (SELECT seq FROM tokens))"
    found = [row[0] for row in db.rows(f"SELECT file FROM files WHERE {condition}", old)]
    loose = db.one("SELECT count(*) FROM chunks WHERE file NOT IN (SELECT file FROM files)")[0]
    stale = db.one("SELECT count(*) FROM waits WHERE seq NOT IN (SELECT seq FROM tokens WHERE state=5)")[0]
    if mend and (found or loose or stale):
        with db.transaction() as sql:
            sql.executemany("DELETE FROM files WHERE file=?", [(file,) for file in found])
            sql.execute("DELETE FROM chunks WHERE file NOT IN (SELECT file FROM files)")
            sql.execute("DELETE FROM waits WHERE seq NOT IN (SELECT seq FROM tokens WHERE state=5)")
    for number, what in ((len(found), "files"), (loose, "pieces of files"), (stale, "waits")):
        if number:
            yield Problem(text=f"{number} {what} belong to no token", mended=mend)


def _missing(db: Database) -> Iterator[Problem]:
    query = """SELECT t.id, a.key FROM tokens t, json_each(t.doc, '$._attachments') a
               WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.token = t.seq AND f.name = a.key)"""
    for token_id, name in db.rows(query):
        yield Problem(text=f"token {token_id}: attachment {json.dumps(name)} is listed but not there")
