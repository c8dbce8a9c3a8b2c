"""``run``: a pilot in the foreground."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli import offers
from picas.cli.defending import DryRunOption, FloorOption, QuietOption, RulesOption, defence
from picas.cli.output import say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool, seconds, size
from picas.errors import UNFIT

if TYPE_CHECKING:
    from picas.command import Progress, RunReport

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_AttachOption = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Attach files of the work folder.", show_default=False)
]
_WorkdirOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Run each token in a folder of its own in here.")
]


@app.command()
def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]", show_default=False, help="For tokens without one; {name} is a field."
        ),
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, max=4096, help="Commands at a time; default: all cores.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory to offer; default: all.")] = None,
    gpus: offers.GpusOption = None,
    offer: offers.OfferOption = None,
    max_tasks: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many tokens.")] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="End after this time; the rest is given back.")
    ] = None,
    token_time: Annotated[str | None, typer.Option(metavar="TIME", help="End a command after this time.")] = None,
    idle: Annotated[str, typer.Option(metavar="TIME", help="Wait so long for new work.")] = "0s",
    max_scrub: Annotated[int, typer.Option(min=0, metavar="N", help="Tries after a failure.")] = 0,
    view: Annotated[str, typer.Option(metavar="VIEW", help="The view to claim from.")] = "Monitor/todo",
    attach: _AttachOption = None,
    workdir: _WorkdirOption = None,
    lease: Annotated[str, typer.Option(metavar="TIME", help="Silence after which this pilot counts as lost.")] = "60s",
    output_cap: Annotated[str, typer.Option(metavar="SIZE", help="Most to keep of each output stream.")] = "1GiB",
    grace: Annotated[str, typer.Option(metavar="TIME", help="Time between TERM and KILL.")] = "10s",
    retry_on: RulesOption = None,
    retry_dry_run: DryRunOption = False,
    quiet_limit: QuietOption = None,
    disk_floor: FloorOption = "2GB",
    fail: Annotated[bool, typer.Option("--fail", help="Exit 1 when a token failed.")] = False,
    pool: PoolOption = None,
) -> int:
    """Run a pilot here: claim tokens and run their commands until none is left."""
    from picas.command import CommandActor, RunOptions
    from picas.views import View

    chosen = RunOptions(
        view=View.parse(view, any_name=True),
        command=tuple(command) if command else None,
        cores=cores,
        memory=size(memory, "--memory"),
        gpus=offers.gpus(gpus),
        offers=offers.named(offer or ()),
        max_tasks=max_tasks,
        max_time=seconds(max_time, "--max-time"),
        token_time=seconds(token_time, "--token-time"),
        idle=seconds(idle, "--idle") or 0.0,
        max_scrub=max_scrub,
        attach=tuple(attach or ()),
        workdir=workdir,
        lease=max(1.0, seconds(lease, "--lease") or 60.0),
        output_cap=int(size(output_cap, "--output-cap") or 0),
        grace=seconds(grace, "--grace") or 0.0,
        **defence(retry_on, retry_dry_run, quiet_limit, disk_floor),
    )
    with open_pool(pool) as opened, _progress(opened) as tell:
        report = CommandActor(opened, chosen, tell).run()
    _summary(report)
    return UNFIT if report.unfit else 1 if fail and report.failed else 0


def _summary(report: RunReport) -> None:
    parts = [f"{report.done} done"]
    parts += [f"{report.failed} failed"] if report.failed else []
    parts += [f"{report.retried} to be tried again"] if report.retried else []
    parts += [f"{report.given_back} given back"] if report.given_back else []
    parts += [f"{report.superseded} superseded"] if report.superseded else []
    rate = (report.done + report.failed) / max(report.seconds, 1e-3)
    say(f"pilot ended, {report.why}: {', '.join(parts)} in {_duration(report.seconds)} ({rate:,.0f} tokens/s)")
    if report.failed:
        say("hint: `picas ls error` lists the failed ones, `picas explain ID` says why")
    if report.unfit:
        say("hint: try the command by hand on this machine; what this pilot held is back in todo, uncharged")


def _duration(length: float) -> str:
    if length < 60:
        return f"{length:.1f} s"
    minutes, rest = divmod(int(length), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


@contextmanager
def _progress(opened: Any) -> Iterator[Callable[[Progress], None] | None]:
    """A line that moves, for a person at a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    waiting = sum(count for state, count in opened.count().items() if str(state) in ("todo", "locked"))
    columns = (
        TextColumn("running"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("run", total=waiting, failed="")

        def tell(now: Any) -> None:
            ended = now.done + now.failed
            bar.update(
                task, completed=ended, total=max(waiting, ended), failed=f"{now.failed} failed" if now.failed else ""
            )

        yield tell
