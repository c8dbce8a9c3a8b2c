"""Simulated pilots: the real `CommandActor` with its loop, over a crew that takes virtual time and starts nothing."""

from __future__ import annotations

import itertools
import json
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from picas.command import CommandActor, RunOptions
from picas.errors import PicasError
from picas.pilot.crew import Loss
from picas.pilot.jobs import Job, Report
from picas.pool import Pool
from picas.testing.simulation.checks import Checker, Run
from picas.testing.simulation.loop import BASE, Actor, Killed, Loop
from picas.testing.simulation.network import Asleep, Handle, Network

__all__ = ["Plan", "SimulatedPilot"]

_COARSE = 6.0
"""Seconds that a pilot may be late where it looks every so often: it gets no more of the processor than that."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a token's command does: the exit codes of its first runs (then 0), seconds, whether it kills its pilot."""

    exit_codes: Sequence[int] = ()
    seconds: float = 1.0
    kills: bool = False


class _Crew:
    """Runners of one pilot: each runs a command for as long as its plan says."""

    folder = Path("/nonexistent")
    pids: Sequence[int] = ()

    def __init__(self, pilot: SimulatedPilot, size: int) -> None:
        self.alive = size
        self._pilot = pilot
        self._queue: list[Job] = []
        self._running: dict[int, tuple[Job, Run, float]] = {}
        self._reports: list[Report] = []
        self._lost: list[Loss] = []
        self._cancelled: dict[int, str] = {}
        self._has_waited = False

    def send(self, job: Job) -> bool:
        if len(self._queue) >= 8:
            return False
        self._queue.append(job)
        self._begin()
        return True

    def collect(self, timeout: float) -> list[Report]:
        if self._reports or self._lost or self._has_waited or not timeout:
            self._has_waited = False
            found, self._reports = self._reports, []
            return found
        self._has_waited = True
        raise Asleep(timeout)

    def take_lost(self) -> list[Loss]:
        lost, self._lost = self._lost, []
        return lost

    def cancel(self, numbers: Iterable[int], why: str, grace: float) -> None:
        loop, chance = self._pilot.loop, self._pilot.chance
        for number in numbers:
            self._cancelled.setdefault(number, why)
            if number in self._running:
                loop.at(loop.now + chance.uniform(0.0, grace), lambda number=number: self._end(number, why))  # type: ignore[misc]

    def recall(self) -> list[int]:
        taken, self._queue = self._queue, []
        return [job.number for job in taken]

    def kill_one(self) -> None:
        """A runner is killed with what it runs."""
        if self.alive and self._running:
            number = next(iter(self._running))
            del self._running[number]
            self.alive -= 1
            self._lost.append(Loss([], number))
            self._pilot.wake()

    def vanish(self) -> None:
        """The pilot is dead: its runners see that, end what they run, and themselves."""
        self.alive = 0
        self._running.clear()
        self._queue.clear()

    def _begin(self) -> None:
        loop = self._pilot.loop
        while self._queue and len(self._running) < self.alive:
            job = self._queue.pop(0)
            if job.number in self._cancelled:
                self._report(job, None, -signal.SIGTERM, self._cancelled.pop(job.number), loop.now)
                continue
            run, plan = self._pilot.started(job)
            self._running[job.number] = (job, run, loop.now)
            loop.at(loop.now + plan.seconds, lambda number=job.number: self._end(number, ""))  # type: ignore[misc]

    def _end(self, number: int, why: str) -> None:
        if number not in self._running:
            return
        job, run, start = self._running.pop(number)
        self._cancelled.pop(number, None)
        plan = self._pilot.plans[run.token]
        self._pilot.loop.actor = self._pilot
        if plan.kills and not why:
            self._pilot.die(by=run.token)
            return
        codes = plan.exit_codes
        code = -signal.SIGTERM if why else codes[run.fence - 1] if run.fence <= len(codes) else 0
        run.exit_code = None if why else code
        self._report(job, run, code, why, start)
        self._begin()

    def _report(self, job: Job, run: Run | None, code: int, why: str, start: float) -> None:
        output = None if run is None else json.dumps({"run": run.number}).encode()
        runtime = self._pilot.loop.now - start
        self._reports.append(Report(job.number, code, why, BASE + start, runtime, 0, b"", 0, b"", 0, output, False))
        self._pilot.wake()


