"""``pool``: create, drop, copy, export, import, check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from picas.cli.changing import confirm
from picas.cli.making import make
from picas.cli.output import clean, counted, say
from picas.cli.selecting import PoolOption, TagOption, WhereOption, YesOption, selection
from picas.cli.session import open_pool
from picas.errors import StoreFailure, UsageError

if TYPE_CHECKING:
    from picas.moving import Moved

app = typer.Typer(add_completion=False, rich_markup_mode=None)
pool_ = typer.Typer(
    help="Pools: create, drop, copy, export, import, check.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(pool_, name="pool")

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input or output.")]


@pool_.command()
def create(pool: PoolOption = None) -> None:
    """Make a pool, as `picas init` does."""
    make(pool)


@pool_.command()
def drop(yes: YesOption = False, pool: PoolOption = None) -> None:
    """Delete a pool with everything in it."""
    with open_pool(pool) as opened:
        count = sum(opened.count().values())
        confirm(f"drop {opened.url} with {count} tokens?", yes, destroys=True)
        opened.store.drop()
        say(f"dropped {opened.url}")


@pool_.command()
def export(file: FileArgument, where: WhereOption = None, tag: TagOption = None, pool: PoolOption = None) -> None:
    """Write tokens with their attachments and the views to a file."""
    from picas.moving import Moved, export_lines

    moved = Moved()
    with open_pool(pool) as opened, _output(file) as out:
        for line in export_lines(opened, selection(None, where, tag, not (where or tag)), moved):
            out.write(line)
    say(f"exported {moved.tokens} tokens and {moved.attachments} attachments")


@pool_.command(name="import")
def import_(file: FileArgument, pool: PoolOption = None) -> None:
    """Add what an export holds. Tokens that are there already stay as they are."""
    from picas.moving import import_lines

    with open_pool(pool) as opened, _input(file) as lines:
        moved = import_lines(opened, lines)
    _report("imported", moved)


@pool_.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The pool to copy from: a path or an address.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The pool to copy to; it is made when it is not there.")],
    where: WhereOption = None,
    tag: TagOption = None,
) -> None:
    """Copy tokens with their attachments, and the views, from one pool to another, of whatever kinds.

    Tokens that are there already stay as they are, so that a copy that was interrupted goes on where it ended.
    Tokens that run are copied as waiting.
    """
    from picas.moving import Moved, export_lines, import_lines

    make(target)
    with open_pool(source) as old, open_pool(target) as new, counted("tokens copied") as count:
        if old.url == new.url:
            raise UsageError(f"{source} and {target} are one pool", hint="name another to copy to")
        lines = export_lines(old, selection(None, where, tag, not (where or tag)), Moved())
        moved = import_lines(new, count(lines))
    _report("copied", moved)


@pool_.command()
def check(
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended without harm.")] = False,
    pool: PoolOption = None,
) -> None:
    """Look for damage in the pool's database."""
    with open_pool(pool) as opened:
        problems = opened.store.check(mend=mend)
    for problem in problems:
        typer.echo(clean(f"{'mended: ' if problem.mended else ''}{problem.text}"))
    left = sum(not problem.mended for problem in problems)
    if left:
        raise StoreFailure(f"{left} problems", hint="" if mend else "`picas pool check --mend` mends what can be")
    say("no problems" if not problems else f"{len(problems)} mended")


def _report(what: str, moved: Moved) -> None:
    existing = f"; {moved.existing} tokens were there already" if moved.existing else ""
    say(f"{what} {moved.tokens} tokens and {moved.attachments} attachments{existing}")
    for name in moved.left_out:
        say(f"left out: the views of {name}, which are in JavaScript and run in CouchDB only")


@contextmanager
def _output(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdout
        return
    try:
        with Path(file).open("x", encoding="utf-8") as out:
            yield out
    except FileExistsError:
        raise UsageError(f"{file} exists already", hint="name a new file") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


@contextmanager
def _input(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        with Path(file).open(encoding="utf-8") as lines:
            yield lines
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
