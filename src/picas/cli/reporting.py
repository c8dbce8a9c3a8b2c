"""``report``: what a pool came to, in words, numbers and a picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli.looking import OutputOption
from picas.cli.output import Form, counted, print_json, print_rows, say, write
from picas.cli.selecting import AllOption, PoolOption, TagOption, TokensArgument, WhereOption, matched, selection
from picas.cli.session import open_pool
from picas.errors import UsageError

if TYPE_CHECKING:
    from picas.pool import Pool
    from picas.reports.summary import Summary

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SPANS = 60_000
"""Attempts that are kept one by one for a picture."""


@app.command()
def report(
    tokens: TokensArgument = None,
    where: WhereOption = None,
    tag: TagOption = None,
    everything: AllOption = False,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw a lane for each slot of each pilot.", show_default=False),
    ] = None,
    cores: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="N", help="Cores of each pilot that did not record them.", show_default=False),
    ] = None,
    output: OutputOption = None,
    pool: PoolOption = None,
) -> None:
    """Tell what became of the pool, or of the tokens selected: counts, times, core hours, failures, hosts, pilots."""
    if output is Form.ID:
        raise UsageError("a report has no ids", hint="`picas ls -o id` lists them")
    if timeline is not None:
        _check(timeline)
    with open_pool(pool) as opened:
        chosen = selection(tokens, where, tag, everything or not (tokens or where or tag))
        from picas.reports.summary import figures, summarise
        from picas.reports.tally import Tally

        tally = Tally(now=opened.store.now(), spans=_SPANS if timeline else 0)
        found = matched(opened, chosen) if tokens or where or tag else opened.select(chosen)
        with counted("read") as count:
            tally.add_all(count(found))
        summary = summarise(tally, opened.pilots(), cores)
        if timeline is not None:
            _draw(summary, opened, timeline)
        _print({"pool": opened.url, **figures(summary)}, output or Form.TABLE)


def _check(path: Path) -> None:
    """Refuse a file that could not be written, before the pool is read."""
    if path.suffix.lower() != ".svg":
        hint = "name it FILE.svg; browsers show it, and `rsvg-convert` or Inkscape make PNG or PDF of it"
        raise UsageError(f"--timeline {path}: the picture is an SVG", hint=hint)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--timeline {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"--timeline {path}: that is a folder")


def _draw(summary: Summary, opened: Pool, path: Path) -> None:
    """Write the picture beside its place, and put it there when it is whole."""
    from picas.reports.timeline import timeline
    from picas.reports.words import pool_name

    # A new file: nobody's prepared link of that name is followed.
    fresh = path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}")
    try:
        with fresh.open("x", encoding="utf-8") as file:
            file.writelines(timeline(summary, pool_name(opened.url)))
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    say(f"drew {path}")


def _print(told: Mapping[str, Any], form: Form) -> None:
    if form in (Form.JSON, Form.JSONL):
        print_json(told)
    elif form in (Form.PLAIN, Form.CSV):
        print_rows(("name", "value"), ({"name": name, "value": value} for name, value in _flat(told)), form, key="name")
    else:
        from picas.cli.output import clean
        from picas.reports.story import story

        for line in story(told, bars=(sys.stdout.encoding or "").lower().replace("-", "") == "utf8"):
            write(f"{clean(line)}\n")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All figures, each with the path to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}.{number}")
    else:
        yield name, value
