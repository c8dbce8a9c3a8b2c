"""A pool as JSON lines, to keep or to move to another store, and back.

The first line is a header. Then come lines with one key each: ``design``, ``token``, and after a token its files as
``attachment`` in pieces of base64, so that memory stays flat however large they are. The last line, ``end``, says how
many tokens there were: a file that was cut is told from a whole one.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken, UsageError
from picas.lifecycle import Doc, State, state_of
from picas.pool import Pool, Selection
from picas.views import MONITOR, Design

__all__ = ["FORMAT", "Moved", "export_lines", "import_lines"]

FORMAT = 1

_PIECE_BYTES = 3 << 18
_BATCH = 200


@dataclass
class Moved:
    """How many tokens and attachments were moved, and how many tokens were there already."""

    tokens: int = 0
    existing: int = 0
    attachments: int = 0
    left_out: list[str] = field(default_factory=list)
    """Design documents that the pool cannot have."""


def export_lines(pool: Pool, selection: Selection, moved: Moved) -> Iterator[str]:
    """The lines of an export, counted in ``moved`` as they come.

    Views in JavaScript go along as they are written, for pools that run them.
    """
    yield _line({"picas-export": FORMAT, "pool": pool.url})
    for design in pool.store.designs():
        if design != MONITOR:
            views = (
                {"javascript": {name: dict(parts) for name, parts in design.javascript.items()}}
                if design.javascript is not None
                else {}
            )
            source = design.selector and design.selector.source
            yield _line({"design": {"name": design.name, "selector": source, **views}})
    for doc in pool.select(selection):
        moved.tokens += 1
        yield _line({"token": _bare(doc)})
        for name, stub in doc.get("_attachments", {}).items():
            moved.attachments += 1
            yield from _attachment(pool, doc["_id"], name, stub.get("content_type", "application/octet-stream"))
    yield _line({"end": {"tokens": moved.tokens}})


def import_lines(pool: Pool, lines: Iterable[str], on_token: Callable[[Moved], None] | None = None) -> Moved:
    """Add what an export holds; tokens that are there already stay as they are, so that it can be repeated.

    A token that was locked comes in as todo: nobody here holds it. InvalidToken names the line that is wrong; what came
    before it has been added.
    """
    moved, reader = Moved(), _Reader(pool)
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            reader.take(tokens.loads(line), number, moved)
            if on_token is not None:
                on_token(moved)
        reader.flush(moved)
    except (ValueError, UsageError, KeyError, TypeError, binascii.Error) as error:
        reader.flush(moved)
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidToken(f"line {number}: {what}", hint="what came before it has been imported") from None
    finally:
        reader.close()
    if not reader.ended:
        raise InvalidToken(
            f"the export ends after line {number}, before its end", hint="the file was cut; import it whole"
        )
    return moved


class _Reader:
    """What the next line may be, given those before it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._batch: list[Doc] = []
        self._last: Doc = {}
        self._file: IO[bytes] | None = None
        self.ended = False

    def take(self, line: Any, number: int, moved: Moved) -> None:
        if not isinstance(line, dict) or (number == 1) is not ("picas-export" in line):
            raise ValueError("this is not an export of a picas pool")
        if number == 1 and line["picas-export"] != FORMAT:
            raise ValueError(f"exports of format {line['picas-export']} are not known here; upgrade picas")
        if self.ended:
            raise ValueError("there is more after the end")
        for kind, act in (("design", self._design), ("token", self._token), ("attachment", self._attachment)):
            if kind in line:
                act(line[kind], moved)
        self.ended = "end" in line

    def _design(self, value: Any, moved: Moved) -> None:
        if value.get("javascript") is None:
            self._pool.store.install(Design.from_source(value["name"], value["selector"]))
        elif self._pool.store.capabilities.javascript:
            self._pool.store.install(Design.handwritten(value["name"], value["javascript"]))
        else:
            moved.left_out.append(value["name"])

    def close(self) -> None:
        """Let go of a file that was cut."""
        if self._file is not None:
            self._file.close()

    def _token(self, doc: Doc, moved: Moved) -> None:
        if not isinstance(doc, dict):
            raise ValueError("a token is an object")
        if state_of(doc) is State.LOCKED:
            doc = lifecycle.reset(doc)
        # By itself, so that what is wrong with it is not said of those that came with it.
        tokens.check_id(doc.get("_id"))
        tokens.encode(doc)
        self._last = doc
        self._batch.append(doc)
        if len(self._batch) >= _BATCH:
            self.flush(moved)

    def flush(self, moved: Moved) -> None:
        """Add the tokens that were gathered."""
        if not self._batch:
            return
        docs, self._batch = self._batch, []
        answers = self._pool.store.put(docs, as_given=True)
        added = sum(not isinstance(rev, Conflict) for rev in answers)
        moved.tokens += added
        moved.existing += len(docs) - added

    def _lacks(self, token_id: str, name: str) -> bool:
        """Whether a file is still to come: one that an import cut short left out is made up for by the next.

        A token of that id which is not, or no longer, the one in the export stays as it is.
        """
        doc = self._pool.get(token_id)
        if doc is None or self._last.get("_id") != token_id or name in doc.get("_attachments", {}):
            return False
        return _bare(doc) == _bare(self._last)

    def _attachment(self, piece: Any, moved: Moved) -> None:
        self.flush(moved)
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the last piece
        self._file.write(base64.b64decode(piece["data"], validate=True))
        if not piece["last"]:
            return
        file, self._file = self._file, None
        with file:
            file.seek(0)
            if self._lacks(piece["token"], piece["name"]):
                store, kind = self._pool.store, piece["content_type"]
                store.put_attachment(piece["token"], piece["name"], file, content_type=kind)
                moved.attachments += 1


def _attachment(pool: Pool, token_id: str, name: str, content_type: str) -> Iterator[str]:
    common = {"token": token_id, "name": name, "content_type": content_type}
    held: bytes | None = None
    for piece in _pieces(pool.store.get_attachment(token_id, name)):
        if held is not None:
            yield _line({"attachment": {**common, "last": False, "data": base64.b64encode(held).decode()}})
        held = piece
    yield _line({"attachment": {**common, "last": True, "data": base64.b64encode(held or b"").decode()}})


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE_BYTES):
            yield chunk[start : start + _PIECE_BYTES]


def _bare(doc: Doc) -> Doc:
    return {name: value for name, value in doc.items() if name not in ("_rev", "_attachments")}


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
