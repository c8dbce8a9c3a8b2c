"""``status``: how the pool stands, once or live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli.output import Form, clean, form_for, print_json, print_rows, say, write
from picas.cli.pausing import paused_line, paused_row
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.stores.steering import Pause

if TYPE_CHECKING:
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_STYLES = {"held": "dim", "todo": "", "locked": "yellow", "done": "green", "error": "red"}


@app.command()
def status(
    view: Annotated[str, typer.Option(metavar="NAME", help="The design document to count.")] = "Monitor",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, until interrupted or all is done.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often, with --watch.")] = 1.0,
    output: Annotated[Form | None, typer.Option("--output", "-o", show_default=False, help="json, or plain.")] = None,
    pool: PoolOption = None,
) -> None:
    """Show how many tokens wait, run, failed and are done, and the pilots; give back tokens of dead pilots."""
    with open_pool(pool) as opened:
        _recover(opened)
        if watch:
            _watch(opened, view, every)
        else:
            _print(_picture(opened, view), form_for(output))


def _recover(pool: Pool) -> None:
    given_back = pool.recover()
    if given_back:
        say(f"gave back {len(given_back)} tokens of pilots that fell silent")


def _picture(pool: Pool, view: str) -> dict[str, Any]:
    from picas.listing import pilot_row

    counts = {str(state): count for state, count in pool.count(view).items()}
    return {
        "pool": pool.url,
        "view": view,
        "counts": counts,
        "pilots": [pilot_row(record) for record in pool.pilots()],
        "paused": paused_row(pool.store.paused()),
    }


def _print(picture: dict[str, Any], form: Form) -> None:
    if form in (Form.JSON, Form.JSONL):
        print_json(picture)
        return
    if form in (Form.CSV, Form.ID):
        rows = [{"state": state, "count": count} for state, count in picture["counts"].items()]
        print_rows(("state", "count"), rows, form, key="state")
        return
    if form is Form.PLAIN:
        for state, count in picture["counts"].items():
            write(f"{state}\t{count}\n")
        write(f"pilots\t{sum(pilot['state'] == 'alive' for pilot in picture['pilots'])}\n")
        if picture["paused"]:
            write(f"paused\t{paused_line(Pause(**picture['paused']))}\n")
        return
    from rich.console import Console

    Console(highlight=False, markup=False).print(_drawn(picture, None))


def _drawn(picture: dict[str, Any], rate: float | None) -> Any:
    """The counts with a bar each, the pilots, and when it will be over."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = picture["counts"]
    total = max(1, sum(counts.values()))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for state, count in counts.items():
        bar = "━" * round(30 * count / total) if count else ""
        table.add_row(
            state, Text(f"{count:,}", justify="right"), Text(bar or ("╸" if count else ""), style=_STYLES[state])
        )
    lines: list[Any] = [Text(clean(f"pool {picture['pool']}"), style="bold"), table]
    if picture["paused"]:
        lines.append(Text(paused_line(Pause(**picture["paused"])), style="yellow"))
    alive = [pilot for pilot in picture["pilots"] if pilot["state"] == "alive"]
    lost = sum(pilot["state"] == "lost" for pilot in picture["pilots"])
    words = f"{len(alive)} pilot{'s' if len(alive) != 1 else ''}"
    words += f", {lost} lost" if lost else ""
    lines.append(Text(words + forecast(counts, rate)))
    lines += [
        Text(clean(f"  {p['id']}  {p['running']}/{p['cores']} running, {p['finished']} finished")) for p in alive[:8]
    ]
    return Group(*lines)


def forecast(counts: dict[str, int], rate: float | None) -> str:
    """How fast it goes and when it will be over, as far as that is known; to go on with a line."""
    if rate is None:
        return ""
    left = counts["todo"] + counts["locked"]
    if not left:
        return ", nothing left to do"
    if rate <= 0:
        return f", {left:,} left, no end in sight: none ended in the last minute"
    return f", {rate:,.1f} tokens/s, {left:,} left, about {_duration(left / rate)} to go"


def _duration(length: float) -> str:
    minutes, rest = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _watch(pool: Pool, view: str, every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from picas.reports.pace import Pace

    pace = Pace()
    console = Console(highlight=False, markup=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            picture = _picture(pool, view)
            counts = picture["counts"]
            pace.look(counts, time.monotonic())
            live.update(_drawn(picture, pace.rate), refresh=True)
            if (
                not counts["todo"]
                and not counts["locked"]
                and not any(p["state"] == "alive" for p in picture["pilots"])
            ):
                return
            time.sleep(every)
            _recover(pool)
