"""One site: look at pool and batch system, decide, and do it. What is done is in the journal before, and after."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from picas.autopilot.announce import queued_elsewhere, record
from picas.autopilot.backoff import Backoff
from picas.autopilot.config import Kind, Site
from picas.autopilot.decide import Demand, Limits, Plan, decide
from picas.autopilot.entries import Entry, fresh_name, prefix_of
from picas.autopilot.journal import Journal, Ledger
from picas.autopilot.looking import Ended, look
from picas.autopilot.measure import ready_tokens
from picas.autopilot.nodes import is_stillborn
from picas.errors import UsageError
from picas.pool import Pool
from picas.schedulers.base import JobSpec, Rejected, Scheduler, SchedulerError
from picas.stores.base import PilotRecord
from picas.views import Design, View

__all__ = ["LOOK_EVERY", "Pilots", "SiteAutopilot"]

LOOK_EVERY = 30.0
"""Seconds between two looks at a batch system, which others use too, at the least."""
_AT_ONCE = 100
"""Jobs that are submitted in one cycle; between two of them it may be told to end."""

Tell = Callable[[str], None]
Pilots = Callable[[Kind, str], JobSpec]
"""Makes the job of a pilot of a kind, with a name."""


@dataclass
class SiteAutopilot:
    """Keeps a site supplied with pilots. Belongs to the thread that made it.

    ``tell`` gets a line for whatever a person should know. ``busy`` is entered around each command of the batch
    system, which may take long.
    """

    pool: Pool
    site: Site
    scheduler: Scheduler
    journal: Journal
    pilots: Pilots
    tell: Tell
    busy: Callable[[], AbstractContextManager[None]] = nullcontext
    clock: Callable[[], float] = time.time
    chance: random.Random = field(default_factory=random.Random)
    submitted: Callable[[str, str], None] | None = None
    """Called with the name and id of each job that was submitted."""

    def __post_init__(self) -> None:
        self.prefix = prefix_of(self.pool.url, self.site.name)
        self._started_at = self.clock()
        self._id = record(self.site, self._started_at, {}).id

    @property
    def ledger(self) -> Ledger:
        """What is known of the site."""
        return self.journal.ledger

    def plans(self) -> Iterator[tuple[Kind, Plan]]:
        """What is to be done now for each kind, in the order of the file; nothing is changed but what is known.

        Each is decided when it is asked for, so that it knows what was done for those before it.
        """
        pilots = self.pool.pilots()
        self.look(pilots)
        for kind in self.site.kinds:
            yield kind, self.plan(kind, pilots)

    def look(self, pilots: Sequence[PilotRecord]) -> None:
        """Ask the batch system what has become of the jobs, unless it was asked just now or is let be."""
        ledger, now = self.ledger, self.clock()
        alive = self._note_heard(pilots)
        for node in ledger.nodes.expire(now):
            self.tell(f"node {node} is tried again")
        every = 0.0 if self.site.system == "local" else LOOK_EVERY
        if 0 <= now - ledger.tried_at < every or ledger.looking.left(now):
            return
        ledger.tried_at = now
        grace = self.site.grace
        try:
            with self.busy():
                adopted, ended = look(
                    self.scheduler, ledger.jobs, prefix=self.prefix, alive=alive, grace=grace, now=now
                )
        except SchedulerError as error:
            self._failed("looking", f"{self.site.system} cannot be asked: {error.message}")
            return
        ledger.looked_at = now
        if ledger.looking.succeed():
            self.tell(f"{self.site.system} answers again")
        for entry in adopted:
            self.tell(f"adopted job {entry.id} ({entry.name}, {entry.state}), of which the journal did not know")
        for one in ended:
            self._note_end(one, now)

    def is_fresh(self) -> bool:
        """Whether the batch system answered when it was last asked."""
        ledger = self.ledger
        return ledger.looked_at > 0 and ledger.looked_at == ledger.tried_at

    def plan(self, kind: Kind, pilots: Sequence[PilotRecord]) -> Plan:
        """What is to be done for one kind."""
        now = self.clock()
        ready, more = ready_tokens(self.pool, kind)
        since = self.ledger.quiet_since
        if ready:
            since.pop(kind.name, None)
        else:
            since[kind.name] = min(since.get(kind.name, now), now)
        pause = self.pool.store.paused()
        demand = Demand(
            ready=ready,
            more=more,
            quiet=now - since[kind.name] if not ready else 0.0,
            others=queued_elsewhere(pilots, self._id, kind.view),
            paused=None if pause is None else f"by {pause.by}{': ' if pause.why else ''}{pause.why}",
        )
        return decide(demand, pilots, self.ledger.of_kind(kind.name), self._limits(kind), now)

    def apply(self, kind: Kind, plan: Plan) -> int:
        """Do what was planned; how many jobs were submitted. Nothing, as long as the batch system is away."""
        self.announce({kind: plan.submit})
        self._cancel(plan.cancel)
        if not plan.submit or self.withheld():
            return 0
        most = 1 if self.ledger.stillborn.is_probing else _AT_ONCE
        return sum(self._submitted(kind) for _ in self._while_going_well(min(plan.submit, most)))

    def withheld(self) -> str:
        """Why nothing is submitted now, whatever the work; empty when it is."""
        now = self.clock()
        if not self.is_fresh():
            failing = self.ledger.looking
            return (
                f"nothing is submitted: {failing.why or f'{self.site.system} has not been asked'}{_until(failing, now)}"
            )
        for failing in (self.ledger.submitting, self.ledger.stillborn):
            if failing.left(now):
                return (
                    f"nothing is submitted: {failing.failures} failures in a row, {failing.why}{_until(failing, now)}"
                )
        return ""

    def announce(self, more: dict[Kind, int] | None = None) -> None:
        """Tell other autopilots how many tokens the jobs will take that wait here, and those about to be submitted."""
        queued: dict[View, int] = {}
        for kind in self.site.kinds:
            waiting = sum(entry.state.is_waiting and not entry.heard for entry in self.ledger.of_kind(kind.name))
            queued[kind.view] = queued.get(kind.view, 0) + kind.backlog * (waiting + (more or {}).get(kind, 0))
        self.pool.store.beat(record(self.site, self._started_at, queued))

    def sign_off(self) -> None:
        """Take the record back; jobs stay as they are."""
        self.pool.store.forget(self._id)

    def install_views(self) -> None:
        """Make the views of kinds with a condition, from which their pilots claim; UsageError for one that is not
        there, or that has another condition."""
        there = {design.name: design for design in self.pool.store.designs()}
        for kind in self.site.kinds:
            if kind.where is None:
                self.pool.store.page(kind.view, limit=1)
                continue
            wanted = Design(kind.name, kind.where)
            if kind.name not in there:
                self.pool.store.install(wanted)
                self.tell(f"added the view {kind.view}")
            elif there[kind.name] != wanted:
                hint = f"`picas view ls` shows it; give the kind another name, or view = {str(kind.view)!r}"
                raise UsageError(f"there is a view {kind.view} already, with another condition", hint=hint)

    def _limits(self, kind: Kind) -> Limits:
        room = float("inf") if self.site.max is None else max(0, self.site.max - len(self.ledger.jobs))
        return Limits(
            max=kind.max,
            min=kind.min,
            backlog=kind.backlog,
            cores=kind.cores,
            view=str(kind.view),
            grace=self.site.grace,
            prefix=f"{self.prefix}{kind.name}-",
            room=room,
        )

    def _note_heard(self, pilots: Sequence[PilotRecord]) -> set[str]:
        """Note which jobs have pilots that are alive; the names of all such."""
        alive = {pilot.job_name: pilot for pilot in pilots if pilot.alive and pilot.job_name.startswith(self.prefix)}
        for entry in self.ledger.jobs.values():
            if entry.name in alive and not entry.heard:
                entry.heard = True
                self.ledger.stillborn.succeed()
        return set(alive)

    def _note_end(self, ended: Ended, now: float) -> None:
        entry, job, nodes = ended.entry, ended.job, self.ledger.nodes
        node = job.node or entry.node
        what = f"job {entry.id or entry.name} of {entry.kind or 'no kind'} is {job.state}"
        why = ", ".join(part for part in (job.reason, node and f"on {node}") if part)
        if not is_stillborn(job, heard=entry.heard):
            if node and entry.heard:
                nodes.worked(node)
            self.tell(what + (f" ({why})" if why else ""))
            return
        code = "" if job.exit_code is None else f" with exit code {job.exit_code}"
        reason = (
            f"its pilots do not come up, the last ended{code}: {job.state}{f', {job.reason}' if job.reason else ''}"
        )
        self.tell(f"{what}{code}, without having run anything" + (f" ({why})" if why else ""))
        if node and nodes.failed(node, reason, now):
            can = "" if self.scheduler.avoids else f"; {self.site.system} cannot keep jobs off it"
            self.tell(f"node {node} is set apart for an hour: {reason}{can}")
        self._failed("stillborn", f"pilots end without having run anything, the last is job {entry.id}")

    def _failed(self, what: str, why: str) -> None:
        backoff: Backoff = getattr(self.ledger, what)
        now = self.clock()
        pauses = backoff.fail(why, now, self.chance)
        if what != "stillborn" or pauses:
            self.tell(f"{why} ({backoff.failures} in a row){_until(backoff, now)}")

    def _while_going_well(self, count: int) -> Iterator[int]:
        """Numbers of submissions, as long as none fails: what failed once is not tried again in this cycle."""
        for number in range(count):
            before = self.ledger.submitting.failures
            yield number
            if self.ledger.submitting.failures > before:
                return

    def _submitted(self, kind: Kind) -> bool:
        """Submit one job; whether it is known to be there. It is in the journal before, under its name."""
        name = fresh_name(self.prefix, kind.name, self.ledger.jobs.keys())
        avoid = self.ledger.nodes.apart() if self.scheduler.avoids else ()
        spec = replace(self.pilots(kind, name), group=self.prefix, avoid=avoid)
        now = self.clock()
        entry = self.ledger.jobs[name] = Entry(name=name, kind=kind.name, at=now, since=now)
        self.journal.write()
        try:
            with self.busy():
                entry.id = self.scheduler.submit(spec)
        except Rejected as error:
            del self.ledger.jobs[name]
            self._failed("submitting", f"{self.site.system} refused a job of {kind.name}: {error.message}")
        except SchedulerError as error:
            said = f"it is not known whether job {name} was submitted, which counts until that is: {error.message}"
            self._failed("submitting", said)
        except UsageError:
            # The job's own description cannot be written; nothing was handed in.
            del self.ledger.jobs[name]
            self.journal.write()
            raise
        else:
            self.ledger.submitting.succeed()
            if self.submitted is not None:
                self.submitted(name, entry.id)
        self.journal.write()
        return bool(entry.id)

    def _cancel(self, names: Sequence[str]) -> None:
        entries = [entry for name in names if (entry := self.ledger.jobs.get(name)) is not None]
        if not entries:
            return
        try:
            with self.busy():
                self.scheduler.cancel([entry.id for entry in entries])
        except SchedulerError as error:
            self.tell(f"{len(entries)} jobs could not be cancelled: {error.message}")
            return
        for entry in entries:
            entry.cancelled_at = self.clock()
        self.journal.write()


def _until(backoff: Backoff, now: float) -> str:
    left = backoff.left(now)
    return f"; next try in {left:.0f} s" if left else ""
