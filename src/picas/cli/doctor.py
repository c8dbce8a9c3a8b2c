"""``doctor``: whether this machine and the pool can do their work."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import typer

from picas import bundled
from picas.cli.output import clean
from picas.cli.selecting import PoolOption
from picas.cli.session import address, open_pool
from picas.errors import PicasError
from picas.pilot.fastpath import load

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LITTLE_ROOM = 2 * 10**9

Finding = tuple[str, str]


@app.command()
def doctor(pool: PoolOption = None) -> int:
    """Check this machine and the pool: a line each, ok, warn or bad; exit code 4 when the pool cannot be used."""
    findings = [*_machine(), *_pool(pool)]
    for mark, text in findings:
        typer.echo(clean(f"{mark:<5} {text}"))
    return 4 if any(mark == "bad" for mark, _ in findings) else 0


def _machine() -> Iterator[Finding]:
    # apsw bears the number of the SQLite in it; its import is the store's own business.
    sqlite = "a bundle without SQLite" if bundled.about() else f"SQLite {version('apsw')}"
    yield "ok", f"picas {version('picas')}, Python {sys.version.split()[0]}, {sqlite}"
    yield "ok", f"{len(os.sched_getaffinity(0))} cores for this process"
    if load() is None:
        yield "ok", "runners without their compiled fast path: commands of some milliseconds start more slowly"
    yield ("ok", "bash found") if shutil.which("bash") else ("warn", "no bash: commands given as one string cannot run")


def _pool(pool: str | None) -> Iterator[Finding]:
    from picas.stores.records import is_autopilot

    try:
        found = address(pool)
        yield "ok", f"pool {found.url} (from {found.origin})"
        with open_pool(pool) as opened:
            can = opened.store.capabilities
            yield "ok", f"it opens, with {sum(opened.count().values())} tokens; {can.note}".rstrip("; ")
            lost = [pilot for pilot in opened.pilots() if not (pilot.alive or is_autopilot(pilot))]
            if lost:
                yield "warn", f"{len(lost)} pilots fell silent; their tokens go back by themselves"
            yield from opened.store.findings()
            if Path(opened.url).is_file():
                yield from _folder(Path(opened.url))
    except PicasError as error:
        yield "bad", error.message + (f"; {error.hint}" if error.hint else "")


def _folder(pool: Path) -> Iterator[Finding]:
    """The place of a pool that is a file: its file system, whether locks work there, and room."""
    folder = pool.parent
    yield "ok", f"{folder} is on {_filesystem(folder)}"
    yield _locks(folder)
    free = shutil.disk_usage(folder).free
    yield "ok" if free > _LITTLE_ROOM else "warn", f"{free / 10**9:.1f} GB free in {folder}"


def _filesystem(folder: Path) -> str:
    import psutil

    at = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    nearest = next((place for place in (folder.resolve(), *folder.resolve().parents) if place in at), None)
    return f"a file system of type {at[nearest]}" if nearest else "a file system of unknown type"


def _locks(folder: Path) -> Finding:
    """Whether a lock that one handle holds is refused to another, as pilots beside each other rely on."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as one, Path(one.name).open("rb") as two:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "ok", f"file locks work in {folder}"
    except OSError as error:
        return "bad", f"no file can be locked in {folder}: {error.strerror}"
    return "bad", f"file locks do not exclude each other in {folder}; a pool there would break"
