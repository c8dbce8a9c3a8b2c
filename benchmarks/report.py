"""Plain tables, and a line that says on what machine they came about."""

from __future__ import annotations

import importlib
import os
import platform
import sqlite3
from collections.abc import Sequence
from pathlib import Path

__all__ = ["file_system", "machine", "number", "numbers", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, the first column to the left, the others to the right; longer rows end in a remark."""
    widths = [max(len(row[i]) for row in [head, *rows] if i < len(row)) for i in range(len(head))]
    return "\n".join(_line(row, widths) for row in [head, ["-" * width for width in widths], *rows])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, *row[len(widths) :]]).rstrip()


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated, or a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def numbers(text: str) -> list[int]:
    """``1,16`` or ``10k,1M`` as integers; an empty text is none."""
    units = {"k": 1_000, "M": 1_000_000}
    return [int(word.rstrip("kM")) * units.get(word[-1], 1) for word in text.split(",") if word]


def file_system(folder: Path) -> str:
    """The type of file system that a folder is on, ``unknown`` where /proc does not say."""
    best = ("", "unknown")
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return best[1]
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def machine(folder: Path | None = None) -> str:
    """One line: processor cores, kernel, Python; with the folder that pools lie in SQLite and its file system."""
    pools = f"SQLite {_sqlite_version()}, pools on {file_system(folder)}, " if folder else ""
    return (
        f"machine: {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {pools}load {os.getloadavg()[0]:.2f} at the start"
    )


def _sqlite_version() -> str:
    try:
        return str(importlib.import_module("apsw").sqlite_lib_version())
    except ImportError:
        return f"{sqlite3.sqlite_version} (no apsw)"
