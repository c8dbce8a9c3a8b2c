"""F84: the programs of a Slurm fail, hang, lie and lose. An autopilot never has more jobs there than it may."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from picas.autopilot.config import Kind, Site
from picas.autopilot.journal import Journal
from picas.autopilot.run import Autopilot
from picas.autopilot.site import LOOK_EVERY, SiteAutopilot
from picas.pool import Pool
from picas.schedulers.base import JobSpec
from picas.schedulers.slurm import Slurm
from picas.stores.base import PilotRecord
from picas.stores.memory import MemoryStore
from support.fake_slurm import COMMANDS, ENDED, FakeSlurm

MOST = 8
FAULTS = {
    "sbatch": ["fail", "limit", "lost", "garbage", "empty", "hang"],
    "squeue": ["fail", "garbage", "partial", "empty", "hang"],
    "sacct": ["fail", "garbage", "partial", "empty"],
    "scancel": ["fail", "hang"],
}


class Played:
    """A pool full of work, a pretended Slurm and its jobs, and an autopilot, in a time of their own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.fake = FakeSlurm(folder / "slurm")
        self.chance = random.Random(seed)
        self.now = 1_000_000.0
        self.said: list[str] = []
        self._folder = folder
        self._pool = Pool(MemoryStore(lambda: self.now))
        self._pool.add({"command": ["true"]} for _ in range(500))

    def start(self) -> None:
        """An autopilot that knows what is in the journal, and nothing else."""
        kind = Kind(name="one", max=MOST, backlog=1)
        site = Site(name="here", system="slurm", kinds=(kind,), folder=self._folder)
        journal = Journal(self._folder / "journal.json")
        journal.read()
        self.autopilot = SiteAutopilot(
            self._pool, site, Slurm(timeout=1.0, clock=lambda: self.now), journal, self._job, self.said.append,
            clock=lambda: self.now, chance=self.chance,
        )  # fmt: skip
        self._cycles = Autopilot([self.autopilot], self.said.append)

    def cycle(self, share: float) -> None:
        """One cycle, in which each command meets a fault with this chance; then what happens in half a minute."""
        for name in COMMANDS:
            fault = self.chance.choice(FAULTS[name]) if self.chance.random() < share else ""
            # A hang takes its time, and so do lost answers.
            self.fake.tell(**{name: fault if fault not in ("hang", "lost") or self.chance.random() < 0.2 else "fail"})
        self._cycles._bear(self.autopilot)
        self._happen()
        self.now += LOOK_EVERY

    @property
    def alive(self) -> list[str]:
        """The jobs that may still run, whatever is said of them."""
        return [job_id for job_id, job in self.fake.jobs.items() if job["state"] not in ENDED]

    def _happen(self) -> None:
        for job_id, job in self.fake.jobs.items():
            dice = self.chance.random()
            if job["state"] in ENDED:
                if dice < 0.3:
                    self.fake.forget(job_id, accounts=dice < 0.1)
            elif job["state"] == "PENDING":
                if dice < 0.4:
                    self.fake.set(job_id, state="RUNNING", node=f"n{job_id[-1]}", reason="None")
                elif dice < 0.45:
                    self.fake.set(job_id, state="CANCELLED")
            elif dice < 0.05:
                self.fake.set(job_id, state="PENDING", reason="BeginTime")
            elif dice < 0.15:
                self.fake.set(job_id, state=self.chance.choice(ENDED))
            else:
                self._beat(job_id, job["name"])

    def _beat(self, job_id: str, name: str) -> None:
        record = PilotRecord(
            id=f"pilot-{job_id}", hostname="n", pid=1, started_at=self.now, lease=100.0, running=1, job_name=name
        )
        self._pool.store.beat(record)

    def _job(self, kind: Kind, name: str, native: Sequence[str]) -> JobSpec:
        return JobSpec(name=name, argv=("picas", "run"), folder=self._folder, cores=kind.cores, native=native)


@pytest.mark.parametrize(
    ("cycles", "seed"), [(60, 1), pytest.param(500, 2, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_f84_never_more_jobs_than_max(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycles: int, seed: int) -> None:
    played = Played(tmp_path, seed)
    monkeypatch.setenv("PATH", played.fake.path())
    for number in range(cycles):
        if number % 10 == 0:
            played.start()
        played.cycle(0.15)
        assert len(played.alive) <= MOST, "\n".join(played.said[-20:])
    made = len(played.fake.jobs)
    print(f"\n{cycles} cycles: {made} jobs, never more than {MOST} at once")

    # It went on through all that; and when all is well again, there are as many as may be.
    assert made > MOST
    played.now += 3700
    for _ in range(60):
        played.cycle(0.0)
        if len(played.alive) == MOST:
            break
    assert len(played.alive) == MOST, "\n".join(played.said[-20:])
