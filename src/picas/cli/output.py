"""What a command prints: data on stdout in one of a few forms, talk on stderr; nothing that a terminal would obey."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from picas.enums import Word

__all__ = [
    "Form",
    "clean",
    "counted",
    "form_for",
    "is_terminal",
    "prepare_streams",
    "print_json",
    "print_rows",
    "say",
    "say_error",
    "say_lines",
    "write",
]

_Item = TypeVar("_Item")

SHAPE = 1
"""Version of the JSON that commands print; it rises when a field changes its meaning or goes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_NEWLINE = re.compile(r"[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NARROWEST = 12
_WIDTH_ROWS = 500
_LEAST_LAST = 8


class Form(Word):
    """How rows are printed."""

    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    ID = "id"


def prepare_streams() -> None:
    """Streams that nothing can make fail: a closed one swallows, and what an encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal() -> bool:
    """Whether a person reads our standard output."""
    return sys.stdout.isatty()


def form_for(form: Form | None) -> Form:
    """The form asked for; a table on a terminal and plain lines elsewhere."""
    return form or (Form.TABLE if is_terminal() else Form.PLAIN)


def clean(value: object) -> str:
    """A value as text on one line in which nothing moves the cursor, colours or rings."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """A line of talk, to stderr."""
    print(clean(text), file=sys.stderr)  # noqa: T201 - this is where talk goes


@contextmanager
def counted(what: str) -> Iterator[Callable[[Iterable[_Item]], Iterator[_Item]]]:
    """For work that may be long: a function that passes items on and, at a terminal, counts them on a line."""
    shown = False

    def count(items: Iterable[_Item]) -> Iterator[_Item]:
        nonlocal shown
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield from items
            return
        next_at = time.monotonic() + 1
        for number, item in enumerate(items, 1):
            yield item
            if time.monotonic() >= next_at:
                sys.stderr.write(f"\r\x1b[K{what}: {number:,}")
                sys.stderr.flush()
                shown, next_at = True, time.monotonic() + 0.2

    try:
        yield count
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def say_lines(text: str) -> None:
    """Talk of several lines."""
    for line in text.splitlines():
        say(line)


def say_error(message: str, hint: str = "") -> None:
    """What went wrong in one line, and what to do next in another."""
    say(f"picas: {message}")
    if hint:
        say(f"hint: {hint}")


def write(text: str) -> None:
    """Data, to stdout."""
    sys.stdout.write(text)


def print_json(value: Mapping[str, Any]) -> None:
    """One object, with the version of its shape."""
    write(_json({"picas": SHAPE, **value}, indent=2) + "\n")


def print_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], form: Form, *, key: str = "id") -> int:
    """Rows of one kind in the form asked for; how many there were."""
    if form is Form.TABLE:
        return _table(columns, rows)
    if form is Form.JSON:
        return _json_rows(rows)
    count = 0
    for count, row in enumerate(rows, 1):
        if form is Form.CSV and count == 1:
            write(_csv(columns))
        write(_line(columns, row, form, key))
    return count


def _json_rows(rows: Iterable[Mapping[str, Any]]) -> int:
    """One object with all rows, written as they come: what is cut off by an error has no end."""
    head, foot = _json({"picas": SHAPE, "rows": []}, indent=2).split("[]")
    write(f"{head}[")
    count = 0
    for count, row in enumerate(rows, 1):
        write(("," if count > 1 else "") + f"\n{_json(row, indent=2)}".replace("\n", "\n    "))
    write(("\n  ]" if count else "]") + f"{foot}\n")
    return count


def _line(columns: Sequence[str], row: Mapping[str, Any], form: Form, key: str) -> str:
    if form is Form.JSONL:
        return _json(row) + "\n"
    if form is Form.ID:
        return clean(row[key]) + "\n"
    values = [row.get(column) for column in columns]
    return _csv(values) if form is Form.CSV else "\t".join(clean(value) for value in values) + "\n"


def _csv(values: Sequence[object]) -> str:
    """A line of CSV; at a terminal with nothing in it that one would obey."""
    from picas.sheets import csv_line

    return csv_line([clean(value) if isinstance(value, str) and is_terminal() else value for value in values])


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Tables of so many rows at a time, so that a long listing appears at once and memory stays flat."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    source, count = iter(rows), 0
    while part := list(islice(source, _WIDTH_ROWS)):
        console.print(_grid(columns, part, header=count == 0, room=console.width))
        count += len(part)
    return count


def _grid(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, header: bool, room: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    widths = [max(len(column), *(len(clean(row.get(column))) for row in rows)) for column in columns[:-1]]
    whole = sum(widths) + 2 * len(widths) + _LEAST_LAST <= room
    for column, width in zip(columns, [*widths, None], strict=True):
        # Where there is room, the last column alone is cut: ids and states are to be read and copied.
        table.add_column(
            column,
            overflow="ellipsis",
            no_wrap=True,
            min_width=width if whole or width is None else min(width, _NARROWEST),
        )
    for row in rows:
        table.add_row(
            *(Text(clean(row.get(column)), style=_STYLES.get(str(row.get(column)), "")) for column in columns)
        )
    return table


_STYLES = {"error": "red", "done": "green", "locked": "yellow", "held": "dim"}


def _json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON in which characters that a terminal obeys, or that some programs take for line ends, are escaped."""
    text = json.dumps(value, ensure_ascii=not _speaks_unicode(), indent=indent)
    return _CONTROL_BUT_NEWLINE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