class SimulatedPilot(Actor):
    """One pilot from its start to its end, whichever comes: signed off, killed, or killed by a token."""

    def __init__(
        self,
        network: Callable[[Actor], Network],
        checker: Checker,
        plans: dict[str, Plan],
        options: RunOptions,
        *,
        chance: random.Random,
        numbers: itertools.count[int],
        skew: float,
        rate: float,
    ) -> None:
        super().__init__("new", skew=skew, rate=rate)
        self.network = network(self)
        self.loop: Loop = self.network.loop
        self.plans = plans
        self.chance = chance
        self.has_ended = False
        self.started_at = self.ended_at = self.loop.now
        self._checker = checker
        self._numbers = numbers
        self.loop.actor = self
        self._handle = Handle(self.network)
        self._actor = CommandActor(Pool(self._handle), options)
        self.name = self._actor.id
        self.cores = options.cores or 1
        self._crew = _Crew(self, self.cores)
        self._actor._crew = self._crew  # type: ignore[assignment]
        self._wakes = 0
        self.is_at_work = False
        self.is_idle = False
        self.wake()

    @property
    def is_alive(self) -> bool:
        """Whether it goes on, now or when it is no longer stopped."""
        return not (self.is_dead or self.has_ended)

    def die(self, by: str = "") -> None:
        """End as by SIGKILL."""
        if not self.is_alive:
            return
        self.loop.note("dies", by)
        self.is_dead = True
        self.ended_at = self.loop.now
        if by:
            self._checker.killed_by[self.name] = by
        self._crew.vanish()

    def lose_runner(self) -> None:
        """One of its runners is killed."""
        self._crew.kill_one()

    def signal(self) -> None:
        """It is told to stop."""
        self._actor._on_signal()
        self.wake()

    def wake(self, seconds: float = 0.0) -> None:
        """Have it go on in so many seconds, or sooner."""
        self._wakes += 1
        number = self._wakes
        self.loop.at(self.loop.now + seconds, lambda: self._go_on(number))

    def started(self, job: Job) -> tuple[Run, Plan]:
        """A command is begun; its run and what it will do."""
        token, fence = job.environ[b"PICAS_TOKEN_ID"].decode(), int(job.environ[b"PICAS_FENCE"])
        run = Run(token=token, fence=fence, pilot=self.name, number=next(self._numbers))
        self._checker.runs[run.number] = run
        return run, self.plans[token]

    def _go_on(self, number: int) -> None:
        if self.is_at_work or not self.is_alive or number != self._wakes:
            return
        if self.stopped_until > self.loop.now:
            self.wake(self.stopped_until - self.loop.now)
            return
        self.loop.actor = self
        self.is_at_work, self.is_idle = True, False
        before = self._wakes
        try:
            self._actor._work()
            self._actor._sign_off()
            self._end()
        except Asleep as asleep:
            self.is_at_work, self.is_idle = False, not self._actor._holdings
            woken = self._wakes != before  # a report came while it was in the middle of something
            self.wake(0.0 if woken else max(asleep.seconds, self.chance.uniform(0.0, _COARSE)))
        except Killed:
            pass
        except PicasError as error:
            raise AssertionError(f"pilot {self.name} ended with {error!r}") from error

    def _end(self) -> None:
        kept = self._actor._settler.keep_rest()
        self.loop.note("ends", self._actor._why, kept)
        self.has_ended = True
        self.ended_at = self.loop.now
        self._crew.vanish()

    def holds_any(self) -> bool:
        """Whether it has something to do."""
        return bool(self._actor._holdings) or bool(self._actor._settler.waiting)
