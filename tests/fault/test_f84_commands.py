"""F84: the programs of each batch system fail, hang, lie and lose. There are never more jobs than there may be."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path

import psutil
import pytest

from support.autopilot_on_programs import Cycles, Played
from support.daemons import until
from support.dialects.base import FakeJob
from support.fake_systems import SYSTEMS, FakeSystem

SOAK = pytest.mark.soak, pytest.mark.timeout(1800)


@pytest.fixture(params=SYSTEMS)
def play(
    request: pytest.FixtureRequest, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Played]]:
    """Makes an autopilot on the pretended programs of each system."""
    with FakeSystem(memory / "programs", request.param) as fake:
        monkeypatch.setenv("PATH", fake.path())
        yield lambda **said: Played(memory, fake, request.param, **said)


@pytest.mark.parametrize(("cycles", "seed"), [(60, 1), pytest.param(500, 2, marks=SOAK)])
def test_f84_never_more_jobs_than_max(play: Callable[..., Played], cycles: int, seed: int) -> None:
    played, began = play(seed=seed), time.monotonic()
    fake = played.fake
    for number in range(cycles):
        if number % 10 == 0:
            played.start()
        fake.others = _others(fake) if number % 30 == 15 else []
        before = len(fake.calls(fake.words.asks[0]))
        played.cycle(0.15)
        played.assert_within_bounds()
        # One look, in which PBS is asked three times: for the names, for what is missing, and for what has ended.
        assert len(fake.calls(fake.words.asks[0])) - before <= 3
        played.happen()
    made = f"{len(fake.calls(fake.words.submits))} submissions, {len(played.made)} of them known at once"
    print(f"\n{cycles} cycles: {made}, at most {played.most} jobs, {time.monotonic() - began:.1f} s")

    # It went on through all that; and when all is well again, there are as many as may be, and all are known.
    assert len(played.made) > 1.5 * played.most
    played.until_settled()


@pytest.mark.parametrize("cycles", [4, pytest.param(100, marks=SOAK)])
def test_f84_two_thousand_jobs(play: Callable[..., Played], cycles: int) -> None:
    """F84: there are as many jobs as may be, two thousand, of which no journal tells. They are found, and kept to."""
    played = play(seed=3, most=2000)
    fake = played.fake
    for number in range(1, 2001):
        fake.add(_ours(played, number))
    ending: list[str] = []
    for _ in range(cycles):
        played.cycle(0.15)
        played.assert_within_bounds()
        for job_id in ending:
            fake.end(job_id, **played.chance.choice(fake.words.ends))
        # Those that end next have been pilots by then, which is heard of.
        ending = sorted(fake.alive)[:5]
        for job_id in ending:
            played.beat(fake.jobs[job_id])
    played.until_settled()


def test_f84_local_jobs(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F84: jobs of this machine are killed, lose their records, find no place. There are never more than may be."""
    monkeypatch.setenv("XDG_STATE_HOME", str(memory / "state"))
    played = LocalJobs(memory, "local", seed=4)
    try:
        for number in range(40):
            if number % 10 == 0:
                played.start()
            played.cycle(0.2)
            played.assert_within_bounds()
            played.happen()
        played.until_settled()
    finally:
        played.kill(played.alive)
    assert len(played.made) > 2 * played.most


class LocalJobs(Cycles):
    """An autopilot with jobs that really run, which do nothing but wait for their end."""

    program = ("sleep", "600")

    @property
    def records(self) -> Path:
        """Where the jobs of this machine have their folders."""
        return self.folder / "state/picas/local" / re.sub(r"[^\w.-]", "_", socket.gethostname())

    @property
    def alive(self) -> set[str]:
        return set(self._processes())

    def cycle(self, share: float = 0.0) -> None:
        there, away = self.records.parent, self.folder / "away"
        if self.chance.random() < share and there.exists():
            there.rename(away)
            there.touch()
        super().cycle()
        if away.exists():
            there.unlink()
            away.rename(there)
        # One that is killed before waits, for all that is known, until nobody believes any more that it will begin.
        until("all have begun", lambda: all((self.records / job_id / "stat").exists() for job_id in self.alive), 10)

    def happen(self) -> None:
        """Some are killed with all they have, some end well, and of some that have ended nothing is left."""
        alive = self.alive
        for job_id in sorted(alive):
            dice = self.chance.random()
            if dice < 0.1:
                self.kill([job_id])
            elif dice < 0.2:
                self.batch.cancel([job_id])
        until("those have ended", lambda: not self._dying(), 10)
        for place in sorted(self.records.iterdir()):
            if place.name not in alive and self.chance.random() < 0.1:
                shutil.rmtree(place)

    def kill(self, ids: Iterable[str]) -> None:
        """End jobs at once."""
        processes = self._processes()
        for job_id in ids:
            os.killpg(processes[job_id].pid, signal.SIGKILL)
            processes[job_id].wait(10)

    def _dying(self) -> list[str]:
        return [job_id for job_id in self._processes() if (self.records / job_id / "cancelled").exists()]

    def _processes(self) -> dict[str, psutil.Process]:
        """The shells of the jobs, which are children of this process; those that have ended are taken leave of."""
        found = {}
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                words = child.cmdline()
                if words[3:4] == ["picas"] and child.status() != psutil.STATUS_ZOMBIE:
                    found[Path(words[4]).name] = child
        return found


def _ours(played: Played, number: int) -> FakeJob:
    """A job that an autopilot of this site has made before."""
    job_id = played.fake.words.array(number)[0].id.replace("_1", "").replace("[]", "")
    job = played.fake.words.job(job_id, f"{played.autopilot.prefix}one-old{number}")
    job.extra["group"] = played.autopilot.prefix.rstrip("-")
    return job


def _others(fake: FakeSystem) -> list[FakeJob]:
    """Two thousand jobs of the same user that are no pilots, in arrays."""
    arrays = (job for number in count(90_000, 100) for job in fake.words.array(number))
    return list(islice(arrays, 2000))
