"""``pilot``: run, submit, bundle, list; have them end at once or when what they run has ended; recover."""

from __future__ import annotations

from typing import Annotated

import typer

from picas.cli import bundling, recovering, running, submitting
from picas.cli.looking import OutputOption
from picas.cli.output import form_for, print_rows, say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import NothingMatched, UsageError
from picas.stores.steering import DRAIN, STOP

app = typer.Typer(add_completion=False, rich_markup_mode=None)
pilot = typer.Typer(
    help="Pilots: run, submit, list, drain, stop, recover, bundle.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(pilot, name="pilot")
pilot.command("run")(running.run)
pilot.command("submit")(submitting.submit)
pilot.command("recover")(recovering.recover)
pilot.command("bundle")(bundling.bundle)

COLUMNS = ("id", "state", "host", "cores", "running", "finished", "age", "silent", "view", "job", "orders", "reason")


NoJobsOption = Annotated[bool, typer.Option("--no-jobs", help="Only pilots; ask no batch system.")]


@pilot.command()
def ls(output: OutputOption = None, no_jobs: NoJobsOption = False, pool: PoolOption = None) -> None:
    """List the pilots that have not signed off, and jobs submitted from here that have no pilot yet.

    A lost pilot's tokens go back by themselves.
    """
    from picas.cli.submitted import jobs_without_pilots
    from picas.listing import pilot_row

    with open_pool(pool) as opened:
        records = list(opened.pilots())
        rows = [pilot_row(record) for record in records]
        rows += [] if no_jobs else jobs_without_pilots(opened.url, records)
        print_rows(COLUMNS, rows, form_for(output))


PilotsArgument = Annotated[list[str] | None, typer.Argument(metavar="PILOT...", show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="All pilots of the pool.")]


@pilot.command()
def drain(pilots: PilotsArgument = None, everything: AllOption = False, pool: PoolOption = None) -> None:
    """Have pilots finish what they run, claim nothing more, and end. They hear of it with their next beat."""
    _order(pilots, everything, DRAIN, pool)


@pilot.command()
def stop(pilots: PilotsArgument = None, everything: AllOption = False, pool: PoolOption = None) -> None:
    """Tell pilots to end: with their next beat they end their commands and give their tokens back unspent."""
    _order(pilots, everything, STOP, pool)


def _order(pilots: list[str] | None, everything: bool, orders: str, pool: str | None) -> None:
    if pilots and everything:
        raise UsageError("--all means all pilots, so that naming some makes no sense", hint="leave out one of them")
    from picas.stores.records import is_autopilot

    with open_pool(pool) as opened:
        alive = [one.id for one in opened.pilots() if one.alive and not is_autopilot(one)] if everything else []
        chosen = alive if everything else list(dict.fromkeys(pilots or ()))
        if not chosen and not everything:
            raise UsageError("no pilot was named", hint="`picas pilot ls` lists them; --all means all")
        unknown = [name for name in chosen if not opened.store.order(name, orders)]
        if told := len(chosen) - len(unknown):
            say(f"told {told} pilot{'s' if told != 1 else ''} to {orders}")
        if unknown or not chosen:
            raise NothingMatched(f"there is no pilot {', '.join(unknown)}".rstrip(), hint="`picas pilot ls` lists them")
