"""Reading tokens from lines, tables, JSON lines, ranges and sweeps; each reader knows where it is."""

from __future__ import annotations

import csv
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from picas.errors import InvalidToken, UsageError
from picas.lifecycle import State, put, state_of
from picas.tokens import MAX_BYTES, loads

__all__ = ["Source", "from_csv", "from_jsonl", "from_lines", "from_range", "from_sweeps", "integers"]

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_LINE = 6 * MAX_BYTES + 1024
"""In bytes: a token of the largest size with every letter written as ``\\uXXXX``."""
_OURS = frozenset({"type", "lock", "done", "exit_code", "scrub_count", "fence", "claim", "cancel", "attempts"})
"""Fields that say where a token is in its life."""
_RANGE = re.compile(r"(-?[0-9]+)-(-?[0-9]+)(?::([1-9][0-9]*))?")


class Source:
    """Tokens read one by one, and the place of the last one for a message."""

    def __init__(self, name: str, read: Callable[[Source], Iterator[dict[str, Any]]]) -> None:
        self.name = name
        self.line = 0
        self.texts: dict[str, str] = {}
        """The last row of a table as it was written: ``1.10`` is the number 1.1, but the text in a command."""
        self._read = read

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._read(self)
        except (csv.Error, ValueError) as error:
            if isinstance(error, InvalidToken):
                raise
            raise InvalidToken(f"{self.place}: {error}") from None

    @property
    def place(self) -> str:
        """``FILE:LINE`` of the last token."""
        return f"{self.name}:{self.line}" if self.line else self.name


def from_lines(path: str) -> Source:
    """Each line is one token's ``input``, and ``line`` in a template; empty lines are passed over."""

    def read(source: Source) -> Iterator[dict[str, Any]]:
        for text in _lines(path, source):
            line = text.removesuffix("\n").removesuffix("\r")
            if line:
                yield {"input": line}

    return Source(_name(path), read)


def from_csv(path: str, separator: str) -> Source:
    """The first line names the fields; every other must have as many. Numbers become numbers."""

    def read(source: Source) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(MAX_BYTES)
        rows = csv.reader(_lines(path, source), delimiter=separator, strict=True)
        header = _header(next(rows, None))
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells, but the first line names {len(header)} fields")
            source.texts = dict(zip(header, row, strict=True))
            yield {name: _number(cell) for name, cell in source.texts.items()}

    return Source(_name(path), read)


def from_jsonl(path: str) -> Source:
    """One JSON object in each line."""

    def read(source: Source) -> Iterator[dict[str, Any]]:
        for text in _lines(path, source):
            if not text.strip():
                continue
            value = loads(text)
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            _check_state(value)
            yield {name: item for name, item in value.items() if name != "_rev"}

    return Source(_name(path), read)


def from_range(text: str) -> Source:
    """``1-100:5``: a token for each integer, in the field ``i``."""
    return Source("--range", lambda _: ({"i": number} for number in integers(text, "--range")))


def from_sweeps(texts: Sequence[str]) -> Source:
    """``a=1,2`` and ``b=x,y``: a token for each combination."""
    names, choices = [], []
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name) or not values:
            raise UsageError(f"--sweep {text!r} is not NAME=VALUE,VALUE,...")
        names.append(name)
        choices.append(_choices(values))
    if len(set(names)) != len(names):
        raise UsageError("--sweep: a name stands twice")
    return Source(
        "--sweep", lambda _: (dict(zip(names, values, strict=True)) for values in itertools.product(*choices))
    )


def integers(text: str, option: str) -> range:
    """The integers of ``A-B`` or ``A-B:STEP``, both ends in."""
    found = _RANGE.fullmatch(text)
    if not found or int(found[2]) < int(found[1]):
        raise UsageError(f"{option} {text!r} is not FIRST-LAST or FIRST-LAST:STEP")
    return range(int(found[1]), int(found[2]) + 1, int(found[3] or 1))


def _choices(values: str) -> list[Any]:
    if _RANGE.fullmatch(values):
        return list(integers(values, "--sweep"))
    return [_number(value) for value in values.split(",")]


def _number(cell: str) -> Any:
    """Text that is a JSON number as a number; ``007``, ``1.`` and what databases round stay text."""
    if not _NUMBER.fullmatch(cell):
        return cell
    if "." in cell or "e" in cell.lower():
        return float(cell) if math.isfinite(float(cell)) else cell
    return int(cell) if len(cell) < 20 and abs(int(cell)) < 2**53 else cell


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _header(names: list[str] | None) -> list[str]:
    """The names of a table's fields, none of which may mean something to picas that a table cannot."""
    if not names or len(set(names)) != len(names) or "" in names:
        raise ValueError("the first line must name the fields, each once")
    taken = _OURS.intersection(names)
    if taken:
        raise ValueError(f"the field {min(taken)!r} is kept by picas itself; name it otherwise")
    return names


def _check_state(doc: dict[str, Any]) -> None:
    """A token that comes with a state must have one that nobody is to end: not locked, and no nonsense."""
    if state_of(put(doc)) in (None, State.LOCKED):
        kept = ", ".join(f"{name} {doc[name]!r:.40}" for name in ("type", "lock", "done") if name in doc)
        raise ValueError(f"no token that can be added, by its {kept}")


def _lines(path: str, source: Source) -> Iterator[str]:
    """Lines with their ends, decoded one by one, so that the source knows where it is when one is bad."""
    with _opened(path) as file:
        while raw := file.readline(_MAX_LINE):
            source.line += 1
            if len(raw) == _MAX_LINE:
                raise ValueError(f"a line of more than the limit of {_MAX_LINE:,} bytes")
            try:
                text = raw.decode("utf-8-sig" if source.line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from None
            if "\0" in text:
                raise ValueError("holds a NUL character")
            yield text


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        if path == "-":
            if sys.stdin is None:
                raise UsageError("standard input is closed")
            yield sys.stdin.buffer
            return
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
