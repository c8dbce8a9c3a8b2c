"""``doctor``: whether this machine and the pool can do their work."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import typer

from picas.cli.output import clean
from picas.cli.selecting import PoolOption
from picas.cli.session import address, open_pool
from picas.errors import PicasError

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
    yield "ok", f"picas {version('picas')}, Python {sys.version.split()[0]}"
    yield "ok", f"{len(os.sched_getaffinity(0))} cores for this process"
    yield ("ok", "bash found") if shutil.which("bash") else ("warn", "no bash: commands given as one string cannot run")


def _pool(pool: str | None) -> Iterator[Finding]:
    try:
        found = address(pool)
        yield "ok", f"pool {found.url} (from {found.origin})"
        with open_pool(pool) as opened:
            can = opened.store.capabilities
            yield "ok", f"it opens, with {sum(opened.count().values())} tokens; {can.note}".rstrip("; ")
            lost = [pilot for pilot in opened.pilots() if not pilot.alive]
            if lost:
                yield "warn", f"{len(lost)} pilots fell silent; `picas status` gives their tokens back"
            yield _room(opened.url)
    except PicasError as error:
        yield "bad", error.message + (f"; {error.hint}" if error.hint else "")


def _room(url: str) -> Finding:
    folder = Path(url).parent if Path(url).exists() else Path.cwd()
    free = shutil.disk_usage(folder).free
    return "ok" if free > _LITTLE_ROOM else "warn", f"{free / 10**9:.1f} GB free in {folder}"
