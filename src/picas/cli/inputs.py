"""Reading tokens from lines, tables, JSON lines, ranges and sweeps; each reader knows where it is."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from picas.errors import InvalidToken, UsageError
from picas.tokens import loads

__all__ = ["Source", "from_csv", "from_jsonl", "from_lines", "from_range", "from_sweeps", "integers"]

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_RANGE = re.compile(r"(-?[0-9]+)-(-?[0-9]+)(?::([1-9][0-9]*))?")


class Source:
    """Tokens read one by one, and the place of the last one for a message."""

    def __init__(self, name: str, read: Callable[[Source], Iterator[dict[str, Any]]]) -> None:
        self.name = name
        self.line = 0
        self._read = read

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._read(self)
        except UnicodeDecodeError as error:
            raise InvalidToken(f"{self.name}:{self.line + 1}: not UTF-8: {error.reason}") from None
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
        with _opened(path) as file:
            for text in file:
                source.line += 1
                line = text.rstrip("\n").rstrip("\r")
                if line:
                    yield {"input": line}

    return Source(_name(path), read)


def from_csv(path: str, separator: str) -> Source:
    """The first line names the fields; every other must have as many. Numbers become numbers."""

    def read(source: Source) -> Iterator[dict[str, Any]]:
        with _opened(path) as file:
            rows = csv.reader(file, delimiter=separator, strict=True)
            header = next(rows, None)
            source.line = rows.line_num
            if not header or len(set(header)) != len(header) or "" in header:
                raise ValueError("the first line must name the fields, each once")
            for row in rows:
                source.line = rows.line_num
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} cells, but the first line names {len(header)} fields")
                yield {name: _number(cell) for name, cell in zip(header, row, strict=True)}

    return Source(_name(path), read)


def from_jsonl(path: str) -> Source:
    """One JSON object in each line."""

    def read(source: Source) -> Iterator[dict[str, Any]]:
        with _opened(path) as file:
            for text in file:
                source.line += 1
                if not text.strip():
                    continue
                value = loads(text)
                if not isinstance(value, dict):
                    raise ValueError("not a JSON object")
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
    """Text that is a JSON number as a number; ``007`` and ``1.`` stay text, since they would come back changed."""
    if not _NUMBER.fullmatch(cell):
        return cell
    number = int(cell) if cell.lstrip("-").isdigit() else float(cell)
    return number if isinstance(number, float) or abs(number) < 2**53 else cell


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _opened(path: str) -> TextIO:
    try:
        if path == "-":
            return open(sys.stdin.fileno(), encoding="utf-8", newline="", closefd=False)
        return Path(path).open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
