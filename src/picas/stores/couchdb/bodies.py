"""Documents on their way into the database: results with their files, and what comes to be stored of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from picas import lifecycle, tokens
from picas.errors import Conflict
from picas.lifecycle import Doc
from picas.stores.base import Attachment, Settlement
from picas.stores.couchdb.writer import generation
from picas.stores.inline import inline

__all__ = ["checked", "new", "result", "stored_form"]


def new(doc: Mapping[str, Any], *, as_given: bool = False) -> Doc | Conflict:
    """A document to be added; Conflict for one that bears a revision. InvalidToken when it breaks a rule."""
    made = {**doc} if as_given else lifecycle.put(doc)
    if not as_given:
        tokens.check(made)
    body = checked(made, ())
    if "_rev" in doc:
        return Conflict(f"token {doc['_id']} exists already", hint="read it, and update it")
    return body


def checked(doc: Mapping[str, Any], stored: Any) -> Doc:
    """A document that keeps the rules, its files by name among those ``stored`` or inline; InvalidToken otherwise."""
    tokens.check_id(doc.get("_id"))
    files = inline(doc, stored)
    tokens.encode({name: value for name, value in doc.items() if name not in ("_rev", "_attachments")})
    body = {name: value for name, value in doc.items() if name != "_attachments"}
    return {**body, "_attachments": {name: doc["_attachments"][name] for name in files}} if files else body


def result(base: Doc, settlement: Settlement, now: float) -> Doc:
    """The document that an outcome makes of what is stored, with its files inline; InvalidToken when it cannot be."""
    doc = {**lifecycle.settle(base, settlement.outcome, now), "_id": base["_id"], "_rev": base["_rev"]}
    files = {tokens.check_attachment_name(name): _inline(file) for name, file in settlement.attachments.items()}
    if settlement.outcome.changes:
        doc = checked(doc, base.get("_attachments") or ())
        tokens.sized(tokens.dumps(_bare(doc)), doc["_id"])
    return {**doc, "_attachments": {**(doc.get("_attachments") or {}), **files}} if files else doc


def stored_form(doc: Mapping[str, Any], rev: str) -> Doc:
    """A document that was written, as the database has it now: a stub for each file that went with it.

    The digest is that of the bytes; CouchDB's is of what it made of them, when it keeps text compressed.
    """
    stored = {**doc, "_rev": rev}
    if doc.get("_attachments"):
        stored["_attachments"] = {name: _stub(entry, rev) for name, entry in doc["_attachments"].items()}
    return stored


def _inline(file: Attachment) -> dict[str, str]:
    data = file.data if file.data is not None else Path(file.path or "").read_bytes()
    return {"content_type": file.content_type, "data": base64.b64encode(data).decode()}


def _stub(entry: Mapping[str, Any], rev: str) -> Mapping[str, Any]:
    if "data" not in entry:
        return entry
    data = base64.b64decode(entry["data"])
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    about = {"content_type": entry.get("content_type", "application/octet-stream"), "revpos": generation(rev)}
    return {**about, "digest": f"md5-{digest}", "length": len(data), "stub": True}


def _bare(doc: Mapping[str, Any]) -> Doc:
    return {name: value for name, value in doc.items() if name not in ("_rev", "_attachments")}
