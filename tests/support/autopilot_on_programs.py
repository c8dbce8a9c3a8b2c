"""An autopilot on the commands of a pretended batch system, and what becomes of its jobs, in a time of their own."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from picas.autopilot.config import Kind, Site
from picas.autopilot.journal import Journal
from picas.autopilot.run import Autopilot
from picas.autopilot.site import LOOK_EVERY, SiteAutopilot
from picas.pool import Pool
from picas.schedulers.base import JobSpec
from picas.schedulers.book import Book
from picas.schedulers.sites import scheduler
from picas.stores.base import PilotRecord
from picas.stores.memory import MemoryStore
from support.dialects.base import FakeJob
from support.fake_systems import FakeSystem

__all__ = ["FAULTS", "Cycles", "Played"]

HANGS = 0.2
"""Seconds after which a command that never ends is given up."""

FAULTS: Mapping[str, Sequence[str]] = {
    "submits": ("fail", "limit", "lost", "broken", "garbage", "partial", "empty", "hang"),
    "asks": ("fail", "garbage", "partial", "empty", "hang"),
    "cancels": ("fail", "hang"),
}
"""What can befall the commands that submit, tell of jobs, and cancel."""


class Cycles:
    """A pool full of work, and an autopilot that keeps ``most`` jobs on a system."""

    program: Sequence[str] = ("picas", "run")

    def __init__(self, folder: Path, system: str, *, seed: int = 0, most: int = 8) -> None:
        self.most = most
        self.chance = random.Random(seed)
        self.now = 1_000_000.0
        self.said: list[str] = []
        self.made: list[str] = []
        self.folder = folder
        self.pool = Pool(MemoryStore(lambda: self.now))
        self.pool.add({"command": ["true"]} for _ in range(2 * most + 50))
        self._system = system
        self.start()

    def start(self) -> None:
        """Begin an autopilot that knows what is in the journal, and nothing else."""
        kind = Kind(name="one", max=self.most, backlog=1)
        site = Site(name="here", system=self._system, kinds=(kind,), folder=self.folder)
        journal = Journal(self.folder / "journal.json")
        journal.read()
        self.batch: Any = scheduler(self._system)
        self.batch.book = Book(lambda: self.now)
        self.autopilot = SiteAutopilot(
            self.pool, site, self.batch, journal, self._job, self.said.append,
            clock=lambda: self.now, chance=self.chance, submitted=lambda name, _: self.made.append(name),
        )  # fmt: skip
        self._cycles = Autopilot([self.autopilot], self.said.append)

    @property
    def known(self) -> set[str]:
        """The ids of the jobs that the autopilot knows of."""
        return {entry.id for entry in self.autopilot.ledger.jobs.values()}

    @property
    def alive(self) -> set[str]:
        """The ids of the jobs that may run."""
        raise NotImplementedError

    def cycle(self, share: float = 0.0) -> None:
        """One cycle, in which commands meet faults with this chance, twice that to submit; then half a minute."""
        self._cycles._bear(self.autopilot)
        self.now += LOOK_EVERY

    def assert_within_bounds(self) -> None:
        """There are no more jobs than may be, whatever the autopilot thinks."""
        assert len(self.alive) <= self.most, "\n".join(self.said[-20:])

    def until_settled(self) -> None:
        """All is well again: it comes to as many jobs as may be, and knows each of them."""
        self.now += 3700  # pauses end
        for _ in range(60):
            self.cycle()
            self.assert_within_bounds()
            if len(self.alive) == self.most and self.known == self.alive:
                return
            self.now += 300
        raise AssertionError("\n".join(self.said[-20:]))

    def _job(self, kind: Kind, name: str) -> JobSpec:
        return JobSpec(name=name, argv=self.program, folder=self.folder, cores=kind.cores)


class Played(Cycles):
    """The same, with the programs of a pretended system, and what becomes of its jobs."""

    def __init__(self, folder: Path, fake: FakeSystem, system: str, **said: int) -> None:
        super().__init__(folder, system, **said)
        self.fake = fake
        self.nodes = ("n1", "n2", "n3")
        self._hidden: dict[str, float] = {}

    @property
    def alive(self) -> set[str]:
        return self.fake.alive

    def cycle(self, share: float = 0.0) -> None:
        faults = self._faults(share)
        self.fake.tell(**faults)
        self.fake.cut = self.chance.random()
        self.batch.timeout = HANGS if {"hang", "lost"} & set(faults.values()) else 30.0
        super().cycle()

    def until_settled(self) -> None:
        for job_id in self._hidden:
            self.fake.show(job_id)
        self._hidden.clear()
        super().until_settled()

    def happen(self) -> None:
        """What befalls jobs in half a minute: they begin, are held or requeued, end, vanish and come back."""
        for job_id, job in self.fake.jobs.items():
            dice = self.chance.random()
            if job.over:
                self._go(job, dice)
            elif job_id in self._hidden:
                if self._hidden[job_id] <= self.now:
                    del self._hidden[job_id]
                    self.fake.show(job_id)
            elif dice < 0.02:
                self._hidden[job_id] = self.now + self.chance.uniform(30, 300)
                self.fake.forget(job_id, accounts=True)
            elif dice < 0.03:
                self.fake.end(job_id)
                self.fake.forget(job_id, accounts=True)
            else:
                self._go_on(job, self.chance.random())

    def beat(self, job: FakeJob) -> None:
        """The job's pilot is there, and runs a token."""
        record = PilotRecord(
            id=f"pilot-{job.name}", hostname="n", pid=1, started_at=self.now, lease=100.0, running=1, job_name=job.name
        )
        self.pool.store.beat(record)

    def _go(self, job: FakeJob, dice: float) -> None:
        """What becomes of what is known of a job that has ended."""
        if dice < 0.3 and job.account:
            self.fake.forget(job.id, accounts=dice < 0.1)
        elif dice < 0.35 and self.fake.words.reuses_ids:
            self.fake.next_id = int(job.id.partition(".")[0])

    def _go_on(self, job: FakeJob, dice: float) -> None:
        words = self.fake.words
        if not words.running.items() <= job.said.items():
            if dice < 0.4:
                self.fake.set(job.id, **words.running, **words.on(self.chance.choice(self.nodes)))
            elif dice < 0.45:
                self.fake.set(job.id, **words.held)
        elif dice < 0.05:
            self.fake.set(job.id, **words.waiting)
        elif dice < 0.15:
            self.fake.end(job.id, **self.chance.choice(words.ends))
        else:
            self.beat(job)

    def _faults(self, share: float) -> dict[str, str]:
        words = self.fake.words
        kinds = {words.submits: "submits", words.cancels: "cancels", **dict.fromkeys(words.asks, "asks")}
        faults = {
            name: self.chance.choice(FAULTS[kind]) if self.chance.random() < share * (1 + (kind == "submits")) else ""
            for name, kind in kinds.items()
        }
        # What hangs takes its time in the test as well: a few times will do.
        hang = [name for name, fault in faults.items() if fault in ("hang", "lost")]
        return faults | {name: "fail" for name in hang if self.chance.random() < 0.7}
