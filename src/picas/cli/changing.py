"""``reset``, ``cancel``, ``hold`` and ``delete``: setting tokens right by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.pool import Changed, Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MANY = 1


def _add_verb(verb: str, done: str, skipped: str, about: str) -> None:
    """A command that does to the selected tokens what the pool's method of that name does."""

    @app.command(verb, help=about)
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
            _tell(getattr(opened, verb)(docs), done, skipped)


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
    verb: str,
    yes: bool,
) -> Iterable[Doc]:
    """The selected tokens, counted first where a person is to agree; read again while they are changed."""
    chosen = selection(tokens, where, tag, everything)
    count = sum(1 for _ in matched(pool, chosen))
    if count > _MANY or verb == "delete":
        confirm(f"{verb} {count} token{'s' if count != 1 else ''}?", yes, destroys=verb == "delete")
    docs = pool.select(chosen)
    return list(docs) if chosen.views else docs


def _tell(report: Changed, what: str, skipped: str) -> None:
    ended = len(report.changed) - len(report.pending)
    parts = [f"{ended} {what}"] if ended or not report.pending else []
    parts += [f"{len(report.pending)} being {what}: they run until their pilots' next beat"] if report.pending else []
    say("; ".join(parts + ([f"{len(report.skipped)} {skipped}"] if report.skipped else [])))
    if report.conflicts:
        raise Conflict(f"{len(report.conflicts)} tokens kept changing meanwhile, such as {report.conflicts[0]}")
    if not report.changed and not report.skipped:
        raise NothingMatched("the tokens went away meanwhile")


_add_verb(
    "reset",
    "put back to todo",
    "were there already",
    "Put tokens back to todo, as good as new. The result of a command that still runs is superseded.",
)
_add_verb(
    "cancel",
    "cancelled",
    "had ended already",
    "End tokens in error with reason cancelled. A running command is ended with its pilot's next beat.",
)
_add_verb(
    "hold",
    "held",
    "did not wait",
    "Take waiting tokens out of the reach of pilots; `picas reset` puts them back. What runs goes on.",
)
_add_verb("delete", "deleted", "", "Delete tokens with their attachments. There is no way back.")
