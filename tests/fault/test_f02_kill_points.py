"""F2: a pilot is killed at each of many named points, and the next one while it recovers what the first left."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from picas.lifecycle import State
from support import kill_points, pilots
from support.checker import SIDE, check
from support.kill_points import POINTS, RECOVERY, Point
from support.pilots import Site, until
from support.postgres_server import PostgresServer

LARGE = 1_500_000


@pytest.fixture
def site(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Site]:
    parts = urlsplit(postgres_server.url)
    place = parts.netloc.rpartition("@")[2]
    url = f"postgresql://{place}/{postgres_server.database('points')}?sslmode=disable"
    access = {"url": url, "username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    with pilots.site(tmp_path, access=access) as made:
        kill_points.hook(made)
        yield made


def schedules() -> Iterator[tuple[str, str]]:
    """Each point of the first kill, with one of the second that is reached behind it."""
    spooled, others = itertools.cycle(_of(True)), itertools.cycle(_of(False))
    unused = dict.fromkeys(_of(True))
    for name, point in POINTS.items():
        second = next(spooled if point.spooled else others)
        unused.pop(second, None)
        yield name, second
    for second in unused:
        yield "results in the spool", second


def _of(spooled: bool) -> list[str]:
    return [name for name, point in RECOVERY.items() if point.spooled is spooled]


def _die(site: Site, point: Point, idle: float = 0.0) -> None:
    kill_points.aim(site, point)
    pilot = site.pilot(cores=1, lease=1.0, grace=1.0, idle=idle)
    pilot.was_killed = True
    assert pilot.ended(30.0) == -signal.SIGKILL, f"not reached: {point}: {pilot.err_path.read_text()}"


@pytest.mark.parametrize(("first", "second"), list(schedules()))
def test_killed_at(site: Site, first: str, second: str) -> None:
    site.add(*[f"sleep 0.02; {SIDE}"] * 3, f"head -c {LARGE} /dev/zero; {SIDE}")

    _die(site, POINTS[first])
    _die(site, RECOVERY[second], idle=30.0)
    kill_points.aim(site, None)
    pilot = site.pilot(cores=1, lease=1.0, grace=1.0, idle=30.0)
    until("it works", lambda: pilot.pid in [record.pid for record in site.pool.pilots()], 30.0)
    # Its own spool is there as long as it lives.
    until("all are done", lambda: site.pool.count()[State.DONE] == 4 and len(kill_points.spools(site)) <= 1, 30.0)
    pilot.signal(signal.SIGTERM)
    report = pilot.report(30.0)

    assert check(site, side=True) == {State.DONE: 4}
    assert report["superseded"] == 0
    # No result was made for nothing when it was in the spool, and no spool is left.
    assert kill_points.spools(site) == []
    assert [path.name for path in (site.folder / "spool").glob("*/result.json")] == []
    if POINTS[first].spooled:
        lines = site.lines()
        assert len(lines) - len({line.split()[0] for line in lines}) <= 4
    large = site.ids[3]
    assert site.attachment(large, f"logs_{large}.out") == bytes(LARGE)
