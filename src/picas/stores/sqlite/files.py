"""Attachments: small ones in one row, large ones in chunks, written before they become visible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from picas import tokens
from picas.lifecycle import Doc
from picas.stores.base import Attachment
from picas.stores.inline import inline, stub
from picas.stores.sqlite.connection import Database, Sql

__all__ = ["CHUNK_BYTES", "attach", "detach", "link", "read", "take_inline", "write_pending"]

CHUNK_BYTES = 1 << 20
_CHUNKS_PER_COMMIT = 8


def attach(sql: Sql, seq: int, doc: Doc, name: str, attachment: Attachment, now: float) -> Doc:
    """Store a file within the transaction; the document with its stub."""
    tokens.check_attachment_name(name)
    data = attachment.data if attachment.data is not None else Path(attachment.path or "").read_bytes()
    if name in doc.get("_attachments", {}):
        _drop(sql, seq, name)
    head = data if len(data) <= CHUNK_BYTES else None
    sql.execute("INSERT INTO files (token, name, made_at, data) VALUES (?,?,?,?)", (seq, name, now, head))
    if head is None:
        _write_chunks(sql, sql.last_insert_rowid(), 0, _split(data))
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return _with_stub(doc, name, stub(doc.get("_rev"), attachment.content_type, len(data), digest))


def take_inline(sql: Sql, seq: int, doc: Doc, now: float) -> Doc:
    """The document with files given inline (``data`` in base64, as in CouchDB) stored, and stubs in their place."""
    if not doc.get("_attachments"):
        return doc
    stored = {name for (name,) in sql.execute("SELECT name FROM files WHERE token=?", (seq,))}
    for name, found in inline(doc, stored).items():
        if found is not None:
            doc = attach(sql, seq, doc, name, Attachment(content_type=found[0], data=found[1]), now)
    return doc


def drop_unlisted(sql: Sql, seq: int, doc: Doc) -> None:
    """Delete the files of a token that its document no longer lists."""
    listed = doc.get("_attachments", {})
    for (name,) in sql.execute("SELECT name FROM files WHERE token=?", (seq,)).fetchall():
        if name not in listed:
            _drop(sql, seq, name)


def write_pending(db: Database, data: IO[bytes], now: float) -> tuple[int, int, bytes]:
    """Store a stream as a file that belongs to nobody yet; its number, length and MD5.

    Several short transactions, so that pilots are not kept waiting; one that dies here leaves a file without a
    token, which `picas pool check` removes.
    """
    with db.transaction() as sql:
        sql.execute("INSERT INTO files (token, name, made_at) VALUES (NULL, '', ?)", (now,))
        file = sql.last_insert_rowid()
    digest, length, number = hashlib.md5(usedforsecurity=False), 0, 0
    while chunks := [chunk for _ in range(_CHUNKS_PER_COMMIT) if (chunk := data.read(CHUNK_BYTES))]:
        for chunk in chunks:
            digest.update(chunk)
            length += len(chunk)
        with db.transaction() as sql:
            _write_chunks(sql, file, number, chunks)
        number += len(chunks)
    return file, length, digest.digest()


def link(sql: Sql, seq: int, doc: Doc, file: int, name: str, about: dict[str, Any]) -> Doc:
    """Give a pending file to a token under a name; the document with its stub."""
    _drop(sql, seq, name)
    sql.execute("UPDATE files SET token=?, name=? WHERE file=?", (seq, name, file))
    return _with_stub(doc, name, about)


def detach(sql: Sql, seq: int, doc: Doc, name: str) -> Doc:
    """The document without a file, which is deleted."""
    _drop(sql, seq, name)
    rest = {key: value for key, value in doc["_attachments"].items() if key != name}
    new = {key: value for key, value in doc.items() if key != "_attachments"}
    return {**new, "_attachments": rest} if rest else new


def read(db: Database, token_id: str, name: str) -> Iterator[bytes]:
    """A file's bytes in chunks; KeyError at once when there is none."""
    query = "SELECT file, data FROM files JOIN tokens ON seq = token WHERE id=? AND name=?"
    row = db.one(query, token_id, name)
    if row is None:
        raise KeyError(name)
    return iter([row[1]]) if row[1] is not None else _read_chunks(db, row[0])


def _read_chunks(db: Database, file: int) -> Iterator[bytes]:
    number = 0
    while row := db.one("SELECT data FROM chunks WHERE file=? AND number=?", file, number):
        yield row[0]
        number += 1


def _write_chunks(sql: Sql, file: int, first: int, chunks: list[bytes]) -> None:
    values = [(file, number, chunk) for number, chunk in enumerate(chunks, first)]
    sql.executemany("INSERT INTO chunks (file, number, data) VALUES (?,?,?)", values)


def _split(data: bytes) -> list[bytes]:
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def _drop(sql: Sql, seq: int, name: str) -> None:
    row = sql.execute("DELETE FROM files WHERE token=? AND name=? RETURNING file, data IS NULL", (seq, name)).fetchone()
    if row and row[1]:
        sql.execute("DELETE FROM chunks WHERE file=?", (row[0],))


def _with_stub(doc: Doc, name: str, about: dict[str, Any]) -> Doc:
    return {**doc, "_attachments": {**doc.get("_attachments", {}), name: about}}
