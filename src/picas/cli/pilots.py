"""``pilot``: run one, list them, stop them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli import running
from picas.cli.looking import OutputOption
from picas.cli.output import form_for, print_rows, say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import NothingMatched, UsageError

if TYPE_CHECKING:
    from picas.stores.base import PilotRecord

app = typer.Typer(add_completion=False, rich_markup_mode=None)
pilot = typer.Typer(help="Pilots: run, list, stop.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(pilot, name="pilot")
pilot.command("run")(running.run)

COLUMNS = ("id", "state", "host", "cores", "running", "finished", "age", "silent", "view", "job")


@pilot.command()
def ls(output: OutputOption = None, pool: PoolOption = None) -> None:
    """List the pilots that have not signed off. A lost one's tokens go back by themselves."""
    with open_pool(pool) as opened:
        print_rows(COLUMNS, [row(record) for record in opened.pilots()], form_for(output))


@pilot.command()
def stop(
    pilots: Annotated[list[str] | None, typer.Argument(metavar="PILOT...", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pilots of the pool.")] = False,
    pool: PoolOption = None,
) -> None:
    """Tell pilots to end: with their next beat they end their commands and give their tokens back unspent."""
    with open_pool(pool) as opened:
        chosen = [record.id for record in opened.pilots() if record.alive] if everything else list(pilots or ())
        if not chosen and not everything:
            raise UsageError("no pilot was named", hint="`picas pilot ls` lists them; --all means all")
        unknown = [name for name in chosen if not opened.store.order(name, "stop")]
        if unknown or not chosen:
            raise NothingMatched(f"there is no pilot {', '.join(unknown)}".rstrip())
        say(f"told {len(chosen)} pilot{'s' if len(chosen) != 1 else ''} to stop")


def row(record: PilotRecord) -> dict[str, Any]:
    """What a listing shows of a pilot; ages in seconds."""
    return {
        "id": record.id,
        "state": "alive" if record.alive else "lost",
        "host": record.hostname,
        "cores": record.cores,
        "memory": record.memory,
        "gpus": record.gpus,
        "offers": {**record.offers},
        "running": record.running,
        "finished": record.finished,
        "age": round(max(0.0, time.time() - record.started_at)),
        "silent": round(record.silent, 1) if record.silent != float("inf") else None,
        "view": record.view,
        "job": " ".join(str(value) for value in record.job.values()),
    }
