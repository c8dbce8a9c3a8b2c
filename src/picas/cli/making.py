"""``init`` and ``config``: a pool made, and which pool is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import Form, print_json, say
from picas.cli.selecting import PoolOption
from picas.cli.session import address, ask_password, keep_password, opened, wants_password
from picas.errors import NoPool, StoreFailure

if TYPE_CHECKING:
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)
config = typer.Typer(help="Show which pool is meant, and why.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config, name="config")


@app.command()
def init(pool: PoolOption = None) -> None:
    """Make a pool: a SQLite file, ./picas.db unless --pool names another, or a database of a CouchDB server.

    Making it again changes nothing; what is missing of the views of a pool that is there is added. A password that is
    needed is asked for, and kept encrypted in ~/.config/picas.
    """
    found = address(pool)
    if not wants_password(found):
        make(pool)
        return
    hint = "set PICAS_PASSWORD, or give it on standard input"
    password = ask_password(f"password of {found.username} on {found.url}: ", hint=hint)
    make(pool, password=password)
    say(f"the password is kept in {keep_password(found, password)}")


def make(pool: str | None, *, password: str | None = None) -> None:
    """Make the pool, or say that it is there."""
    where = address(pool)
    try:
        with opened(where, password=password) as found:
            missing = found.store.check() if found.store.server else []
            if not missing:
                _describe(found, made_now=False)
                return
    except (NoPool, StoreFailure):
        # StoreFailure: the file is empty, which another `picas init` at this moment leaves for an instant.
        missing = []
    try:
        with opened(where, password=password, create=True) as made:
            _describe(made, made_now=not missing)
    except StoreFailure as error:
        if not missing:
            raise
        say(f"{where.url} is there, without views of ours: {error.message}")
        say("hint: an administrator makes them by `picas init`; until then tokens are claimed by its own views")
        return
    for problem in missing:
        say(f"added: {problem.text.replace(' has no view ', ', view ')}")


def _describe(pool: Pool, *, made_now: bool) -> None:
    if made_now:
        say(f"made {pool.url}")
    else:
        say(f"{pool.url} is there already, with {sum(pool.count().values())} tokens")


@config.command()
def show(
    pool: PoolOption = None, output: Annotated[Form | None, typer.Option("--output", "-o", show_default=False)] = None
) -> None:
    """Show the address of the pool and where it comes from; never a secret."""
    found = address(pool)
    if output is Form.JSON:
        print_json({"pool": found.url, "username": found.username, "origin": found.origin})
        return
    typer.echo(f"pool      {found.url}")
    typer.echo(f"from      {found.origin}")
    if found.username:
        typer.echo(f"username  {found.username}")
