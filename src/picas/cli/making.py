"""``init`` and ``config``: a pool made, and which pool is meant."""

from __future__ import annotations

from typing import Annotated

import typer

from picas.cli.output import Form, print_json, say
from picas.cli.selecting import PoolOption
from picas.cli.session import address, open_pool
from picas.errors import ConfigError, StoreFailure

app = typer.Typer(add_completion=False, rich_markup_mode=None)
config = typer.Typer(help="Show which pool is meant, and why.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config, name="config")


@app.command()
def init(pool: PoolOption = None) -> None:
    """Make a pool: a SQLite file, ./picas.db unless --pool names another. Making it again changes nothing."""
    make(pool)


def make(pool: str | None) -> None:
    """Make the pool, or say that it is there."""
    try:
        with open_pool(pool) as found:
            count = sum(found.count().values())
            say(f"{found.url} is there already, with {count} tokens")
    except (ConfigError, StoreFailure):
        # StoreFailure: the file is empty, which another `picas init` at this moment leaves for an instant.
        with open_pool(pool, create=True) as made:
            say(f"made {made.url}")


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
