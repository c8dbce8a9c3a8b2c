"""``autopilot``: keep as many pilots on batch systems as the pool has work for, or say what would be done now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.output import clean, say_lines, write
from picas.cli.selecting import PoolOption
from picas.cli.session import SETTINGS, address, opened, seconds
from picas.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from picas.autopilot.config import Config, Kind, Site
    from picas.autopilot.site import SiteAutopilot
    from picas.config import PoolAddress
    from picas.pool import Pool
    from picas.schedulers.base import JobSpec
    from picas.submission import PilotJob

app = typer.Typer(add_completion=False, rich_markup_mode=None)
autopilot = typer.Typer(help="Pilots by themselves: run, plan.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(autopilot, name="autopilot")

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)]


@autopilot.command()
def run(
    config: ConfigArgument,
    once: Annotated[bool, typer.Option("--once", help="One cycle, then end: for cron.")] = False,
    interval: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time between cycles, instead of what the file says.")
    ] = None,
    pool: PoolOption = None,
) -> None:
    """Submit pilots while there is work for them, until TERM or INT; the jobs are then left as they are.

    Exit codes: 0 ended as it should, 3 the file is wrong, 4 the pool cannot be used, 5 another autopilot acts for a
    site on this machine, 9 (with --once) a batch system is away or refused a job.
    """
    from picas.autopilot.run import Autopilot

    every = seconds(interval, "--interval")
    with _sites(config, pool, every, acting=True) as sites:
        for site in sites:
            site.install_views()
        runner = Autopilot(sites, _tell)
        if once:
            runner.once()
            return
        names = ", ".join(f"{site.site.name} ({site.site.system})" for site in sites)
        _tell(f"autopilot for {sites[0].pool.url}: {names}; a cycle every {sites[0].site.interval:g} s")
        runner.run()


@autopilot.command()
def plan(config: ConfigArgument, pool: PoolOption = None) -> None:
    """Say what would be done now, and why. Nothing is changed; the batch systems are asked what there is."""
    with _sites(config, pool, None, acting=False) as sites:
        for site in sites:
            for kind, found in site.plans():
                withheld = site.withheld()
                doing = f"submit {found.submit}" if found.submit else f"cancel {len(found.cancel)}"
                doing = doing if found.submit or found.cancel else "do nothing"
                why = f"{found.why}; {withheld}" if withheld else found.why
                write(clean(f"{site.site.name}/{kind.name}: {doing}: {why}") + "\n")
                write(clean(f"{site.site.name}/{kind.name}: there are {found.counts}, at most {kind.max}") + "\n")
            for name in site.ledger.nodes.apart():
                node = site.ledger.nodes[name]
                until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(node.until))
                write(clean(f"{site.site.name}: node {name} is set apart until {until}: {node.reason}") + "\n")


@contextmanager
def _sites(path: Path, pool: str | None, interval: float | None, *, acting: bool) -> Iterator[list[SiteAutopilot]]:
    """The sites of a file, ready to go. ``acting``: with the right to, until this is left."""
    from picas.autopilot.config import LEAST_INTERVAL, load

    config = load(path)
    if interval is not None and interval < LEAST_INTERVAL:
        raise UsageError(f"--interval: the least is {LEAST_INTERVAL:g} s")
    found = _address(config, pool)
    with opened(found) as there, ExitStack() as stack:
        yield [_site(config, site, interval, there, found, stack, acting=acting) for site in config.sites]


def _address(config: Config, pool: str | None) -> PoolAddress:
    """The pool that the file names, unless the command line does; relative to the file's folder."""
    import os

    from picas.config import find_pool

    if config.pool is None or pool is not None or SETTINGS.pool is not None:
        return address(pool)
    return find_pool(config.pool, os.environ, config.path.absolute().parent)


def _site(
    config: Config,
    site: Site,
    interval: float | None,
    pool: Pool,
    found: PoolAddress,
    stack: ExitStack,
    *,
    acting: bool,
) -> SiteAutopilot:
    import os
    from dataclasses import replace

    from picas.autopilot.entries import prefix_of
    from picas.autopilot.journal import Journal, journals_folder
    from picas.autopilot.site import SiteAutopilot
    from picas.schedulers.sites import scheduler

    if interval is not None:
        site = replace(site, interval=interval)
    if not site.folder.is_dir():
        raise ConfigError(f"{config.path}: site.{site.name}.folder: there is no folder {site.folder}")
    batch, prefix = scheduler(site.system), prefix_of(pool.url, site.name)
    journal = Journal(journals_folder(os.environ) / f"{prefix.rstrip('-')}.json")
    if acting:
        journal.lock()
        stack.callback(journal.close)
    journal.read()
    jobs = _Jobs(site, found, prefix, far=batch.is_far)
    if acting:
        # What cannot be submitted is said before anything is.
        for kind in site.kinds:
            batch.script(jobs(kind, f"{prefix}{kind.name}-0"))
    made = SiteAutopilot(pool, site, batch, journal, jobs, lambda text: _tell(f"{site.name}: {text}"))
    made.submitted = lambda name, job_id: _write_down(batch.name, job_id, name, pool.url)
    return made


def _write_down(system: str, job_id: str, name: str, pool: str) -> None:
    """Have `picas pilot ls` list the job as long as it has no pilot."""
    from picas.schedulers.journal import entries, journal_here

    try:
        journal_here().add(entries(system, pool, {job_id: name}))
    except OSError as error:
        _tell(f"job {job_id} is not written down for `picas pilot ls`: {error.strerror}: {error.filename}")


class _Jobs:
    """Makes the jobs of a site's pilots, with names that begin so. ``far``: what they need travels with them."""

    def __init__(self, site: Site, found: PoolAddress, prefix: str, *, far: bool) -> None:
        self._found = found
        self._far = far
        self._made: set[Path] = set()
        self._jobs = {kind.name: self._job(kind, site.folder, prefix) for kind in site.kinds}

    def __call__(self, kind: Kind, name: str) -> JobSpec:
        job = self._jobs[kind.name]
        self._make(job.output)
        return job.spec(name)

    def _job(self, kind: Kind, folder: Path, prefix: str) -> PilotJob:
        import os

        from picas.amounts import seconds_text
        from picas.sandbox import pilot_job
        from picas.submission import jobs_folder

        return pilot_job(
            self._found,
            os.environ,
            folder,
            jobs_folder() / f"{prefix}{kind.name}",
            far=self._far,
            options=(f"--view={kind.view}", f"--idle={seconds_text(kind.idle)}"),
            cores=kind.cores,
            memory=None if kind.memory is None else int(kind.memory),
            gpus=kind.gpus,
            time=kind.time,
            queue=kind.queue,
            native=kind.native,
        )

    def _make(self, folder: Path) -> None:
        """Have the folder of some jobs, with what travels with them in it; once is enough."""
        from picas.files import make_folder
        from picas.sandbox import pack

        if folder not in self._made:
            make_folder(folder)
            if self._far:
                pack(folder)
            self._made.add(folder)


def _tell(text: str) -> None:
    """A line of the log."""
    say_lines(clean(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"))
