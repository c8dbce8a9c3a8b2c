"""``view``: named selections that pilots claim from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.looking import OutputOption
from picas.cli.output import form_for, print_rows, say
from picas.cli.selecting import PoolOption, WhereOption
from picas.cli.session import open_pool
from picas.errors import NothingMatched, UsageError

if TYPE_CHECKING:
    from picas.views import Design

app = typer.Typer(add_completion=False, rich_markup_mode=None)
view = typer.Typer(help="Views with a condition: add, list, remove.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(view, name="view")


@view.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the design document: NAME/todo and so on become views.")],
    where: WhereOption = None,
    pool: PoolOption = None,
) -> None:
    """Add views with a condition, or change it."""
    from picas.selectors import parse_where
    from picas.views import MONITOR, Design

    if not where:
        raise UsageError("a view needs a condition", hint=f"picas view add {name} --where 'cores>=4'")
    if name == MONITOR.name:
        raise UsageError(f"{name} is the pool itself and takes no condition", hint="choose another name")
    with open_pool(pool) as opened:
        opened.store.install(Design(name, parse_where(list(where))))
        waiting = sum(count for state, count in opened.count(name).items() if str(state) == "todo")
    say(f"{name}/todo has {waiting} tokens; `picas run --view {name}/todo` works them")


@view.command()
def ls(output: OutputOption = None, pool: PoolOption = None) -> None:
    """List the design documents with their conditions and counts."""
    with open_pool(pool) as opened:
        rows = [
            {
                "id": design.name,
                "where": _where(design),
                **{str(state): count for state, count in opened.count(design.name).items()},
            }
            for design in opened.store.designs()
        ]
    print_rows(("id", "where", "held", "todo", "locked", "done", "error"), rows, form_for(output))


def _where(design: Design) -> str:
    """What a listing says of the tokens of a design document."""
    if design.javascript is not None:
        return f"in JavaScript: {', '.join(sorted(design.javascript))}"
    return json.dumps(design.selector.source) if design.selector else ""


@view.command()
def rm(name: Annotated[str, typer.Argument(help="The design document.")], pool: PoolOption = None) -> None:
    """Remove the views of a design document; the tokens stay."""
    with open_pool(pool) as opened:
        if not opened.store.uninstall(name):
            raise NothingMatched(f"there is no design document {name!r} to remove")
    say(f"removed {name}")
