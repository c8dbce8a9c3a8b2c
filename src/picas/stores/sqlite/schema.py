"""The tables of a SQLite pool, as numbered migrations; ``PRAGMA user_version`` says how many were applied.

A token is its JSON document (``doc``, with ``_id`` and ``_rev``); every other column is derived from it, for the
indexes. ``waits`` has a row for each id that a held token waits for. A file of up to `INLINE_BYTES` lies in
``files.data``, a larger one in ``chunks``; a file without ``token`` is being written. ``meta`` has the row ``pause``
while the pool is paused. ``followers`` has a row for each running token whose output somebody follows, ``tails`` what
its pilot sent of it.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "MIGRATIONS"]

APPLICATION_ID = 0x50694361
"""``PiCa``, in the header of the file, so that file(1) and we know whose it is."""

MIGRATIONS = (
    """
    CREATE TABLE tokens (
        seq        INTEGER PRIMARY KEY,
        id         TEXT NOT NULL UNIQUE,
        rev        TEXT NOT NULL,
        state      INTEGER NOT NULL,
        rank       INTEGER NOT NULL,
        not_before REAL,
        pilot      TEXT,
        requires   TEXT,
        doc        TEXT NOT NULL
    ) STRICT;
    CREATE INDEX tokens_by_state ON tokens (state, rank, seq);
    CREATE INDEX tokens_by_pilot ON tokens (pilot) WHERE pilot IS NOT NULL;
    CREATE TABLE waits (
        needs TEXT NOT NULL,
        seq   INTEGER NOT NULL,
        PRIMARY KEY (needs, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX waits_by_seq ON waits (seq);
    CREATE TABLE files (
        file    INTEGER PRIMARY KEY AUTOINCREMENT,
        token   INTEGER,
        name    TEXT NOT NULL,
        made_at REAL NOT NULL,
        data    BLOB
    ) STRICT;
    CREATE UNIQUE INDEX files_by_token ON files (token, name);
    CREATE TABLE chunks (
        file   INTEGER NOT NULL,
        number INTEGER NOT NULL,
        data   BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX chunks_by_file ON chunks (file, number);
    CREATE TABLE pilots (
        id      TEXT PRIMARY KEY,
        record  TEXT NOT NULL,
        beat_at REAL NOT NULL,
        boot    TEXT NOT NULL,
        orders  TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE designs (
        name     TEXT PRIMARY KEY,
        selector TEXT
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE followers (
        pilot TEXT NOT NULL,
        token TEXT NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (pilot, token)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tails (
        pilot TEXT PRIMARY KEY,
        tails TEXT NOT NULL
    ) STRICT;
    """,
)
