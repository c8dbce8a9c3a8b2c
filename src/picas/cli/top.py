"""``top``: pilots and what they run, on a screen that goes on."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli.output import Form, form_for, is_terminal, print_json, write
from picas.cli.screen import PILOT_COLUMNS, TOKEN_COLUMNS, Picture, drawn, pilot_row, token_row
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.cli.status import forecast
from picas.errors import NothingMatched, UsageError

if TYPE_CHECKING:
    from picas.pool import Pool
    from picas.stores.base import PilotRecord

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MOST_TOKENS = 200
_KEY_EVERY = 0.2


@app.command()
def top(
    pilots: Annotated[
        list[str] | None, typer.Argument(metavar="PILOT...", help="Only these, by the beginning of their ids.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as in a pipe.")] = False,
    every: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="How often to look.")] = 2.0,
    output: Annotated[Form | None, typer.Option("--output", "-o", help="json, or plain.", show_default=False)] = None,
    pool: PoolOption = None,
) -> None:
    """Show the pilots, what they run, and what that uses of their machines; q ends it.

    A pilot's figures are those of its last beat, of which there are three per lease.
    """
    if output not in (None, Form.TABLE, Form.PLAIN, Form.JSON):
        raise UsageError(f"top has no form {output}", hint="plain, json or table")
    with open_pool(pool) as opened:
        view = _View(opened, tuple(pilots or ()))
        if once or not is_terminal() or form_for(output) is not Form.TABLE:
            _print(view.look(), form_for(output))
        else:
            _show(view, every)


class _View:
    """Looks at a pool again and again, and remembers how many tokens had ended when."""

    def __init__(self, pool: Pool, pilots: tuple[str, ...]) -> None:
        from picas.reports.pace import Pace

        self._pool = pool
        self._pilots = pilots
        self._pace = Pace()
        self._has_looked = False

    def look(self) -> Picture:
        """How it stands now. Tokens of pilots that fell silent are given back on the way, as by `picas status`."""
        records = self._pool.pilots()
        self._pool.recover(records)
        chosen = self._chosen(records)
        counts = {str(state): count for state, count in self._pool.count().items()}
        self._pace.look(counts, time.monotonic())
        self._has_looked = True
        now = self._pool.store.now()
        return Picture(
            pool=self._pool.url,
            counts=counts,
            pace=forecast(counts, self._pace.rate).removeprefix(", "),
            pilots=[pilot_row(record, time.time()) for record in chosen],
            tokens=[token_row(doc, now) for doc in self._running(chosen)],
        )

    def _chosen(self, records: Sequence[PilotRecord]) -> list[PilotRecord]:
        unknown = [name for name in self._pilots if not any(record.id.startswith(name) for record in records)]
        if unknown and not self._has_looked:
            raise NothingMatched(f"there is no pilot {', '.join(unknown)}", hint="`picas pilot ls` lists them")
        chosen = [record for record in records if not self._pilots or record.id.startswith(self._pilots)]
        return sorted(chosen, key=lambda record: (not record.alive, -record.running, record.id))

    def _running(self, chosen: Sequence[PilotRecord]) -> list[Any]:
        from picas.lifecycle import State
        from picas.selectors import parse
        from picas.views import View

        ids = [record.id for record in chosen]
        where = parse({"claim.pilot": {"$in": ids}}) if self._pilots else None
        return self._pool.store.page(View(State.LOCKED), limit=_MOST_TOKENS, where=where).docs


def _print(picture: Picture, form: Form) -> None:
    if form is Form.JSON:
        print_json(vars(picture))
    elif form is Form.TABLE:
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False)
        console.print(drawn(picture, console.width, len(picture.pilots) + len(picture.tokens) + 8))
    else:
        from picas.cli.output import clean

        rows: list[tuple[Any, ...]] = list(picture.counts.items())
        rows += [("pilot", *(pilot[name] for name in PILOT_COLUMNS)) for pilot in picture.pilots]
        rows += [("token", *(token[name] for name in TOKEN_COLUMNS)) for token in picture.tokens]
        for row in rows:
            write("\t".join(clean(cell) for cell in row) + "\n")


def _show(view: _View, every: float) -> None:
    """On the whole terminal, until somebody has enough."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    first = view.look()
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        picture, look_at = first, time.monotonic() + every
        size = None
        while True:
            now = time.monotonic()
            if now >= look_at:
                picture, look_at, size = view.look(), now + every, None
            if size != console.size:
                size = console.size
                live.update(drawn(picture, size.width, size.height), refresh=True)
            if b"q" in keys(_KEY_EVERY).lower():
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], bytes]]:
    """A function that waits so long for a key, and tells what was typed; that is not shown."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)

    def keys(seconds: float) -> bytes:
        return os.read(handle, 64) if select.select([handle], [], [], seconds)[0] else b""

    try:
        yield keys
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _no_keys(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""
