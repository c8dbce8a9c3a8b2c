"""F86, the autopilot's part: a node on which pilots do not come up is left out, for a while; the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from picas.autopilot.config import Kind
from picas.autopilot.nodes import APART
from picas.schedulers.base import JobState
from support.autopilot_on_programs import Played
from support.autopilot_world import World
from support.fake_systems import SYSTEMS, FakeSystem


def _excluded(world: World) -> set[str]:
    """The nodes that the jobs which wait are kept off."""
    return {node for job in world.batch.alive().values() for node in world.batch.specs[job.name].avoid}


def _fail(world: World, node: str) -> None:
    """The job that waits longest ends on a node at once, as its pilot can start nothing there."""
    number = min(number for number, job in world.batch.alive().items() if job.state is JobState.PENDING)
    world.batch.set(number, JobState.FAILED, exit_code=8, node=node)


def test_a_node_is_set_apart_after_three_pilots_in_a_row(memory: Path) -> None:
    world = World(memory, wait=1e9, length=1e6)
    site = world.site(Kind(name="k", max=1))
    autopilot = world.autopilot(site)
    world.add(50)
    for number in range(3):
        world.cycle(autopilot)
        assert _excluded(world) == set()
        _fail(world, "n7")
        world.step(60)
        assert len(world.batch.jobs) == number + 1
    world.cycle(autopilot)
    assert autopilot.ledger.nodes.apart() == ["n7"]
    assert _excluded(world) == {"n7"}
    (line,) = [line for line in world.said if "set apart" in line]
    assert "node n7 is set apart for an hour: its pilots do not come up, the last ended with exit code 8" in line
    # That is known to the next process, and forgotten after an hour; then one more failure is enough.
    autopilot = world.autopilot(site)
    assert autopilot.ledger.nodes.apart() == ["n7"]
    world.step(APART + 60)
    number = next(iter(world.batch.alive()))
    world.batch.set(number, JobState.DONE, exit_code=0)
    world.cycle(autopilot)
    assert _excluded(world) == set()
    assert any("node n7 is tried again" in line for line in world.said)
    _fail(world, "n7")
    world.step(60)
    world.cycle(autopilot)
    assert autopilot.ledger.nodes.apart() == ["n7"]


def test_three_that_are_not_in_a_row_are_nothing(memory: Path) -> None:
    world = World(memory, wait=1e9, length=1e6)
    autopilot = world.autopilot(world.site(Kind(name="k", max=1)))
    world.add(50)
    for turn in range(8):
        world.cycle(autopilot)
        if turn % 3 == 2:
            number = next(iter(world.batch.alive()))
            world._begin(number)
            world.batch.set(number, JobState.RUNNING, node="n7")
            world.step(60)
            world.cycle(autopilot)
            world.batch.set(number, JobState.DONE, exit_code=0, node="n7")
        else:
            _fail(world, "n7")
        world.step(400)
    assert autopilot.ledger.nodes.apart() == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_black_hole_is_left_out_and_the_other_nodes_go_on(
    memory: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """It is always free, and so gets every job that may go there, by the commands of each batch system."""
    with FakeSystem(memory / "programs", system) as fake:
        monkeypatch.setenv("PATH", fake.path())
        played = Played(memory, fake, system, most=4)
        swallowed = 0
        for _ in range(40):
            played.cycle()
            for job in fake.jobs.values():
                if job.over:
                    continue
                if fake.words.running.items() <= job.said.items():
                    played.beat(job)
                elif "hole" in fake.words.avoided(job.script):
                    fake.set(job.id, **fake.words.running, **fake.words.on("good"))
                else:
                    fake.end(job.id, **fake.words.unfit, **fake.words.on("hole"))
                    swallowed += 1
        (line,) = [line for line in played.said if "set apart" in line]
        assert "hole" in line
        if played.batch.avoids:
            assert swallowed <= 4
            assert len(fake.alive) == 4
            assert played.known == fake.alive
        else:
            # It cannot be told to keep off: at least it is tried ever more seldom.
            assert f"{system} cannot keep jobs off it" in line
            assert swallowed <= 16
            assert any("pilots end without having run anything" in line and "next try" in line for line in played.said)


def test_when_pilots_come_up_nowhere_it_tries_one_at_a_time_and_ever_more_seldom(memory: Path) -> None:
    world = World(memory, wait=30.0)
    world.comes_up = False
    autopilot = world.autopilot(world.site(Kind(name="k", max=20)))
    world.add(100)
    world.play(autopilot, 600)
    # Twenty at first, and in ten hours a few dozen more, not twenty a minute.
    assert 20 < len(world.batch.jobs) < 60
    assert any("10 in a row" in line and "next try in" in line for line in world.said)
    assert world.pool.count()["todo"] == 100  # type: ignore[index]
    # It has been mended: all is well within the hour, without anybody's help.
    world.comes_up = True
    world.play(autopilot, 70)
    assert len(world.batch.alive()) > 5
    assert autopilot.ledger.stillborn.failures == 0
