"""A pool, a batch system, its pilots and an autopilot, all in a time of their own: what happens is played, in steps."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from picas.autopilot.config import Kind, Site
from picas.autopilot.journal import Journal
from picas.autopilot.run import Autopilot
from picas.autopilot.site import SiteAutopilot
from picas.lifecycle import Claimant, Doc, Outcome, Reason, State
from picas.pool import Pool
from picas.schedulers.base import JobSpec, JobState
from picas.stores.base import Claim, PilotRecord, Settlement
from picas.stores.memory import MemoryStore
from picas.views import View
from support.fake_batch import Batch
from support.in_memory import folder_in_memory


@dataclass
class Played:
    """A pilot: one token at a time, each for ``length`` seconds; it ends when it has been idle for ``idle``."""

    record: PilotRecord
    token: Doc | None = None
    done_at: float = 0.0
    idle_since: float = 0.0
    beat_at: float = 0.0


@dataclass
class World:
    """Each `step` lets some seconds pass; `cycle` has the autopilot act. ``said`` is its log."""

    folder: Path
    seed: int = 0
    length: float = 600.0
    wait: float = 120.0
    """Seconds that a job waits, on average."""
    comes_up: bool = True
    now: float = 1_000_000.0
    said: list[str] = field(default_factory=list)
    pilots: dict[int, Played] = field(default_factory=dict)
    submitted: list[int] = field(default_factory=list)
    """How many jobs there were made in each cycle."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.pool = Pool(MemoryStore(lambda: self.now))
        self.batch = Batch(lambda: self.now, self.chance)

    def site(self, *kinds: Kind, **said: object) -> Site:
        """A site with these kinds."""
        return Site(name="here", system="slurm", kinds=kinds, folder=self.folder, **said)  # type: ignore[arg-type]

    def autopilot(self, site: Site) -> SiteAutopilot:
        """One that has just been started, with whatever its journal says."""
        journal = Journal(self.folder / "journal.json")
        journal.read()
        made = SiteAutopilot(
            self.pool, site, self.batch, journal, _job, self.said.append, clock=lambda: self.now, chance=self.chance
        )
        self.cycles = Autopilot([made], self.said.append)
        return made

    def add(self, count: int, **fields: object) -> None:
        """Ready tokens."""
        self.pool.add({"input": "x", **fields} for _ in range(count))

    def cycle(self, autopilot: SiteAutopilot) -> int:
        """One cycle, as `run` has it; how many jobs it made."""
        before = len(self.batch.jobs)
        self.cycles._bear(autopilot)
        self.submitted.append(len(self.batch.jobs) - before)
        return self.submitted[-1]

    def play(self, autopilot: SiteAutopilot, cycles: int) -> None:
        """Cycles, and what happens between them."""
        for _ in range(cycles):
            self.cycle(autopilot)
            self.step(autopilot.site.interval / 2)
            self.step(autopilot.site.interval / 2)

    def step(self, seconds: float) -> None:
        """Let time pass: jobs begin, pilots claim, run, idle and end."""
        self.now += seconds
        self.batch.tick()
        for number, job in self.batch.alive().items():
            if job.state is JobState.PENDING and self.chance.random() < seconds / self.wait:
                self._begin(number)
        for number in [*self.pilots]:
            self._go_on(number)

    def working(self) -> int:
        """Pilots that run a token."""
        return sum(pilot.token is not None for pilot in self.pilots.values())

    def _begin(self, number: int) -> None:
        node = f"n{number % 5}"
        if not self.comes_up:
            self.batch.set(number, JobState.FAILED, exit_code=8, node=node)
            return
        self.batch.set(number, JobState.RUNNING, node=node)
        record = PilotRecord(
            id=f"pilot-{number}-{self.now:.0f}",
            hostname=node,
            pid=number,
            started_at=self.now,
            lease=300.0,
            job_name=self.batch.jobs[number].name,
        )
        self.pilots[number] = Played(record=record, idle_since=self.now)
        self.pool.store.beat(record)

    def _go_on(self, number: int) -> None:
        pilot, store = self.pilots[number], self.pool.store
        ended = []
        if pilot.token is not None and self.now >= pilot.done_at:
            ended = [Settlement(doc=pilot.token, outcome=Outcome(reason=Reason.EXIT, exit_code=0))]
            pilot.token, pilot.idle_since = None, self.now
        wants = pilot.token is None and number in self.batch.alive()
        claimant = Claimant(pilot=pilot.record.id, hostname="n", cores=1)
        claim = Claim(view=View(State.TODO), count=1, claimant=claimant) if wants else None
        claimed = store.exchange(ended, claim).claimed
        if claimed:
            pilot.token, pilot.done_at = claimed[0], self.now + self.chance.uniform(0.5, 1.5) * self.length
        if number not in self.batch.alive():
            # Killed, without a word: its record lapses.
            del self.pilots[number]
            return
        if pilot.token is None and self.now - pilot.idle_since >= 300:
            self.batch.set(number, JobState.DONE, exit_code=0)
            del self.pilots[number]
            store.forget(pilot.record.id)
            return
        running = int(pilot.token is not None)
        if running != pilot.record.running or self.now - pilot.beat_at >= 100:
            pilot.record, pilot.beat_at = replace(pilot.record, running=running), self.now
            store.beat(pilot.record)


def _job(kind: Kind, name: str) -> JobSpec:
    return JobSpec(name=name, argv=("picas", "run"), folder=Path("/"), cores=kind.cores, native=kind.native)


@contextmanager
def world(**said: object):  # type: ignore[no-untyped-def]
    """A world with a folder of its own, for tests that make many."""
    with folder_in_memory() as folder:
        yield World(folder, **said)  # type: ignore[arg-type]
