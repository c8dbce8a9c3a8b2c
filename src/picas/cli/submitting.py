"""``pilot submit``: pilots as jobs of a batch system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli import offers
from picas.cli.defending import FloorOption, QuietOption, RulesOption, defence
from picas.cli.output import say, write
from picas.cli.selecting import PoolOption
from picas.cli.session import address, opened, seconds, size
from picas.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from picas.config import PoolAddress
    from picas.schedulers.base import JobSpec, Scheduler
    from picas.submission import PilotJob
    from picas.views import View

SystemArgument = Annotated[
    str, typer.Argument(metavar="SYSTEM", help="local, slurm, gridengine, pbs, htcondor or dirac.", show_default=False)
]
NativeArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- NATIVE...]", help="Options in the system's own words.", show_default=False),
]
CountOption = Annotated[int, typer.Option("-n", "--count", min=1, max=10000, metavar="N", help="How many pilots.")]
CoresOption = Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Cores of each.")]
MemoryOption = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of each.")]
GpusOption = Annotated[int, typer.Option(min=0, max=64, metavar="N", help="GPUs of each.")]
TimeOption = Annotated[str | None, typer.Option("--time", metavar="TIME", help="How long each may take.")]
WarningOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="How long before its end a pilot stops; default: 2 minutes.")
]
QueueOption = Annotated[str, typer.Option(metavar="NAME", help="The queue or partition.", show_default=False)]
ArrayOption = Annotated[bool, typer.Option("--array", help="One array of jobs (Slurm).")]
FolderOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the jobs' output goes.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only print the script.")]


def submit(
    system: SystemArgument,
    native: NativeArgument = None,
    count: CountOption = 1,
    cores: CoresOption = 1,
    memory: MemoryOption = None,
    gpus: GpusOption = 0,
    time: TimeOption = None,
    warning: WarningOption = None,
    queue: QueueOption = "",
    array: ArrayOption = False,
    folder: FolderOption = None,
    dry_run: DryRunOption = False,
    view: Annotated[str | None, typer.Option(metavar="VIEW", help="The view to claim from.")] = None,
    idle: Annotated[str | None, typer.Option(metavar="TIME", help="Wait so long for new work.")] = None,
    max_tasks: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many tokens.")] = None,
    token_time: Annotated[str | None, typer.Option(metavar="TIME", help="End a command after this time.")] = None,
    max_scrub: Annotated[int | None, typer.Option(min=0, metavar="N", help="Tries after a failure.")] = None,
    offer: offers.OfferOption = None,
    lease: Annotated[str | None, typer.Option(metavar="TIME", help="Silence after which a pilot is lost.")] = None,
    grace: Annotated[str | None, typer.Option(metavar="TIME", help="Time between TERM and KILL.")] = None,
    workdir: Annotated[Path | None, typer.Option(metavar="DIR", help="Each token in a folder of its own.")] = None,
    attach: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Attach files.", show_default=False)] = None,
    retry_on: RulesOption = None,
    quiet_limit: QuietOption = None,
    disk_floor: FloorOption = "2GB",
    pool: PoolOption = None,
) -> None:
    """Submit pilots to a batch system, one job each; print the ids of the jobs."""
    chosen = _words(
        view=view, idle=idle, max_tasks=max_tasks, token_time=token_time, max_scrub=max_scrub, offer=offer,
        lease=lease, grace=grace, workdir=workdir, attach=attach, retry_on=retry_on, quiet_limit=quiet_limit,
        disk_floor=None if disk_floor == "2GB" else disk_floor,
    )  # fmt: skip
    amount = size(memory, "--memory")
    asked: dict[str, Any] = {
        "cores": cores, "memory": None if amount is None else int(amount), "gpus": gpus, "queue": queue,
        "time": seconds(time, "--time"), "warning": seconds(warning, "--warning"), "native": tuple(native or ()),
    }  # fmt: skip
    found, claimed = address(pool), _view(view)
    _submit(system, count, found, claimed, array=array, folder=folder, dry_run=dry_run, options=chosen, **asked)


def _submit(
    system: str,
    count: int,
    found: PoolAddress,
    view: View,
    *,
    array: bool,
    folder: Path | None,
    dry_run: bool,
    **asked: Any,
) -> None:
    """Make the job, then submit it so many times."""
    from picas import sandbox
    from picas.schedulers.sites import scheduler
    from picas.submission import is_file, jobs_folder, new_name

    batch, name = scheduler(system), new_name()
    output = folder.absolute() if folder else jobs_folder() / name
    job = sandbox.pilot_job(found, os.environ, Path.cwd(), output, far=batch.is_far, **asked)
    script = batch.script(job.spec(name if array else f"{name}-1"))
    if is_file(found.url) and system != "local":
        say("warning: a pool in a file serves the pilots of one machine; a job on another node will not find it")
    if dry_run:
        write(script)
        say(f"nothing was submitted; {'an array of' if array else 'as this one,'} {count} would be")
        return
    with opened(found) as there:
        url = there.url
        there.store.page(view, limit=1)  # one that is not there is better known before jobs wait for it
    _make(output)
    if batch.is_far:
        sandbox.pack(output)
    told = _array(batch, job, name, count, url) if array else _jobs(batch, job, name, count, url)
    goes = "what they were submitted with is in" if batch.is_far else "their output goes to"
    say(f"submitted {told} pilot{'s' if told != 1 else ''} to {system}; {goes} {output}")


def _jobs(batch: Scheduler, job: PilotJob, name: str, count: int, pool: str) -> int:
    """One job for each pilot. Each is written down and told as soon as it is there."""
    for number in range(1, count + 1):
        spec = job.spec(f"{name}-{number}")
        _tell(batch, pool, {_one(batch, spec, number - 1): spec.name})
    return count


def _array(batch: Scheduler, job: PilotJob, name: str, count: int, pool: str) -> int:
    from picas.schedulers.sites import ArrayScheduler

    if not isinstance(batch, ArrayScheduler):
        raise UsageError(f"--array: {batch.name} jobs are submitted one by one", hint="leave it out; -n is enough")
    _tell(batch, pool, dict.fromkeys(batch.submit_array(job.spec(name), count), name))
    return count


def _one(batch: Scheduler, spec: JobSpec, before: int) -> str:
    """Submit one job. When its id did not come back, the job is looked for, by a name that no other has."""
    from picas.schedulers.base import SchedulerAway, SchedulerError

    try:
        return batch.submit(spec)
    except SchedulerAway as away:
        try:
            if found := [job.id for job in batch.find(spec.name) if job.name == spec.name]:
                return found[0]
        except SchedulerError:
            hint = f"whether {spec.name} was submitted is not known: look for a job of that name before you try again"
            raise SchedulerAway(away.message, hint=away.hint or hint) from None
        raise SchedulerAway(away.message, hint=away.hint or _so_far(before)) from None
    except SchedulerError as error:
        raise type(error)(error.message, hint=error.hint or _so_far(before)) from None


def _so_far(before: int) -> str:
    return f"{before} were submitted before; `picas pilot ls` lists them" if before else "nothing was submitted"


def _tell(batch: Scheduler, pool: str, jobs: dict[str, str]) -> None:
    from picas.schedulers.journal import entries, journal_here

    for job_id in jobs:
        write(f"{job_id}\n")
    try:
        journal_here().add(entries(batch.name, pool, jobs))
    except OSError as error:
        say(f"warning: not written down for `picas pilot ls`: {error.strerror}: {error.filename}")


def _make(folder: Path) -> None:
    from picas.files import make_folder

    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}", hint="--folder names another") from error


def _view(text: str | None) -> View:
    from picas.views import View

    return View.parse(text or "Monitor/todo", any_name=True)


def _words(**options: Any) -> list[str]:
    """Options of ``picas run`` as its words. What it would refuse is refused here, before any job waits for it."""
    from picas import retries

    offers.named(options["offer"] or ())
    for name in ("idle", "token_time", "lease", "grace"):
        seconds(options[name], f"--{name.replace('_', '-')}")
    defence(options["retry_on"], False, options["quiet_limit"], options["disk_floor"] or "0")
    if options["retry_on"] is not None:
        retries.parse(options["retry_on"])
    words: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            words.append(f"--{name.replace('_', '-')}={one}")
    return words
