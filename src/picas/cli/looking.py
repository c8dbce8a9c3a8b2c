"""``ls``, ``show`` and ``logs``: looking at tokens."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import Form, form_for, is_terminal, print_json, print_rows, say
from picas.cli.selecting import AllOption, PoolOption, TagOption, TokensArgument, WhereOption, matched, selection
from picas.cli.session import open_pool
from picas.errors import NothingMatched

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

OutputOption = Annotated[Form | None, typer.Option("--output", "-o", help="The form to print in.", show_default=False)]


@app.command()
def ls(
    tokens: TokensArgument = None,
    where: WhereOption = None,
    tag: TagOption = None,
    everything: AllOption = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.", show_default=False)] = None,
    output: OutputOption = None,
    pool: PoolOption = None,
) -> None:
    """List tokens: all of them, or those selected, in the order in which they are claimed."""
    from picas.listing import TOKEN_COLUMNS, token_row

    form = form_for(output)
    with open_pool(pool) as opened:
        chosen = selection(tokens, where, tag, everything or not (tokens or where or tag))
        if tokens or where or tag:
            found: Iterable[Doc] = matched(opened, chosen)
        else:
            found = opened.select(chosen)
        found = islice(found, limit)
        if form is Form.JSONL:
            print_rows((), found, form)
        elif print_rows(TOKEN_COLUMNS, (token_row(doc) for doc in found), form) == 0 and is_terminal():
            say("the pool is empty; `picas add` adds tokens")


@app.command()
def show(
    tokens: TokensArgument = None,
    where: WhereOption = None,
    tag: TagOption = None,
    everything: AllOption = False,
    pool: PoolOption = None,
) -> None:
    """Show tokens in full, as JSON."""
    with open_pool(pool) as opened:
        for doc in matched(opened, selection(tokens, where, tag, everything)):
            print_json(doc)


@app.command()
def logs(
    token: Annotated[str, typer.Argument(help="The token's id.")],
    out: Annotated[bool, typer.Option("--out", help="Only standard output.")] = False,
    err: Annotated[bool, typer.Option("--err", help="Only standard error.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it is written, until the token is done or failed.")
    ] = False,
    pool: PoolOption = None,
) -> None:
    """Print what the command of a token wrote; exact bytes in a pipe, harmless text on a terminal."""
    from picas.cli import tailing
    from picas.lifecycle import State, state_of

    with open_pool(pool) as opened:
        doc = opened.get(token)
        if doc is None:
            raise NothingMatched(f"there is no token {token} in {opened.url}")
        if follow and state_of(doc) not in (State.DONE, State.ERROR):
            wanted = (("out", out or not err), ("err", err or not out))
            tailing.follow(opened, token, tuple(name for name, is_wanted in wanted if is_wanted))
            return
        streams = list(_streams(opened, doc, out=out or not err, err=err or not out))
        if not streams:
            say(f"token {token} wrote nothing" if doc.get("attempts") else f"token {token} has not been run")
        for name, chunks in streams:
            if is_terminal() and len(streams) > 1:
                say(f"--- {name}")
            for chunk in chunks:
                _write(chunk)


def _streams(pool: Pool, doc: Doc, *, out: bool, err: bool) -> Iterator[tuple[str, Iterator[bytes]]]:
    from picas.tokens import log_names

    for name, wanted in zip(log_names(doc["_id"]), (out, err), strict=True):
        if wanted and name in doc.get("_attachments", {}):
            yield name, pool.store.get_attachment(doc["_id"], name)


def _write(chunk: bytes) -> None:
    if is_terminal():
        from picas.cli.tailing import harmless

        sys.stdout.write(harmless(chunk.decode("utf-8", "replace")))
    else:
        sys.stdout.buffer.write(chunk)
