"""Tokens that have ended, moved out of a pool into a file that `import_lines` reads.

A batch is written and on the disk before its tokens are deleted, each in the revision in which it was read. So at any
moment a token is in the pool, in the file, or in both, and whoever goes on with a file that was left deletes from the
pool what that file has for certain. A token comes at most once in a file.

Beside the lines of an export there are ``rev`` with each token, and ``batch`` at the end of each.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from picas import tokens
from picas.arrivals import bare
from picas.errors import NothingMatched, UsageError
from picas.lifecycle import Doc, State, awaited
from picas.moving import FORMAT, Counter, Measured, file_lines, line, uncounted
from picas.packed import PartFile, scan
from picas.pool import BATCH, Pool, Selection
from picas.views import View

__all__ = ["Archived", "archive", "new_export"]

_BATCH_BYTES = 32 << 20
_IN_MEMORY = 1 << 20
_HEADER_BYTES = 4096
_HELD = Selection(views=(View(State.HELD),))


@dataclass
class Archived:
    """What became of the tokens that were to be archived."""

    tokens: int = 0
    """In the file, those of an archive that was gone on with included."""
    attachments: int = 0
    continued: int = 0
    """In the file before this went on with it."""
    awaited: int = 0
    """Left in the pool, since tokens that are held wait for them."""
    changed: set[str] = field(default_factory=set)
    """In the pool since somebody changed them meanwhile; the file has them as they were."""
    unreadable: list[str] = field(default_factory=list)
    """Left in the pool, since a file of theirs cannot be read as it is listed."""


def archive(
    pool: Pool, path: Path, selection: Selection, *, keep: bool = False, count: Counter[Doc] = uncounted
) -> Archived:
    """Move the tokens of a selection of ended ones into a new file; with ``keep`` they stay in the pool as well.

    An archive that was cut short is gone on with. NothingMatched, and no file, when there is nothing to archive.
    """
    report = Archived()
    with PartFile(path) as part:
        move = _Move(pool, part, report, keep=keep)
        move.begin()
        for doc in count(pool.select(selection)):
            move.add(doc)
        move.flush()
        if not report.tokens:
            part.discard()
            raise NothingMatched(f"{pool.url} has no token to archive", hint=_why_none(report))
        part.write(line({"end": {"tokens": report.tokens}}))
        part.finish()
    return report


def new_export(part: PartFile) -> None:
    """Begin anew in a file that an export was cut short in; UsageError when it holds what is nowhere else."""
    header = _header(part)
    if header is None or header.get("archive") == "moved":
        raise UsageError(
            f"{part.part} is in the way, and no export that was cut short", hint="move it, or name another"
        )
    part.cut(0)


class _Move:
    """Documents, in batches, into the file and out of the pool."""

    def __init__(self, pool: Pool, part: PartFile, report: Archived, *, keep: bool) -> None:
        self._pool = pool
        self._part = part
        self._report = report
        self._keep = keep
        self._batch: dict[str, Doc] = {}
        self._size = 0
        self._needed = _Needed()

    def begin(self) -> None:
        """Write the header, or go on behind what was written and deleted before."""
        header = _header(self._part)
        if header is None:
            raise UsageError(f"{self._part.part} is in the way, and no archive", hint="move it, or name another file")
        if header.get("archive") != "moved" or not self._go_on(header):
            self._part.cut(0)
            kind = "kept" if self._keep else "moved"
            self._part.write(line({"picas-export": FORMAT, "pool": self._pool.url, "archive": kind}))
            self._part.commit()
        if not self._keep:
            self._needed.learn(self._pool.select(_HELD))

    def add(self, doc: Doc) -> None:
        """Write a token with its files."""
        if doc["_id"] in self._needed:
            self._report.awaited += 1
            return
        if doc["_id"] in self._report.changed or doc["_id"] in self._batch:
            return  # the file has it already
        with ExitStack() as opened:
            files = self._read_files(doc, opened)
            if files is None:
                return
            self._write({"rev": doc["_rev"], "token": bare(doc)})
            for name, content_type, file in files:
                for text in file_lines(doc["_id"], name, content_type, iter(partial(file.read, _IN_MEMORY), b"")):
                    self._size += len(text)
                    self._part.write(text)
        self._report.tokens += 1
        self._report.attachments += len(files)
        self._batch[doc["_id"]] = {"_id": doc["_id"], "_rev": doc["_rev"]}
        if len(self._batch) >= BATCH or self._size >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have the batch on the disk, and then out of the pool."""
        batch, self._batch, self._size = list(self._batch.values()), {}, 0
        if not batch:
            return
        self._part.write(line({"batch": len(batch)}))
        self._part.commit()
        if not self._keep:
            self._delete(batch)

    def _write(self, value: dict[str, Any]) -> None:
        text = line(value)
        self._size += len(text)
        self._part.write(text)

    def _delete(self, batch: Sequence[Doc]) -> None:
        gone = self._pool.store.delete(batch)
        missed = [doc["_id"] for doc, deleted in zip(batch, gone, strict=True) if not deleted]
        there = self._pool.store.get(missed) if missed else []
        self._report.changed |= {doc["_id"] for doc in there if doc is not None}

    def _read_files(self, doc: Doc, opened: ExitStack) -> list[tuple[str, str, IO[bytes]]] | None:
        """The files of a token, read whole before anything of it is written; None when one is not as it is listed."""
        files: list[tuple[str, str, IO[bytes]]] = []
        for name, stub in (doc.get("_attachments") or {}).items():
            file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by the stack
            opened.callback(file.close)
            try:
                read = Measured(self._pool.store.get_attachment(doc["_id"], name))
            except KeyError:
                read = None
            for chunk in read or ():
                file.write(chunk)
            if read is None or not read.agrees(stub, digests=self._pool.store.capabilities.exact_digests):
                self._leave(doc)
                return None
            file.seek(0)
            files.append((name, stub.get("content_type", "application/octet-stream"), file))
        return files

    def _leave(self, doc: Doc) -> None:
        now = self._pool.get(doc["_id"])
        if now is not None and now["_rev"] == doc["_rev"]:
            self._report.unreadable.append(doc["_id"])

    def _go_on(self, header: dict[str, Any]) -> bool:
        """Whether there was anything to go on with."""
        if header.get("pool") != self._pool.url:
            raise UsageError(
                f"{self._part.part} is an archive of {header.get('pool')} that was cut short", hint="name another file"
            )
        if self._keep:
            raise UsageError(
                f"{self._part.part} holds tokens that are not in the pool any more",
                hint="finish it without --keep, or name another file",
            )
        end = 0
        for place, batch in _batches_of(self._part):
            if place is None:
                self._make_sure_of(batch, end)
                break
            end = place
            for start in range(0, len(batch), BATCH):
                part = batch[start : start + BATCH]
                self._report.tokens += len(part)
                self._catch_up(part)
        self._report.continued = self._report.tokens
        self._part.cut(end)
        return end > 0

    def _make_sure_of(self, torn: Sequence[Doc], end: int) -> None:
        """What is behind the last batch was not deleted; if it was, it is damage, and no write that was cut short."""
        for start in range(0, len(torn), BATCH):
            ids = [doc["_id"] for doc in torn[start : start + BATCH]]
            if None in self._pool.store.get(ids):
                raise UsageError(
                    f"{self._part.part} is damaged behind byte {end}: it had tokens that the pool has no more",
                    hint="move it away; `picas pool import` reads what is whole of it",
                )

    def _catch_up(self, batch: Sequence[Doc]) -> None:
        """Delete what the file has for certain and the pool still has, unless it was changed."""
        found = self._pool.store.get([doc["_id"] for doc in batch])
        there = [doc for doc in found if doc is not None]
        written = {doc["_id"]: doc["_rev"] for doc in batch}
        self._report.changed |= {doc["_id"] for doc in there if doc["_rev"] != written[doc["_id"]]}
        if same := [doc for doc in there if doc["_rev"] == written[doc["_id"]]]:
            self._delete(same)


