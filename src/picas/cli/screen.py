"""The screen of ``picas top``: what is shown of a pool, and how it fits into a terminal of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from picas.cli.output import clean

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.stores.base import PilotRecord

__all__ = ["PILOT_COLUMNS", "TOKEN_COLUMNS", "Picture", "drawn", "pilot_row", "token_row"]

PILOT_COLUMNS = ("id", "host", "state", "age", "beat", "busy", "cores", "running", "finished", "cpu", "memory", "job")
TOKEN_COLUMNS = ("id", "since", "pilot", "command")
_WIDE, _NARROW, _LOW = 110, 70, 10


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a pool looks like at a time: counts by state, what is said of the pace, rows of pilots and of tokens."""

    pool: str
    counts: Mapping[str, int]
    pace: str
    pilots: Sequence[Mapping[str, Any]]
    tokens: Sequence[Mapping[str, Any]]


class _Column(NamedTuple):
    is_number: bool
    show: Callable[[Mapping[str, Any]], str]


def pilot_row(record: PilotRecord, now: float) -> dict[str, Any]:
    """What is known of a pilot: times in seconds, memory in bytes, None for what it does not say."""
    return {
        "id": record.id,
        "host": record.hostname,
        "state": "alive" if record.alive else "lost",
        "age": round(max(0.0, now - record.started_at)),
        "beat": round(record.silent, 1) if record.silent != float("inf") else None,
        "busy": record.busy,
        "cores": record.cores,
        "running": record.running,
        "finished": record.finished,
        "cpu": record.cpu,
        "memory": record.memory_used,
        "job": " ".join(str(value) for value in record.job.values() if value),
    }


def token_row(doc: Doc, now: float) -> dict[str, Any]:
    """What is known of a token that runs: for how many seconds, and where."""
    claim = doc.get("claim")
    claim = claim if isinstance(claim, dict) else {}
    at = claim.get("at", doc.get("lock"))
    command = doc.get("command", doc.get("input", ""))
    return {
        "id": doc["_id"],
        "since": round(max(0.0, now - at)) if isinstance(at, (int, float)) else None,
        "pilot": claim.get("pilot") or doc.get("hostname"),
        "command": " ".join(map(str, command)) if isinstance(command, list) else str(command),
    }


def drawn(picture: Picture, width: int, height: int) -> Any:
    """The picture for a terminal of this size, never longer than that."""
    from rich.console import Group
    from rich.text import Text

    has_tokens = bool(picture.tokens) and height >= _LOW
    room = max(1, height - (7 if has_tokens else 5))
    most = min(len(picture.pilots), room - (min(len(picture.tokens), room // 2) if has_tokens else 0))
    counts = "  ".join(f"{state} {count:,}" for state, count in picture.counts.items())
    lines = [
        Text(clean(f"pool {picture.pool}"), style="bold", no_wrap=True, overflow="ellipsis"),
        Text(counts, no_wrap=True, overflow="ellipsis"),
        Text(picture.pace, no_wrap=True, overflow="ellipsis"),
        Text(""),
        _table(_pilots(width), picture.pilots, most),
    ]
    if has_tokens:
        lines += [Text(""), _table(_tokens(width), picture.tokens, room - most)]
    return Group(*lines)


def _table(columns: Mapping[str, _Column], rows: Sequence[Mapping[str, Any]], most: int) -> Any:
    """As many rows as there is room for; of more the last line says how many."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name, column in columns.items():
        # Names and commands are cut where there is no room; a number is whole, or its column is not there.
        least = max([len(name), *(len(column.show(row)) for row in rows[:most])]) if column.is_number else None
        justify: Literal["right", "left"] = "right" if column.is_number else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", min_width=least)
    shown = rows if len(rows) <= most else rows[: max(0, most - 1)]
    for row in shown:
        style = "red" if row.get("state") == "lost" else ""
        table.add_row(*(Text(clean(column.show(row)), style=style) for column in columns.values()))
    if len(rows) > len(shown):
        table.add_row(Text(f"and {len(rows) - len(shown)} more", style="dim"))
    return table


def _pilots(width: int) -> dict[str, _Column]:
    columns: dict[str, _Column] = {
        "pilot": _Column(False, lambda row: row["id"]),
        "host": _Column(False, lambda row: row["host"]),
        "age": _Column(True, lambda row: length(row["age"])),
        "beat": _Column(True, lambda row: length(row["beat"])),
        "cores": _Column(True, lambda row: f"{'?' if row['busy'] is None else row['busy']}/{row['cores']}"),
        "run": _Column(True, lambda row: str(row["running"])),
        "done": _Column(True, lambda row: str(row["finished"])),
        "cpu": _Column(True, lambda row: "" if row["cpu"] is None else f"{row['cpu']:.1f}"),
        "mem": _Column(True, lambda row: amount(row["memory"])),
        "job": _Column(False, lambda row: row["job"]),
    }
    hidden = set() if width >= _WIDE else {"host", "job"} if width >= _NARROW else {"host", "job", "age", "beat", "run"}
    return {name: column for name, column in columns.items() if name not in hidden}


def _tokens(width: int) -> dict[str, _Column]:
    columns: dict[str, _Column] = {
        "token": _Column(False, lambda row: row["id"]),
        "since": _Column(True, lambda row: length(row["since"])),
        "pilot": _Column(False, lambda row: row["pilot"] or ""),
        "command": _Column(False, lambda row: row["command"]),
    }
    return {name: column for name, column in columns.items() if width >= _WIDE or name != "command"}


def length(seconds: float | None) -> str:
    """A length of time in five letters or fewer."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24}d"
    return f"{hours}h{minutes:02}" if hours else f"{minutes}m{rest:02}" if minutes else f"{rest}s"


def amount(size_bytes: float | None) -> str:
    """A number of bytes in five letters or fewer."""
    if size_bytes is None:
        return ""
    size = float(size_bytes)
    for unit in "BKMGT":
        if size < 1000 or unit == "T":
            break
        size /= 1024
    return f"{size:.1f}{unit}" if size < 10 and unit != "B" else f"{size:.0f}{unit}"
