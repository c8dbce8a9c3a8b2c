"""``reset``, ``cancel``, ``hold``, ``priority`` and ``delete``: setting tokens right by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import say
from picas.cli.selecting import (
    AllOption,
    PoolOption,
    TagOption,
    TokensArgument,
    WhereOption,
    YesOption,
    matched,
    selection,
)
from picas.cli.session import open_pool
from picas.errors import Conflict, NothingMatched, UsageError
from picas.verbs import VERBS, Verb, told

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.pool import Changed, Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MANY = 1


def _add_verb(verb: Verb) -> None:
    """A command that does to the selected tokens what the pool's method of that name does."""

    @app.command(verb.name, help=verb.about)
    def act(
        tokens: TokensArgument = None,
        where: WhereOption = None,
        tag: TagOption = None,
        everything: AllOption = False,
        yes: YesOption = False,
        pool: PoolOption = None,
    ) -> None:
        with open_pool(pool) as opened:
            docs = _agreed(opened, tokens, where, tag, everything, verb, yes)
            _tell(getattr(opened, verb.name)(docs), verb)


for _name in ("reset", "cancel", "hold", "delete"):
    _add_verb(VERBS[_name])


@app.command(help=VERBS["priority"].about)
def priority(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="A whole number; higher ones go first.")],
    tokens: TokensArgument = None,
    where: WhereOption = None,
    tag: TagOption = None,
    everything: AllOption = False,
    yes: YesOption = False,
    pool: PoolOption = None,
) -> None:
    """Give tokens a priority."""
    verb = VERBS["priority"]
    with open_pool(pool) as opened:
        docs = _agreed(opened, tokens, where, tag, everything, verb, yes)
        _tell(opened.prioritize(docs, number), verb)


def confirm(question: str, yes: bool, *, destroys: bool) -> None:
    """Ask a person at a terminal; a script must say --yes where something is destroyed."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        if destroys:
            raise UsageError(f"{question} Nobody can be asked here", hint="--yes says yes")
        return
    if not typer.confirm(question, err=True):
        raise UsageError("nothing was changed")


def _agreed(
    pool: Pool,
    tokens: list[str] | None,
    where: list[str] | None,
    tag: list[str] | None,
    everything: bool,
    verb: Verb,
    yes: bool,
) -> Iterable[Doc]:
    """The selected tokens, counted first where a person is to agree; read again while they are changed."""
    chosen = selection(tokens, where, tag, everything)
    count = sum(1 for _ in matched(pool, chosen))
    if count > _MANY or verb.destroys:
        confirm(f"{verb.name} {count} token{'s' if count != 1 else ''}?", yes, destroys=verb.destroys)
    docs = pool.select(chosen)
    return list(docs) if chosen.views else docs


def _tell(report: Changed, verb: Verb) -> None:
    ended, pending = len(report.changed) - len(report.pending), len(report.pending)
    say(told(verb, ended=ended, pending=pending, skipped=len(report.skipped)))
    if report.conflicts:
        raise Conflict(f"{len(report.conflicts)} tokens kept changing meanwhile, such as {report.conflicts[0]}")
    if not report.changed and not report.skipped:
        raise NothingMatched("the tokens went away meanwhile")
