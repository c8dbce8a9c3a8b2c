"""``pool pause`` and ``pool resume``, and how other commands say that a pool is paused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli.output import clean, say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool

if TYPE_CHECKING:
    from picas.stores.steering import Pause

__all__ = ["PauseTeller", "pause", "paused_line", "paused_row", "resume"]


def pause(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, told to whoever asks.")] = "",
    pool: PoolOption = None,
) -> None:
    """Have no pilot claim anything until `picas pool resume`. What runs goes on, and pilots without work wait."""
    with open_pool(pool) as opened:
        before = opened.store.paused()
        opened.pause(why or (before.why if before else ""))
        at_once = opened.store.capabilities.pauses_at_once
        held = "nothing is claimed from now on" if at_once else "pilots obey with their next beat, within half a minute"
        say(f"paused {opened.url}: {held}; `picas pool resume` lets it go on")


def resume(pool: PoolOption = None) -> None:
    """Let pilots claim again."""
    with open_pool(pool) as opened:
        before = opened.store.paused()
        opened.resume()
        say(f"{opened.url} goes on" if before else f"{opened.url} was not paused")


def paused_line(pause: Pause) -> str:
    """That a pool is paused: by whom, since when, and why."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(pause.at))
    why = f": {pause.why}" if pause.why else ""
    return clean(f"paused by {pause.by} since {since}{why}")


def paused_row(pause: Pause | None) -> dict[str, Any] | None:
    """A pause in the JSON of a command."""
    return {"by": pause.by, "at": pause.at, "why": pause.why} if pause else None


class PauseTeller:
    """Says once that a pool is paused, and once that it goes on."""

    def __init__(self) -> None:
        self._told: Pause | None = None

    def tell(self, pause: Pause | None) -> None:
        """Say what has changed since the last call."""
        if pause != self._told:
            say(f"the pool is {paused_line(pause)}" if pause else "the pool goes on")
        self._told = pause
