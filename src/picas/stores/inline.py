"""Attachments inside documents, as CouchDB's document API has them: ``data`` in base64, or a stub of a stored one."""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping
from typing import Any

from picas import tokens
from picas.errors import InvalidToken

__all__ = ["inline", "stub"]


def inline(doc: Mapping[str, Any], stored: Container[str]) -> dict[str, tuple[str, bytes] | None]:
    """For each attachment that a document lists its content type and bytes, or None where it names a stored one.

    InvalidToken for a name that is not allowed, data that is no base64, and a stub of what is not stored.
    """
    listed = doc.get("_attachments") or {}
    if not isinstance(listed, Mapping):
        raise InvalidToken(f"token {doc.get('_id')}: _attachments must be an object")
    return {name: _entry(doc, name, entry, stored) for name, entry in listed.items()}


def stub(rev: str | None, content_type: str, length: int, digest: bytes) -> dict[str, Any]:
    """What a document says of a file that is written with the revision after ``rev``, as CouchDB writes it."""
    number = int(rev.partition("-")[0]) + 1 if rev else 1
    words = f"md5-{base64.b64encode(digest).decode()}"
    return {"content_type": content_type, "revpos": number, "digest": words, "length": length, "stub": True}


def _entry(doc: Mapping[str, Any], name: str, entry: object, stored: Container[str]) -> tuple[str, bytes] | None:
    if name in stored and isinstance(entry, Mapping) and "data" not in entry:
        return None
    tokens.check_attachment_name(name)
    if not isinstance(entry, Mapping) or "data" not in entry:
        raise InvalidToken(f"token {doc.get('_id')}: attachment {name!r} has no data and is not stored")
    try:
        data = base64.b64decode(entry["data"], validate=True)
    except (TypeError, ValueError) as error:
        raise InvalidToken(f"token {doc.get('_id')}: attachment {name!r} is not base64: {error}") from None
    return str(entry.get("content_type", "application/octet-stream")), data
