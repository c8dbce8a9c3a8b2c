"""Several autopilots on one pool, and what an autopilot says of itself there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from picas.autopilot.announce import queued_elsewhere
from picas.autopilot.config import Kind
from picas.lifecycle import State
from picas.listing import pilot_row
from picas.pool import Pool
from picas.stores.records import is_autopilot
from picas.views import View
from support.autopilot_world import World

TODO = View(State.TODO)


def _two(tmp_path: Path, most: int) -> tuple[World, World]:
    """Two clusters with an autopilot each, and one pool."""
    worlds = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        worlds.append(World(tmp_path / name, seed=1, wait=1e9))
    one, two = worlds
    two.pool = one.pool
    return one, two


def test_what_waits_at_one_site_is_not_asked_for_at_the_other(tmp_path: Path) -> None:
    one, two = _two(tmp_path, 50)
    kind = Kind(name="k", max=50)
    first = one.autopilot(replace(one.site(kind), name="one"))
    second = two.autopilot(replace(two.site(kind), name="two"))
    one.add(30)
    one.cycle(first)
    two.cycle(second)
    assert len(one.batch.jobs) == 30
    assert len(two.batch.jobs) == 0
    one.add(5)
    two.cycle(second)
    assert len(two.batch.jobs) == 5
    one.step(60)
    two.step(0)
    one.cycle(first)
    assert len(one.batch.jobs) == 30


def test_what_an_autopilot_says_of_itself_on_each_store(each_pool: Pool, tmp_path: Path) -> None:
    world = World(tmp_path, wait=1e9)
    world.pool = each_pool
    autopilot = world.autopilot(world.site(Kind(name="k", max=3, backlog=4)))
    world.add(100)
    world.cycle(autopilot)
    records = each_pool.pilots()
    if not records:
        return  # this server does not tell who is there before they hold something (docs/couchdb.md)
    (record,) = records
    assert is_autopilot(record)
    assert record.cores == 0
    assert pilot_row(record)["state"] == "autopilot"
    assert pilot_row(record)["job"] == "here"
    assert queued_elsewhere(records, "somebody-else", TODO) == 12
    assert queued_elsewhere(records, record.id, TODO) == 0
    assert queued_elsewhere(records, "somebody-else", View(State.TODO, "Other")) == 0
    autopilot.sign_off()
    assert each_pool.pilots() == []
