"""``pool``: create, drop, copy, export, import, archive, check, pause, resume."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli import pausing
from picas.cli.changing import confirm
from picas.cli.making import make
from picas.cli.output import clean, counted, say
from picas.cli.selecting import PoolOption, TagOption, WhereOption, YesOption, selection
from picas.cli.session import open_pool, seconds
from picas.errors import StoreError, StoreFailure, UsageError

if TYPE_CHECKING:
    from picas.archive import Archived
    from picas.audit import Findings
    from picas.moving import Moved
    from picas.pool import Selection

app = typer.Typer(add_completion=False, rich_markup_mode=None)
pool_ = typer.Typer(
    help="Pools: create, drop, copy, export, import, archive, check, pause, resume.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(pool_, name="pool")
pool_.command("pause")(pausing.pause)
pool_.command("resume")(pausing.resume)

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="JSON lines, compressed when the name ends in .zst or .gz; - is standard output."
    ),
]


@pool_.command()
def create(
    pool: PoolOption = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(
            "--grant",
            metavar="ROLE",
            help="Let a role of the database add, work and change tokens (PostgreSQL); may be repeated.",
        ),
    ] = None,
) -> None:
    """Make a pool, as `picas init` does. With --grant also one that is there gives roles their rights."""
    make(pool)
    with open_pool(pool) as opened:
        for role in grant or ():
            opened.store.grant(role)
            say(f"role {role} may add, work and change tokens")


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
    """Write tokens with their attachments and the views to a file.

    The file is FILE.part until it is whole.
    """
    from picas.moving import Moved, export_lines

    moved = Moved()
    with open_pool(pool) as opened, counted("tokens exported") as count:
        lines = export_lines(opened, selection(None, where, tag, not (where or tag)), moved, count)
        if file == "-":
            sys.stdout.writelines(lines)
        else:
            _write(Path(file), lines)
    say(f"exported {moved.tokens} tokens and {moved.attachments} attachments")
    _tell_gone(moved)


@pool_.command(name="import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, plain or compressed; - is standard input.")],
    pool: PoolOption = None,
) -> None:
    """Add what an export or an archive holds. Tokens that are there already stay as they are.

    No token can be claimed before its attachments are there. An import that was interrupted goes on when it is
    repeated: attachments that are missing are completed.
    """
    from picas.moving import import_lines
    from picas.packed import reading

    with (
        open_pool(pool) as opened,
        reading(None if file == "-" else file) as lines,
        counted("tokens imported") as count,
    ):
        moved = import_lines(opened, lines, count)
    _report("imported", moved)


@pool_.command()
def archive(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines, compressed when the name ends in .zst or .gz.")
    ],
    where: WhereOption = None,
    tag: TagOption = None,
    older: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only tokens that ended so long ago: 30d.", show_default=False)
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Tokens in error too.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the tokens in the pool as well.")] = False,
    pool: PoolOption = None,
) -> None:
    """Move tokens that are done, with their attachments, from the pool to a file; `picas pool import` is the way back.

    The file is FILE.part until it is whole. A token is deleted only when it is on the disk there. After an
    interruption the same command goes on. Tokens that held ones wait for stay in the pool.
    """
    from picas.archive import archive as move

    age = seconds(older, "--older")
    with open_pool(pool) as opened, counted("tokens archived") as count:
        chosen = _ended(selection(None, where, tag, everything=True), opened.store.now(), age, errors=errors)
        try:
            report = move(opened, Path(file), chosen, keep=keep, count=count)
        except (KeyboardInterrupt, StoreError, OSError):
            if Path(f"{file}.part").exists():
                say(f"{file}.part is not whole yet; the same command goes on with it")
            raise
    _tell_archived(file, report, keep=keep)


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
        read = Moved()
        lines = export_lines(old, selection(None, where, tag, not (where or tag)), read, count)
        moved = import_lines(new, lines)
    _report("copied", moved)
    _tell_gone(read)


@pool_.command()
def check(
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended without harm.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read the attachments.")] = False,
    pool: PoolOption = None,
) -> None:
    """Look for damage in the pool's database, and for tokens that nobody takes on any more.

    --mend gives back what is locked by pilots without a record; for that it watches for a lease that they stay away.
    """
    from picas.audit import Findings, audit

    findings, left, mended = Findings(), 0, 0
    with open_pool(pool) as opened, counted("tokens looked at") as count:
        known = opened.store.check(mend=mend)
        told = {problem.text for problem in known}
        found = audit(opened, mend=mend, files=not quick, findings=findings, count=count, tell=say)
        for problem in chain(known, (one for one in found if one.text not in told)):
            typer.echo(clean(f"{'mended: ' if problem.mended else ''}{problem.text}"))
            mended += problem.mended
            left += not problem.mended
    _tell_findings(findings)
    if left:
        raise StoreFailure(f"{left} problems", hint="" if mend else "`picas pool check --mend` mends what can be")
    say(f"{mended} mended" if mended else "no problems")


def _ended(chosen: Selection, now: float, age: float | None, *, errors: bool) -> Selection:
    """Of a selection those tokens that have ended, if need be so long ago."""
    from picas.lifecycle import State
    from picas.selectors import both, parse
    from picas.views import View

    states = (State.DONE, State.ERROR) if errors else (State.DONE,)
    before = parse({"done": {"$lte": now - age}}) if age is not None else None
    return replace(chosen, views=tuple(map(View, states)), where=both(chosen.where, before), everything=False)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a new file, which has its name when it is whole; nothing is left of it when something goes wrong."""
    from picas.archive import new_export
    from picas.packed import PartFile

    with PartFile(path) as part:
        new_export(part)
        try:
            for number, line in enumerate(lines):
                part.write(line)
                if number == 0:
                    part.commit()  # so that what is left of it is known by its header
            part.finish()
        except BaseException:
            part.discard()
            raise


def _report(what: str, moved: Moved) -> None:
    existing = f"; {moved.existing} tokens were there already" if moved.existing else ""
    say(f"{what} {moved.tokens} tokens and {moved.attachments} attachments{existing}")
    for name in moved.left_out:
        say(f"left out: the views of {name}, which are in JavaScript and run in CouchDB only")


def _tell_gone(moved: Moved) -> None:
    if moved.gone:
        shown = ", ".join(moved.gone[:3]) + (" ..." if len(moved.gone) > 3 else "")
        say(f"{len(moved.gone)} attachments changed or went away while they were read: {shown}")


def _tell_archived(file: str, report: Archived, *, keep: bool) -> None:
    before = f", {report.continued} of them before it was cut short" if report.continued else ""
    stay = "; they stay in the pool" if keep else ""
    say(f"archived {report.tokens} tokens and {report.attachments} attachments in {file}{before}{stay}")
    if report.awaited:
        say(f"{report.awaited} stay in the pool, since held tokens wait for them")
    for ids, why in (
        (report.changed, f"changed meanwhile and stay in the pool; {file} has them as they were"),
        (report.unreadable, "stay in the pool: a file of theirs cannot be read; `picas pool check` says which"),
    ):
        if ids:
            say(f"{len(ids)} {why}: {', '.join(sorted(ids)[:3])}{' ...' if len(ids) > 3 else ''}")


def _tell_findings(findings: Findings) -> None:
    if findings.without_lease:
        at, token_id = findings.oldest
        say(
            f"{findings.without_lease} tokens are locked by programs without a lease, such as those of PiCaS; the "
            f"oldest, {token_id}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(at))}"
        )
