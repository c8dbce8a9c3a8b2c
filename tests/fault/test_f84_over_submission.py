"""F84: a batch system that fails, hangs, lies and loses: never more jobs than were allowed, and no rush at it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from picas.autopilot.config import Kind
from picas.autopilot.site import LOOK_EVERY
from picas.lifecycle import State
from picas.schedulers.base import JobState
from support.autopilot_world import World

CYCLES = 500
SOAK = pytest.mark.soak
FAULTS = ("away", "away", "garbage", "limit", "late", "lost", "partial")


def _fault(world: World, share: float) -> object:
    """Each call meets a fault with some chance; now and then everything is away for a while."""
    outage_until = 0.0

    def meet(call: str) -> str:
        nonlocal outage_until
        if world.now < outage_until:
            return "away"
        if world.chance.random() < share / 20:
            outage_until = world.now + world.chance.uniform(60, 3000)
        return world.chance.choice(FAULTS) if world.chance.random() < share else ""

    return meet


def _mishaps(world: World) -> None:
    """What befalls jobs: nodes die, jobs are requeued or held, are in no list for a while, or vanish for good."""
    for number, job in world.batch.alive().items():
        dice = world.chance.random()
        if dice < 0.004:
            world.batch.set(number, JobState.NODE)
        elif dice < 0.008 and job.state is JobState.RUNNING:
            world.batch.set(number, JobState.PENDING, reason="BeginTime")
        elif dice < 0.012 and job.state is JobState.PENDING:
            world.batch.set(number, JobState.HELD, reason="JobHeldUser")
        elif dice < 0.02 and job.state is JobState.HELD:
            world.batch.set(number, JobState.PENDING, reason="")
        elif dice < 0.03:
            world.batch.hidden[number] = world.now + world.chance.uniform(30, 500)
        elif dice < 0.035:
            # Ended, and neither queue nor accounts know it.
            world.batch.set(number, JobState.GONE)
            world.batch.hidden[number] = float("inf")


@pytest.mark.parametrize("seed", [pytest.param(0, marks=SOAK), 1, 2, pytest.param(3, marks=SOAK)])
def test_never_more_jobs_than_max_in_500_cycles(memory: Path, seed: int) -> None:
    world = World(memory, seed=seed, wait=200.0, length=300.0)
    world.batch.reuse_ids = bool(seed % 3)
    world.batch.fault = _fault(world, share=0.05 + 0.1 * (seed % 4))  # type: ignore[assignment]
    site = world.site(Kind(name="one", max=12, min=seed % 3), Kind(name="two", max=6, backlog=3), max=16)
    autopilot = world.autopilot(site)
    for _ in range(CYCLES):
        if world.chance.random() < 0.3 and world.pool.count()[State.TODO] < 40:
            world.add(world.chance.randrange(30))
        world.play(autopilot, 1)
        _mishaps(world)
        alive = [job.name for job in world.batch.alive().values()]
        assert len(alive) <= 16
        assert sum("-one-" in name for name in alive) <= 12
        assert sum("-two-" in name for name in alive) <= 6
        if seed % 2:
            # From its journal alone, as from cron.
            autopilot = world.autopilot(site)
    assert world.batch.most_alive <= 16
    # It went on through all that: there was work, and it was done.
    assert len(world.batch.jobs) > 16
    assert min(after - before for before, after in pairwise(world.batch.looks)) >= LOOK_EVERY
    # Calm again, it is as it should be: all jobs known, all tokens done.
    world.batch.fault = lambda _: ""
    for _ in range(40):
        world.play(autopilot, 10)
        if not autopilot.ledger.jobs:
            break
    assert {str(state) for state, count in world.pool.count().items() if count} == {"done"}


def test_a_queue_that_refuses_is_let_be_for_a_minute_up_to_an_hour(memory: Path) -> None:
    world = World(memory, seed=3)
    tries: list[float] = []

    def refuse(call: str) -> str:
        if call == "submit":
            tries.append(world.now)
        return "limit" if call == "submit" else ""

    world.batch.fault = refuse
    autopilot = world.autopilot(world.site(Kind(name="k", max=5)))
    world.add(50)
    world.play(autopilot, 2000)

    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps[:9] == [60.0] * 9
    assert all(gap >= 60 for gap in gaps[9:])
    assert gaps[-1] >= 3600
    assert max(gaps) <= 3600 + 2 * 60
    # It never stopped, and it said what is the matter.
    assert tries[-1] > world.now - 2 * 3600
    assert any("QOSMaxSubmitJobPerUserLimit" in line and "10 in a row" in line for line in world.said)
    assert any("next try in" in line for line in world.said)
    # The refusals are over: it goes on by itself, within an hour.
    world.batch.fault = lambda _: ""
    world.play(autopilot, 62)
    assert len(world.batch.jobs) >= 5


def test_when_the_batch_system_is_away_nothing_is_submitted_and_nothing_forgotten(memory: Path) -> None:
    world = World(memory, length=1e6, wait=30.0)
    autopilot = world.autopilot(world.site(Kind(name="k", max=6)))
    world.add(4)
    world.play(autopilot, 5)
    assert len(autopilot.ledger.jobs) == 4
    world.add(10)
    world.batch.fault = lambda call: "away" if call != "submit" else ""
    world.play(autopilot, 30)
    assert len(world.batch.jobs) == 4
    assert len(autopilot.ledger.jobs) == 4
    assert any("cannot be asked" in line for line in world.said)
    world.batch.fault = lambda _: ""
    world.play(autopilot, 70)
    assert len(world.batch.alive()) == 6
    assert any("answers again" in line for line in world.said)


def test_a_submission_in_doubt_counts_until_it_is_found(memory: Path) -> None:
    world = World(memory, length=1e6, wait=1e9)
    autopilot = world.autopilot(world.site(Kind(name="k", max=2)))
    world.add(10)
    world.batch.fault = lambda call: "lost" if call == "submit" else ""
    world.cycle(autopilot)
    assert [entry.in_doubt for entry in autopilot.ledger.jobs.values()] == [True]
    world.step(60)
    world.cycle(autopilot)
    world.step(60)
    world.cycle(autopilot)
    world.step(60)
    world.cycle(autopilot)
    # Both are there, both were found by their names, and there is no third.
    assert len(world.batch.jobs) == 2
    assert [entry.in_doubt for entry in autopilot.ledger.jobs.values()] == [False, False]


def test_one_that_was_never_made_is_given_up_after_the_grace_time(memory: Path) -> None:
    world = World(memory, length=1e6, wait=1e9)
    autopilot = world.autopilot(world.site(Kind(name="k", max=1), grace=600.0))
    world.add(10)
    world.batch.fault = lambda call: "away" if call == "submit" else ""
    world.cycle(autopilot)
    world.batch.fault = lambda _: ""
    made_at = []
    for _ in range(30):
        world.step(60)
        if world.cycle(autopilot):
            made_at.append(world.now)
    assert len(made_at) == 1
    assert made_at[0] - 1_000_000 >= 600
    assert len(world.batch.jobs) == 1
