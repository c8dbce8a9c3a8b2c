"""The autopilot's decisions: never above max, never for held tokens, they converge, and they do not swing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from picas.autopilot.config import Kind
from picas.autopilot.decide import Demand, Limits, decide
from picas.autopilot.entries import Entry
from picas.schedulers.base import JobState
from picas.stores.base import PilotRecord
from support.autopilot_world import world

NOW = 1_000_000.0
LIVE = [JobState.PENDING, JobState.HELD, JobState.RUNNING, JobState.ENDING]

limits = st.builds(
    lambda least, more, **said: Limits(min=least, max=least + more, prefix="p-", **said),
    st.integers(0, 5),
    st.integers(0, 30),
    backlog=st.integers(1, 20),
    cores=st.integers(1, 8),
    room=st.one_of(st.just(float("inf")), st.integers(0, 20)),
)
demands = st.builds(
    Demand,
    ready=st.integers(0, 500),
    quiet=st.sampled_from([0.0, 599.0, 601.0]),
    others=st.integers(0, 50),
    paused=st.sampled_from([None, None, "by me"]),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[PilotRecord], list[Entry]]:
    """Jobs of one kind, and pilots: some of these jobs, some of jobs that nobody knows of, some of nobody's."""
    jobs = [
        Entry(
            name=f"p-{number}",
            kind="k",
            at=NOW - draw(st.integers(0, 5000)),
            id=draw(st.sampled_from(["", str(number), str(number)])),
            state=draw(st.sampled_from(LIVE)),
            since=NOW - draw(st.integers(0, 5000)),
            heard=draw(st.booleans()),
            cancelled_at=draw(st.sampled_from([None, None, NOW])),
        )
        for number in range(draw(st.integers(0, 40)))
    ]
    names = st.sampled_from([*(job.name for job in jobs), "p-unknown", "", "q-1"])
    pilots = [
        PilotRecord(
            id=f"pilot-{number}",
            hostname="h",
            pid=1,
            started_at=NOW,
            lease=60.0,
            cores=draw(st.integers(1, 8)),
            running=draw(st.integers(0, 3)),
            silent=draw(st.sampled_from([0.0, 100.0])),
            orders=draw(st.sampled_from(["", "", "drain"])),
            job_name=draw(names),
        )
        for number in range(draw(st.integers(0, 20)))
    ]
    return pilots, jobs


@given(demand=demands, situation=situations(), bounds=limits)
@settings(deadline=None, max_examples=400)
def test_a_plan_keeps_to_its_limits(demand: Demand, situation: Any, bounds: Limits) -> None:
    pilots, jobs = situation
    plan = decide(demand, pilots, jobs, bounds, NOW)
    unknown = {pilot.job_name for pilot in pilots if pilot.alive and pilot.job_name == "p-unknown"}
    assert plan.counts.total == len(jobs) + len(unknown)
    assert 0 <= plan.submit <= max(0, bounds.max - plan.counts.total)
    assert plan.submit <= bounds.room
    assert not (plan.submit and plan.cancel)
    if demand.paused:
        assert plan.submit == 0
        assert plan.cancel == ()
    elif not demand.ready:
        assert plan.submit <= max(0, bounds.min - plan.counts.total)
    # Enough for all work, or as many as there may be.
    if plan.submit < min(bounds.max - plan.counts.total, bounds.room) and not demand.paused:
        assert plan.submit * bounds.backlog + demand.others + plan.counts.total * 1000 >= demand.ready
        assert plan.submit + plan.counts.total >= min(bounds.min, bounds.max)
    by_name = {job.name: job for job in jobs}
    assert len(set(plan.cancel)) == len(plan.cancel)
    assert all(by_name[name].state.is_waiting and by_name[name].id for name in plan.cancel)
    assert not set(plan.cancel) & {pilot.job_name for pilot in pilots if pilot.alive}
    if plan.cancel:
        assert demand.ready == 0
        assert demand.quiet >= bounds.grace
        assert plan.counts.total - len(plan.cancel) >= bounds.min
    assert plan.why
    assert "\n" not in plan.why


@given(demand=demands, situation=situations(), bounds=limits)
@settings(deadline=None, max_examples=200)
def test_what_was_planned_is_enough(demand: Demand, situation: Any, bounds: Limits) -> None:
    """Decided again with the jobs that were asked for, nothing is left to do."""
    pilots, jobs = situation
    plan = decide(demand, pilots, jobs, bounds, NOW)
    more = [Entry(name=f"p-new{number}", kind="k", at=NOW, id="1", since=NOW) for number in range(plan.submit)]
    for job in jobs:
        job.cancelled_at = NOW if job.name in plan.cancel else job.cancelled_at
    again = decide(demand, pilots, [*jobs, *more], bounds, NOW)
    assert again.cancel == ()
    assert again.submit == 0 or plan.submit == bounds.room


@given(
    seed=st.integers(0, 10_000),
    tokens=st.integers(1, 60),
    most=st.integers(1, 12),
    backlog=st.integers(1, 10),
    length=st.sampled_from([60.0, 600.0, 4000.0]),
    wait=st.sampled_from([60.0, 600.0]),
)
@settings(deadline=None, max_examples=25)
def test_a_pool_is_worked_to_its_end_and_then_left_alone(
    seed: int, tokens: int, most: int, backlog: int, length: float, wait: float
) -> None:
    with world(seed=seed, length=length, wait=wait) as played:
        site = played.site(Kind(name="k", max=most, backlog=backlog))
        autopilot = played.autopilot(site)
        played.add(tokens)
        for _ in range(4000):
            played.play(autopilot, 1)
            if not played.batch.alive() and not autopilot.ledger.jobs:
                break
        counts = {str(state): count for state, count in played.pool.count().items() if count}
        assert counts == {"done": tokens}
        assert played.batch.most_alive <= most
        # As many as the work justifies, and one more for each that came to nothing.
        ended = len(played.batch.jobs)
        played.play(autopilot, 20)
        assert len(played.batch.jobs) == ended
        assert autopilot.ledger.jobs == {}


@given(seed=st.integers(0, 10_000), backlog=st.sampled_from([1, 4]), most=st.sampled_from([5, 40]))
@settings(deadline=None, max_examples=15)
def test_a_steady_load_gives_a_steady_number_of_pilots(seed: int, backlog: int, most: int) -> None:
    """Two tokens a minute of ten minutes each: some twenty pilots, once there; none is cancelled on the way."""
    with world(seed=seed, length=600.0, wait=60.0) as played:
        autopilot = played.autopilot(played.site(Kind(name="k", max=most, backlog=backlog)))
        numbers = []
        for minute in range(200):
            played.add(2)
            played.play(autopilot, 1)
            if minute >= 100:
                numbers.append(len(played.batch.alive()))
        assert not any("cancelled" in line for line in played.said)
        assert max(numbers) <= most
        # What swings is the load itself, by chance; not submissions after cancellations or the other way round.
        assert max(numbers) - min(numbers) <= 0.6 * max(numbers) + 3
        assert len(played.batch.jobs) <= 3 * max(numbers) + 10


@given(seed=st.integers(0, 10_000), held=st.integers(1, 50))
@settings(deadline=None, max_examples=10)
def test_nothing_is_submitted_for_held_tokens(seed: int, held: int) -> None:
    with world(seed=seed) as played:
        autopilot = played.autopilot(played.site(Kind(name="k", max=10)))
        played.add(held, lock=-1)
        played.add(held, not_before=played.now + 1e9)
        played.add(held, requires={"cores": 2})
        played.play(autopilot, 10)
        assert played.batch.jobs == {}
