"""``explain``: why, and what next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import clean
from picas.cli.pausing import paused_line
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import NothingMatched

if TYPE_CHECKING:
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LOOKED_AT = 100_000


@app.command()
def explain(
    tokens: Annotated[list[str] | None, typer.Argument(metavar="[TOKEN]...", show_default=False)] = None,
    pool: PoolOption = None,
) -> None:
    """Say why a token is where it is, and what would have to change for it to run; or the same of the pool."""
    from picas.explain import explain_pool
    from picas.explaining import explained
    from picas.lifecycle import State
    from picas.views import View

    with open_pool(pool) as opened:
        lines = []
        pause = opened.store.paused()
        for token_id in tokens or ():
            doc = opened.get(token_id)
            if doc is None:
                raise NothingMatched(f"there is no token {token_id} in {opened.url}")
            lines += explained(opened, doc)
        if not tokens:
            ready_in = opened.store.next_ready(View(State.TODO))
            lines = explain_pool(
                opened.count(),
                ready_in=ready_in,
                pilots=opened.pilots(),
                now=opened.store.now(),
                waiting=_waiting(opened),
            )
        if pause is not None:
            lines.append(f"the pool is {paused_line(pause)}; nothing is claimed until `picas pool resume`")
    for line in lines:
        typer.echo(clean(line))


def _waiting(pool: Pool) -> dict[str, int]:
    """How many of the waiting tokens require the same; of a large pool those that come first."""
    import json
    from collections import Counter
    from itertools import islice

    from picas.lifecycle import State
    from picas.pool import Selection
    from picas.views import View

    found: Counter[str] = Counter()
    for doc in islice(pool.select(Selection(views=(View(State.TODO),))), _LOOKED_AT):
        if doc.get("requires"):
            found[json.dumps(doc["requires"], sort_keys=True)] += 1
    return found
