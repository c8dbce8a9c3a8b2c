"""What a spool file holds: records, each behind its length and a checksum. Decisions only; nothing is read or written.

The first record says whose results these are; each of the others holds one batch: a line of JSON, and behind it the
bytes of the files that go with the results. Nothing in it is ever executed, and no name in it leaves its folder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from picas import tokens
from picas.lifecycle import Outcome, Reason
from picas.stores.base import Attachment, Settlement

__all__ = ["FILE_PREFIX", "VERSION", "Batch", "Contents", "File", "head_of", "pack", "read"]

VERSION = 1
FILE_PREFIX = "file-"
"""What the names of large files in a spool folder begin with."""

_HEAD = struct.Struct("!4sII")
_MAGIC = b"PSR1"


@dataclass(frozen=True, kw_only=True)
class File:
    """A file too large for a record: its name in the spool folder, and where it lay when it was noted."""

    name: str
    content_type: str
    file: str
    path: str


@dataclass(frozen=True)
class Batch:
    """Results as they were read, each with its large files."""

    results: list[tuple[Settlement, list[File]]]


@dataclass
class Contents:
    """All that a spool file holds: whose it is, results in their order, and where something is wrong with it."""

    head: dict[str, Any] = field(default_factory=dict)
    results: list[tuple[Settlement, list[File]]] = field(default_factory=list)
    damage: str = ""
    torn: bool = False
    """Whether the last record was not written to its end: it was on its way when its pilot died."""


def head_of(pilot: str, hostname: str, pool: str) -> bytes:
    """The first record of a spool file."""
    return _record(tokens.dumps({"picas": VERSION, "pilot": pilot, "hostname": hostname, "pool": pool}).encode())


def pack(results: Sequence[tuple[Settlement, Mapping[str, bytes], Sequence[File]]]) -> bytes:
    """A record of a batch: each result with the bytes of its small files, and its large ones."""
    blobs: list[bytes] = []
    entries = []
    for settlement, small, large in results:
        files: list[Any] = [
            [name, settlement.attachments[name].content_type, len(data)] for name, data in small.items()
        ]
        blobs += small.values()
        entry = {"token": settlement.doc, "outcome": _plain(settlement.outcome), "files": files}
        if large:
            entry["large"] = [[one.name, one.content_type, one.file, one.path] for one in large]
        entries.append(entry)
    return _record(tokens.dumps(entries).encode() + b"\n" + b"".join(blobs))


def read(data: bytes) -> Contents:
    """What a spool file holds; of a damaged one all that can be read."""
    found = Contents()
    places = _payloads(data, found)
    first = next(places, None)
    if first is None:
        return found
    try:
        head = tokens.parse(first)
        found.head = head if isinstance(head, dict) else {}
    except ValueError:
        found.head = {}
    if not found.head:
        found.damage = found.damage or "its head cannot be read"
        return found
    for payload in places:
        try:
            found.results += _batch(payload)
        except (ValueError, KeyError, TypeError, AttributeError):
            found.damage = found.damage or "a record makes no sense"
    return found


def _record(payload: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


def _payloads(data: bytes, found: Contents) -> Iterator[bytes]:
    """Records whose checksums are right; past a wrong one on to the next. What is wrong is noted in ``found``."""
    at = 0
    while at < len(data):
        payload, end = _at(data, at)
        if payload is not None:
            yield payload
            at = end
            continue
        following = _next(data, at + 1)
        if following is None:
            # A write that was cut off leaves a beginning, or, after a loss of power, nothing but zeros.
            found.torn = end > len(data) or not data[at:].strip(b"\0")
            if not found.torn:
                found.damage = f"the record at byte {at} is damaged"
            return
        found.damage = found.damage or f"the record at byte {at} is damaged"
        at = following


def _at(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The record at a place and where it ends; None when it is not whole. One cut off ends behind the data."""
    if len(data) - at < _HEAD.size:
        return None, len(data) + 1 if _MAGIC.startswith(data[at : at + len(_MAGIC)]) else at
    magic, length, checksum = _HEAD.unpack_from(data, at)
    if magic != _MAGIC:
        return None, at
    start = at + _HEAD.size
    payload = data[start : start + length]
    whole = len(payload) == length and zlib.crc32(payload) == checksum
    return payload if whole else None, start + length


def _next(data: bytes, at: int) -> int | None:
    while (at := data.find(_MAGIC, at)) >= 0:
        if _at(data, at)[0] is not None:
            return at
        at += 1
    return None


def _batch(payload: bytes) -> Iterator[tuple[Settlement, list[File]]]:
    line, _, rest = payload.partition(b"\n")
    at = 0
    for entry in tokens.parse(line):
        small: dict[str, Attachment] = {}
        for name, kind, size in entry["files"]:
            small[str(name)] = Attachment(content_type=str(kind), data=rest[at : at + size])
            at += size
        large = [
            File(name=str(name), content_type=str(kind), file=str(file), path=str(path))
            for name, kind, file, path in entry.get("large", ())
        ]
        doc = entry["token"]
        if not isinstance(doc["_id"], str):
            raise ValueError("a token without an id")
        yield Settlement(doc=doc, outcome=_outcome(entry["outcome"]), attachments=small), large


def _plain(outcome: object) -> dict[str, Any]:
    fields = dict(vars(outcome))
    return {**fields, "reason": str(fields["reason"])}


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    return Outcome(**{**fields, "reason": Reason(fields["reason"])})
