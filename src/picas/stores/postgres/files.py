"""Attachments: small ones in one row, large ones in chunks, written before they become visible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from picas.lifecycle import Doc
from picas.stores.base import Attachment
from picas.stores.inline import inline, stub
from picas.stores.postgres.connection import Database, Sql

__all__ = ["CHUNK_BYTES", "add", "drop", "drop_unlisted", "link", "read", "take_inline", "with_stubs", "write_pending"]

CHUNK_BYTES = 1 << 20

_ADD = """INSERT INTO @files (token, name, data)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[]) RETURNING file, name, token"""
_CHUNK = "INSERT INTO @chunks (file, number, data) VALUES (%s, %s, %b)"
_DROP = """WITH gone AS (DELETE FROM @files WHERE token = %s AND name = %s RETURNING file)
    DELETE FROM @chunks WHERE file IN (SELECT file FROM gone)"""


def add(sql: Sql, found: Iterable[tuple[str, Mapping[str, Attachment]]]) -> None:
    """Store new files of tokens, within the transaction; none of these names may be there."""
    data = [(token, name, _bytes(file)) for token, files in found for name, file in files.items()]
    small = [one for one in data if len(one[2]) <= CHUNK_BYTES]
    if small:
        sql.run(_ADD, *map(list, zip(*small, strict=True)))
    for token, name, content in data:
        if len(content) > CHUNK_BYTES:
            (file,) = sql.one("INSERT INTO @files (token, name) VALUES (%s, %s) RETURNING file", token, name)
            for number, start in enumerate(range(0, len(content), CHUNK_BYTES)):
                sql.run(_CHUNK, file, number, content[start : start + CHUNK_BYTES])


def with_stubs(doc: Doc, files: Mapping[str, Attachment]) -> Doc:
    """A document under its new revision with what it says of files that come with it."""
    if not files:
        return doc
    listed = {name: _stub(doc, file) for name, file in files.items()}
    return {**doc, "_attachments": {**(doc.get("_attachments") or {}), **listed}}


def take_inline(sql: Sql, doc: Doc) -> Doc:
    """The document with files given inline (``data`` in base64, as in CouchDB) stored, and stubs in their place.

    Its revision is the one that it is to replace.
    """
    if not doc.get("_attachments"):
        return doc
    stored = {name for (name,) in sql.rows("SELECT name FROM @files WHERE token = %s", doc["_id"])}
    for name, found in inline(doc, stored).items():
        if found is None:
            continue
        file = Attachment(content_type=found[0], data=found[1])
        if name in stored:
            drop(sql, doc["_id"], name)
        add(sql, [(doc["_id"], {name: file})])
        about = stub(doc.get("_rev"), file.content_type, len(found[1]), _digest(found[1]))
        doc = {**doc, "_attachments": {**doc["_attachments"], name: about}}
    return doc


def drop(sql: Sql, token: str, name: str) -> None:
    """Delete a file of a token, if there is one of this name."""
    sql.run(_DROP, token, name)


def drop_unlisted(sql: Sql, doc: Doc) -> None:
    """Delete the files of a token that its document no longer lists."""
    listed = list(doc.get("_attachments", {}))
    query = """WITH gone AS (DELETE FROM @files WHERE token = %s AND name <> ALL(%s::text[]) RETURNING file)
        DELETE FROM @chunks WHERE file IN (SELECT file FROM gone)"""
    sql.run(query, doc["_id"], listed)


def write_pending(db: Database, data: IO[bytes]) -> tuple[int, int, bytes]:
    """Store a stream as a file that belongs to nobody yet; its number, length and MD5.

    Each chunk is a transaction; one that dies here leaves a file without a token, which `picas pool check` removes.
    """
    (file,) = db.write(lambda sql: sql.one("INSERT INTO @files (name) VALUES ('') RETURNING file"))
    digest, length, number = hashlib.md5(usedforsecurity=False), 0, 0
    while chunk := data.read(CHUNK_BYTES):
        digest.update(chunk)
        length += len(chunk)
        db.write(lambda sql, place=number, part=chunk: sql.run(_CHUNK, file, place, part) and None)  # type: ignore[misc]
        number += 1
    return file, length, digest.digest()


def link(sql: Sql, token: str, file: int, name: str) -> None:
    """Give a pending file to a token, under a name."""
    drop(sql, token, name)
    sql.run("UPDATE @files SET token = %s, name = %s WHERE file = %s", token, name, file)


def read(db: Database, token_id: str, name: str) -> Iterator[bytes]:
    """A file's bytes in chunks; KeyError at once when there is none."""
    row = db.one("SELECT file, data FROM @files WHERE token = %s AND name = %s", token_id, name)
    if row is None:
        raise KeyError(name)
    return iter([row[1]]) if row[1] is not None else _read_chunks(db, row[0])


def _read_chunks(db: Database, file: int) -> Iterator[bytes]:
    number = 0
    while row := db.one("SELECT data FROM @chunks WHERE file = %s AND number = %s", file, number):
        yield row[0]
        number += 1


def _stub(doc: Doc, file: Attachment) -> dict[str, Any]:
    data = _bytes(file)
    rev = f"{int(doc['_rev'].partition('-')[0]) - 1}-"
    return stub(rev, file.content_type, len(data), _digest(data))


def _bytes(file: Attachment) -> bytes:
    return file.data if file.data is not None else Path(file.path or "").read_bytes()


def _digest(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
