"""Attachments, streamed: through a file on this machine's disk in, and straight from the server out."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from picas import tokens
from picas.errors import Conflict, StoreUnavailable
from picas.lifecycle import Doc, fence_of, holds
from picas.stores.base import lost
from picas.stores.couchdb.answers import Unsure
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.writer import generation

__all__ = ["delete", "put", "read"]

_chance = random.SystemRandom()

_CHUNK_BYTES = 1 << 20
_IN_MEMORY = 8 << 20
_TRIES, _UNANSWERED = 30, 3
"""How often a token may change, and how often an answer may fail to come, while a file is sent."""


def put(database: Database, token_id: str, name: str, data: IO[bytes], *, content_type: str, fence: int | None) -> str:
    """`TokenStore.put_attachment`. All is read first: a stream that breaks, or a try that fails, changes nothing."""
    tokens.check_attachment_name(name)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        length = 0
        while chunk := data.read(_CHUNK_BYTES):
            length += spool.write(chunk)
        unanswered = 0
        for failures in range(_TRIES):
            doc = _holder(database, token_id, fence)
            spool.seek(0)
            try:
                path = database.of(token_id, name)
                answer = database.http.upload(path, {"rev": doc["_rev"]}, spool, length, content_type)
            except Unsure:
                if (rev := _arrived(database, token_id, name, doc, length)) is not None:
                    return rev
                unanswered += 1
                if unanswered == _UNANSWERED:
                    raise
                continue
            if answer.status in (201, 202):
                return str(database.http.json(answer)["rev"])
            if answer.status not in (404, 409):
                database.refuse(answer)
            time.sleep(_chance.uniform(0.0, 0.01 * failures))
    raise StoreUnavailable(f"token {token_id} does not stop changing; {name!r} was not attached")


def read(database: Database, token_id: str, name: str) -> Iterator[bytes]:
    """A file's bytes in chunks; KeyError at once when there is none."""
    status, chunks = database.http.download(database.of(token_id, name))
    if status != 200:
        raise KeyError(name)
    return chunks


def delete(database: Database, token_id: str, name: str) -> bool:
    """Remove a file from its token; whether there was one."""
    for failures in range(_TRIES):
        doc = database.docs([token_id])[0]
        if doc is None or name not in doc.get("_attachments", {}):
            return False
        if database.remove_file(token_id, name, doc["_rev"]):
            return True
        time.sleep(_chance.uniform(0.0, 0.01 * failures))
    raise StoreUnavailable(f"token {token_id} does not stop changing; {name!r} was not removed")


def _holder(database: Database, token_id: str, fence: int | None) -> Doc:
    doc = database.docs([token_id])[0]
    if fence is not None and not (doc and holds(doc, fence)):
        raise lost(token_id, fence, doc or {})
    if doc is None:
        raise Conflict(f"token {token_id} does not exist", hint="an attachment belongs to a token; put it first")
    return doc


def _arrived(database: Database, token_id: str, name: str, before: Doc, length: int) -> str | None:
    """The revision in which a file is there of which no answer told; None when it is not."""
    doc = database.docs([token_id])[0]
    entry = (doc or {}).get("_attachments", {}).get(name)
    if doc is None or entry is None or entry.get("length") != length or fence_of(doc) != fence_of(before):
        return None
    return str(doc["_rev"]) if entry.get("revpos", 0) > generation(before["_rev"]) else None
