"""A batch system in memory, in a test's own time, with every fault that one may have; and the pilots of its jobs.

What is true of its jobs is in ``jobs``; what it says of them may be late, partial, or not to be had at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from picas.schedulers.base import Job, JobSpec, JobState, Rejected, SchedulerAway, SchedulerError


@dataclass
class Batch:
    """A `Scheduler`. ``fault`` says what befalls each call, by its name; "" for nothing.

    Faults: ``away`` (nothing happened), ``lost`` (submit: it was made, but the answer is lost), ``late`` (submit: it
    will be made later, the answer is lost), ``limit`` (refused), ``garbage``, ``partial`` (find, status: some jobs are
    left out).
    """

    clock: Callable[[], float]
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    name: str = "fake"
    avoids: bool = True
    jobs: dict[int, Job] = field(default_factory=dict)
    """By a number of our own: an id may be used again."""
    specs: dict[str, JobSpec] = field(default_factory=dict)
    late: list[tuple[float, JobSpec]] = field(default_factory=list)
    hidden: dict[int, float] = field(default_factory=dict)
    """Jobs that are in no list until a time, though they are there."""
    fault: Callable[[str], str] = lambda _: ""
    looks: list[float] = field(default_factory=list)
    reuse_ids: bool = False
    most_alive: int = 0
    _made: int = 0

    def script(self, spec: JobSpec) -> str:
        return spec.name

    def submit(self, spec: JobSpec) -> str:
        fault = self.fault("submit")
        if fault == "limit":
            raise Rejected("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        if fault in ("away", "garbage"):
            raise SchedulerAway("sbatch: unable to contact slurm controller")
        if fault == "late":
            self.late.append((self.clock() + self.chance.uniform(1, 120), spec))
            raise SchedulerAway("sbatch did not answer within 20 s")
        job = self._make(spec)
        if fault == "lost":
            raise SchedulerAway("sbatch did not say the job's id")
        return job.id

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        fault = self._asked("status")
        self.tick()
        found = {}
        for number, job in self.jobs.items():  # of an id used twice the later
            if job.id in ids and number not in self.hidden and not (fault == "partial" and self.chance.random() < 0.3):
                found[job.id] = job
        return found

    def find(self, prefix: str) -> list[Job]:
        fault = self._asked("find")
        self.looks.append(self.clock())
        self.tick()
        return [
            job
            for number, job in self.jobs.items()
            if job.name.startswith(prefix) and not job.state.is_final and number not in self.hidden
            if not (fault == "partial" and self.chance.random() < 0.3)
        ]

    def cancel(self, ids: Sequence[str]) -> None:
        if self.fault("cancel"):
            raise SchedulerAway("scancel: unable to contact slurm controller")
        for number, job in self.alive().items():
            if job.id in ids:
                self.set(number, JobState.CANCELLED)

    def alive(self) -> dict[int, Job]:
        """The jobs that have not ended."""
        return {number: job for number, job in self.jobs.items() if not job.state.is_final}

    def set(self, number: int, state: JobState, **said: object) -> None:
        """What became of a job."""
        self.jobs[number] = replace(self.jobs[number], state=state, **said)  # type: ignore[arg-type]

    def tick(self) -> None:
        """Let happen what was to happen by now."""
        now = self.clock()
        for made_at, spec in [one for one in self.late if one[0] <= now]:
            self.late.remove((made_at, spec))
            self._make(spec)
        self.hidden = {number: until for number, until in self.hidden.items() if until > now}

    def _make(self, spec: JobSpec) -> Job:
        self._made += 1
        job_id = str(self._made)
        if self.reuse_ids:
            free = {job.id for job in self.jobs.values()} - {job.id for job in self.alive().values()}
            job_id = min(free, default=job_id) if self.chance.random() < 0.5 else job_id
        job = self.jobs[self._made] = Job(id=job_id, name=spec.name, state=JobState.PENDING)
        self.specs[spec.name] = spec
        self.most_alive = max(self.most_alive, len(self.alive()))
        return job

    def _asked(self, call: str) -> str:
        fault = self.fault(call)
        if fault in ("away", "late", "lost", "limit"):
            raise SchedulerAway("squeue: unable to contact slurm controller")
        if fault == "garbage":
            raise SchedulerError("Slurm says that job 7 is 'SPINNING', a state that picas does not know")
        return fault
