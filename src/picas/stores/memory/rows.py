"""What the pool in memory is made of: rows with the documents, and files with the attachments."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picas import tokens
from picas.lifecycle import Doc, State, state_of
from picas.stores.base import Attachment
from picas.stores.inline import inline

__all__ = ["File", "Row", "check", "content", "listed"]


@dataclass(frozen=True, kw_only=True)
class File:
    """An attachment: its bytes, and the stub that stands for it in the document."""

    data: bytes
    stub: Mapping[str, Any]

    @classmethod
    def new(cls, content_type: str, data: bytes, revpos: int) -> File:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        stub = {"content_type": content_type, "revpos": revpos, "digest": f"md5-{digest}"}
        return cls(data=data, stub={**stub, "length": len(data), "stub": True})


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stored document: never changed, only replaced, and given away as a copy."""

    doc: Doc
    text: str
    place: int
    generation: int
    state: State | None
    files: Mapping[str, File]

    @classmethod
    def new(cls, doc: Mapping[str, Any], *, sequence: int, old: Row | None, files: Mapping[str, File]) -> Row:
        """A document as the successor of ``old``, which gives it its age and its place in the count of revisions."""
        generation, place = (old.generation + 1, old.place) if old else (1, sequence)
        new = {"_id": doc["_id"], "_rev": f"{generation}-{sequence}", **_without_meta(doc)}
        if files:
            new["_attachments"] = {name: file.stub for name, file in files.items()}
        text = json.dumps(new)
        private = json.loads(text)
        return cls(doc=private, text=text, place=place, generation=generation, state=state_of(private), files=files)

    @property
    def revision(self) -> str:
        revision: str = self.doc["_rev"]
        return revision

    @property
    def not_before(self) -> float:
        value = self.doc.get("not_before")
        return value if isinstance(value, (int, float)) else 0.0

    @property
    def rank(self) -> tuple[float, int]:
        """Where it stands in the queue: the highest priority first, then the oldest."""
        priority = self.doc.get("priority")
        return -(priority if isinstance(priority, (int, float)) else 0), self.place

    def copy(self) -> Doc:
        doc: Doc = json.loads(self.text)
        return doc


def check(doc: Mapping[str, Any]) -> None:
    """InvalidToken when what the document holds, apart from its attachments, breaks the rules."""
    tokens.encode(_without_meta(doc))


def listed(doc: Mapping[str, Any], old: Row | None, generation: int) -> dict[str, File]:
    """The attachments that a document lists: new ones inline in base64, stored ones by their stub."""
    stored = old.files if old else {}
    return {
        name: stored[name] if found is None else File.new(*found, generation)
        for name, found in inline(doc, stored).items()
    }


def content(attachment: Attachment) -> tuple[str, bytes]:
    data = attachment.data
    if data is None:
        data = Path(attachment.path).read_bytes() if attachment.path else b""
    return attachment.content_type, data


def _without_meta(doc: Mapping[str, Any]) -> Doc:
    return {name: value for name, value in doc.items() if name not in ("_rev", "_attachments")}