class _Needed:
    """Ids that held tokens wait for, in fixed memory: one that is not among them is at times taken for one that is."""

    _BITS = 1 << 27

    def __init__(self) -> None:
        self._salt = os.urandom(8)
        self._bits: bytearray | None = None

    def learn(self, docs: Iterable[Doc]) -> None:
        """Take note of what these tokens wait for."""
        for doc in docs:
            for token_id in awaited(doc):
                if self._bits is None:
                    self._bits = bytearray(self._BITS // 8)
                for place in self._places(token_id):
                    self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, token_id: str) -> bool:
        bits = self._bits
        return bits is not None and all(bits[place >> 3] >> (place & 7) & 1 for place in self._places(token_id))

    def _places(self, token_id: str) -> Iterator[int]:
        digest = hashlib.blake2b(token_id.encode("utf-8", "replace"), digest_size=16, salt=self._salt).digest()
        for start in range(0, 16, 4):
            yield int.from_bytes(digest[start : start + 4], "big") % self._BITS


def _header(part: PartFile) -> dict[str, Any] | None:
    """The first line of what was left; empty when nothing was committed; None when it is nothing of ours."""
    first = next(scan(part.file, part.path.name), None)
    if not isinstance(first, bytes):
        return {} if os.fstat(part.file.fileno()).st_size <= _HEADER_BYTES else None
    try:
        header = tokens.loads(first)
    except ValueError:
        return None
    return header if isinstance(header, dict) and "picas-export" in header else None


def _batches_of(part: PartFile) -> Iterator[tuple[int | None, list[Doc]]]:
    """The place behind each batch that was committed, and id and revision of its tokens; the header's first.

    In the end come, with no place, those of a batch that was not.
    """
    batch: list[Doc] = []
    ended = True
    for found in scan(part.file, part.path.name):
        if isinstance(found, int):
            if ended:
                yield found, batch
                batch, ended = [], False
            continue
        try:
            read = tokens.parse(found)
            if "rev" in read:
                batch.append({"_id": read["token"]["_id"], "_rev": read["rev"]})
        except (ValueError, KeyError, TypeError) as error:
            hint = "move it away; `picas pool import` reads what is whole of it"
            raise UsageError(f"{part.part} is damaged: {error}", hint=hint) from None
        ended = "batch" in read
    yield None, batch


def _why_none(report: Archived) -> str:
    if report.unreadable:
        return f"{len(report.unreadable)} have files that cannot be read; `picas pool check` names them"
    return (
        f"held tokens wait for {report.awaited} that ended" if report.awaited else "`picas status` shows what there is"
    )
