"""``web``: a page to see a pool."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from picas.cli.output import say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import ConfigError, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_VARIABLE = "PICAS_WEB_TOKEN"
_LEAST_LETTERS = 16


@app.command()
def web(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes one that is free.")] = 8420,
    login: Annotated[bool, typer.Option("--login", help="Have people log in, by a token that is shown here.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Let who has logged in change the pool.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name by which browsers call this page.", show_default=False),
    ] = None,
    pool: PoolOption = None,
) -> None:
    """Serve a page that shows the pool, until interrupted; read-only and for this machine unless asked otherwise.

    The token is made anew at each start, unless PICAS_WEB_TOKEN has one.
    """
    try:
        from picas.web.guard import is_loopback
        from picas.web.serving import bound, names, serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("jinja2", "starlette", "uvicorn"):
            raise
        raise ConfigError("what serves the page is missing", hint="pip install 'picas[web]'") from None
    token = _token(wanted=login or write)
    if token is None and not is_loopback(host):
        hint = "--login has people log in; or leave it at 127.0.0.1 and come by `ssh -L`"
        raise UsageError(f"--host {host} lets others in, who would not have to log in", hint=hint)
    with open_pool(pool) as opened, bound(host, port) as listening:
        place = f"[{host}]" if ":" in host else host

        def tell() -> None:
            say(f"{opened.url} is at http://{place}:{listening.getsockname()[1]}/")
            if token is not None and _VARIABLE not in os.environ:
                say(f"log in with the token {token}")

        serve(opened, listening, hosts=names(host, allow_host or ()), token=token, may_write=write, ready=tell)


def _token(*, wanted: bool) -> str | None:
    """The token to log in with: what the environment says, else a new one if one is wanted."""
    given = os.environ.get(_VARIABLE)
    if given is not None and len(given) < _LEAST_LETTERS:
        raise ConfigError(f"{_VARIABLE} is too short", hint=f"give it {_LEAST_LETTERS} letters or more, by chance")
    return given or (secrets.token_urlsafe(24) if wanted else None)
