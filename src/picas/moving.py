"""A pool as JSON lines, to keep or to move to another store, and back.

The first line is a header. Then come lines with one key each: ``design``, ``token``, and after a token its files as
``attachment`` in pieces of base64, so that memory stays flat however large they are. The last line, ``end``, says how
many tokens there were: a file that was cut is told from a whole one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from picas import tokens
from picas.arrivals import Arrivals, Moved, bare
from picas.errors import InvalidToken, UsageError
from picas.pool import Pool, Selection
from picas.views import MONITOR, Design

__all__ = ["FORMAT", "Counter", "Measured", "Moved", "export_lines", "file_lines", "import_lines", "line", "uncounted"]

FORMAT = 1

_PIECE_BYTES = 3 << 18

_Item = TypeVar("_Item")
Counter = Callable[[Iterable[_Item]], Iterator[_Item]]
"""Passes tokens on and counts them, for whoever wants to see how far it is."""


def uncounted(items: Iterable[_Item]) -> Iterator[_Item]:
    """Items as they come."""
    yield from items


def export_lines(pool: Pool, selection: Selection, moved: Moved, count: Counter[Any] = uncounted) -> Iterator[str]:
    """The lines of an export, counted in ``moved`` as they come.

    Views in JavaScript go along as they are written, for pools that run them.
    """
    yield line({"picas-export": FORMAT, "pool": pool.url})
    for design in pool.store.designs():
        if design != MONITOR:
            views = (
                {"javascript": {name: dict(parts) for name, parts in design.javascript.items()}}
                if design.javascript is not None
                else {}
            )
            source = design.selector and design.selector.source
            yield line({"design": {"name": design.name, "selector": source, **views}})
    for doc in count(pool.select(selection)):
        moved.tokens += 1
        yield line({"token": bare(doc)})
        for name, stub in doc.get("_attachments", {}).items():
            try:
                chunks = pool.store.get_attachment(doc["_id"], name)
            except KeyError:
                # Somebody took it away since the token was read, with the token perhaps.
                moved.gone.append(f"{doc['_id']}/{name}")
                continue
            moved.attachments += 1
            read = Measured(chunks)
            yield from file_lines(doc["_id"], name, stub.get("content_type", "application/octet-stream"), read)
            if not read.agrees(stub, digests=pool.store.capabilities.exact_digests):
                moved.gone.append(f"{doc['_id']}/{name}")
    yield line({"end": {"tokens": moved.tokens}})


def import_lines(pool: Pool, lines: Iterable[str], count: Counter[Any] = uncounted) -> Moved:
    """Add what an export holds; tokens that are there already stay as they are, so that it can be repeated.

    A token that was locked comes in as todo: nobody here holds it. None can be claimed before its files are there; one
    that an import which was cut short left without some is completed. InvalidToken names the line that is wrong; what
    came before it has been added, but for a token whose files may not have been read to the end.
    """
    moved = Moved()
    reader = _Reader(pool, moved)
    try:
        for _ in count(reader.tokens(lines)):
            pass
        reader.arrivals.flush(whole=reader.ended)
    except (ValueError, UsageError, KeyError, TypeError, binascii.Error) as error:
        reader.arrivals.flush(whole=False)
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidToken(f"line {reader.number}: {what}", hint="what came before it has been imported") from None
    finally:
        reader.arrivals.close()
    if not reader.ended:
        raise InvalidToken(
            f"the export ends after line {reader.number}, before its end",
            hint="the file was cut; what is in it has been imported, but perhaps for its last token",
        )
    return moved


class _Reader:
    """What the next line may be, given those before it."""

    def __init__(self, pool: Pool, moved: Moved) -> None:
        self._pool = pool
        self._moved = moved
        self.arrivals = Arrivals(pool, moved)
        self.ended = False
        self.number = 0

    def tokens(self, lines: Iterable[str]) -> Iterator[int]:
        """Take in all lines; the number of each that is a token."""
        for self.number, text in enumerate(lines, 1):
            if self._take(tokens.loads(text)):
                yield self.number

    def _take(self, read: Any) -> bool:
        first = self.number == 1
        if not isinstance(read, dict) or first is not ("picas-export" in read):
            raise ValueError("this is not an export of a picas pool")
        if first and read["picas-export"] != FORMAT:
            raise ValueError(f"exports of format {read['picas-export']} are not known here; upgrade picas")
        if self.ended:
            raise ValueError("there is more after the end")
        if "design" in read:
            self._design(read["design"])
        if "token" in read:
            self.arrivals.token(read["token"])
        if "attachment" in read:
            self._piece(read["attachment"])
        self.ended = "end" in read
        return "token" in read

    def _design(self, value: Any) -> None:
        if value.get("javascript") is None:
            self._pool.store.install(Design.from_source(value["name"], value["selector"]))
        elif self._pool.store.capabilities.javascript:
            self._pool.store.install(Design.handwritten(value["name"], value["javascript"]))
        else:
            self._moved.left_out.append(value["name"])

    def _piece(self, piece: Any) -> None:
        data = base64.b64decode(piece["data"], validate=True)
        self.arrivals.piece(piece["token"], piece["name"], data, piece["content_type"], last=piece["last"])


def file_lines(token_id: str, name: str, content_type: str, chunks: Iterable[bytes]) -> Iterator[str]:
    """A file of a token as lines, a piece in each."""
    common = {"token": token_id, "name": name, "content_type": content_type}
    held: bytes | None = None
    for piece in _pieces(chunks):
        if held is not None:
            yield line({"attachment": {**common, "last": False, "data": base64.b64encode(held).decode()}})
        held = piece
    yield line({"attachment": {**common, "last": True, "data": base64.b64encode(held or b"").decode()}})


class Measured:
    """Chunks of a file as they come, their length and MD5 when all have come."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.length = 0
        self._digest = hashlib.md5(usedforsecurity=False)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.length += len(chunk)
            self._digest.update(chunk)
            yield chunk

    def agrees(self, stub: Mapping[str, Any], *, digests: bool) -> bool:
        """Whether this is the file that a token lists; ``digests`` when the store's can be compared."""
        if self.length != stub.get("length", self.length):
            return False
        digest = f"md5-{base64.b64encode(self._digest.digest()).decode()}"
        return not digests or stub.get("digest", digest) == digest


def line(value: dict[str, Any]) -> str:
    """A value as a line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE_BYTES):
            yield chunk[start : start + _PIECE_BYTES]
