"""``explain``: why, and what next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import clean
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import NothingMatched

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_TAIL = 4096


@app.command()
def explain(
    tokens: Annotated[list[str] | None, typer.Argument(metavar="[TOKEN]...", show_default=False)] = None,
    pool: PoolOption = None,
) -> None:
    """Say why a token is where it is, and what would have to change for it to run; or the same of the pool."""
    from picas.explain import explain_pool
    from picas.lifecycle import State
    from picas.views import View

    with open_pool(pool) as opened:
        lines = []
        for token_id in tokens or ():
            doc = opened.get(token_id)
            if doc is None:
                raise NothingMatched(f"there is no token {token_id} in {opened.url}")
            lines += _token(opened, doc)
        if not tokens:
            ready_in = opened.store.next_ready(View(State.TODO))
            lines = explain_pool(opened.count(), ready_in=ready_in, pilots=opened.pilots())
    for line in lines:
        typer.echo(clean(line))


def _token(pool: Pool, doc: Doc) -> list[str]:
    from picas.explain import explain_token
    from picas.lifecycle import state_of

    after = [str(token_id) for token_id in doc.get("after") or ()]
    needs = {token_id: state_of(found or {}) for token_id, found in zip(after, pool.store.get(after), strict=True)}
    return explain_token(doc, now=pool.store.now(), needs=needs, pilots=pool.pilots(), tail=_tail(pool, doc))


def _tail(pool: Pool, doc: Doc) -> str:
    """The end of what the command wrote to standard error."""
    from picas.tokens import log_names

    name = log_names(doc["_id"])[1]
    if name not in doc.get("_attachments", {}):
        return ""
    kept = b""
    for chunk in pool.store.get_attachment(doc["_id"], name):
        kept = (kept + chunk)[-_TAIL:]
    return kept.decode("utf-8", "replace")
