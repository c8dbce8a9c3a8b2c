"""``wait``: until the work is done."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import say
from picas.cli.pausing import PauseTeller
from picas.cli.selecting import PoolOption, TagOption, TokensArgument, WhereOption, matched, selection
from picas.cli.session import open_pool, seconds
from picas.errors import NothingMatched, WaitTimeout

if TYPE_CHECKING:
    from picas.lifecycle import State
    from picas.pool import Pool, Selection

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def wait(
    tokens: TokensArgument = None,
    where: WhereOption = None,
    tag: TagOption = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Give up after this, with exit code 7.")] = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit 1 when a token failed.")] = False,
    pool: PoolOption = None,
) -> int:
    """Wait until no selected token waits or runs.

    Held tokens count as long as anything in the pool may still release them. When nothing may, the exit code is 6.
    """
    limit = seconds(timeout, "--timeout")
    until = None if limit is None else time.monotonic() + limit
    with open_pool(pool) as opened:
        chosen = selection(tokens, where, tag, not (tokens or where or tag))
        if chosen.ids:
            deque(matched(opened, chosen), maxlen=0)
        counts = _wait(opened, chosen, until)
    by_name = {str(state): count for state, count in counts.items()}
    say(f"{by_name['done']} done, {by_name['error']} failed")
    if by_name["held"]:
        raise NothingMatched(
            f"{by_name['held']} tokens are held, and nothing runs that could release them",
            hint="`picas explain ID` says what for; `picas reset held` puts them to todo",
        )
    return 1 if fail and by_name["error"] else 0


def _wait(pool: Pool, chosen: Selection, until: float | None) -> dict[State, int]:
    look_at, teller = 0.0, PauseTeller()
    while True:
        counts = _count(pool, chosen)
        by_name = {str(state): count for state, count in counts.items()}
        if not by_name["todo"] and not by_name["locked"] and not _released(pool, by_name["held"]):
            return counts
        now = time.monotonic()
        if now >= look_at:
            pool.recover()
            teller.tell(pool.store.paused())
            look_at = now + 5
        if until is not None and now >= until:
            raise WaitTimeout(
                f"{by_name['todo']} tokens still wait and {by_name['locked']} still run",
                hint="`picas pilot ls` shows who works on them",
            )
        pool.store.wait(0.5 if until is None else max(0.0, min(0.5, until - now)))


def _count(pool: Pool, chosen: Selection) -> dict[State, int]:
    from picas.lifecycle import State, state_of

    if not chosen.ids and not chosen.views:
        return pool.count(where=chosen.where)
    counts = dict.fromkeys(State, 0)
    for doc in pool.select(chosen):
        state = state_of(doc)
        if state is not None:
            counts[state] += 1
    return counts


def _released(pool: Pool, held: int) -> bool:
    """Whether held tokens may still become ready by themselves: as long as something in the pool waits or runs."""
    if not held:
        return False
    everywhere = {str(state): count for state, count in pool.count().items()}
    return bool(everywhere["todo"] or everywhere["locked"])
