"""F1 on every store: many pilots at once, and pilots that are killed. Each token's result is accepted once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.lifecycle import CRASH_LIMIT, State, state_of
from support import pilots
from support.checker import SIDE, check
from support.couchdb_server import CouchServer
from support.pilots import Site, until
from support.postgres_server import PostgresServer

SOAK = pytest.mark.soak


@pytest.fixture(params=[pytest.param("sqlite", marks=SOAK), "couchdb", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with pilots.site(tmp_path, access=access(request)) as made:
        yield made


def access(request: pytest.FixtureRequest) -> dict[str, str] | None:
    """The address of a new pool on the store that is asked for, None for a file in the site's own folder."""
    if request.param == "couchdb":
        couchdb: CouchServer = request.getfixturevalue("couchdb_server")
        url = f"{couchdb.url}/{couchdb.database('pilots')}"
        return {"url": url, "username": couchdb.admin or "", "password": couchdb.password or ""}
    if request.param == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        return {"url": postgres.address(postgres.database("pilots"))}
    return None


def waiting(site: Site) -> int:
    counts = site.pool.count()
    return counts[State.TODO] + counts[State.LOCKED]


def run_each_once(site: Site, tokens: int, number: int) -> None:
    """So many pilots on so many tokens; every token's command ran once, by what the commands themselves wrote."""
    site.add(*[SIDE] * tokens)
    started = [site.pilot(cores=1, lease=60.0) for _ in range(number)]
    reports = [pilot.report(600.0) for pilot in started]
    assert sum(report["done"] for report in reports) == tokens
    lines = site.lines()
    assert (len(lines), len(set(lines))) == (tokens, tokens), "a token was run twice"
    assert check(site, side=True) == {State.DONE: tokens}


def test_sixteen_pilots_run_each_token_once(site: Site) -> None:
    run_each_once(site, 600, 16)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_sixteen_pilots_run_each_of_five_thousand_once(site: Site) -> None:
    run_each_once(site, 5_000, 16)


def kill_at_random(site: Site, kills: int, number: int, seconds: float) -> None:
    """Kill pilots at random moments, each replaced at once; then let the rest finish."""
    chance = random.Random(1)
    options = {"cores": 1, "lease": 4.0, "idle": 20.0}
    alive = [site.pilot(**options) for _ in range(number)]
    for count in range(1, kills + 1):
        # A share of the tokens between any two kills, so that all come while there is work.
        latest = len(site.ids) * (kills - count + 1) // (kills + 1)
        until("the pool is worked", lambda most=latest: waiting(site) <= most, seconds)
        time.sleep(chance.uniform(0.0, 0.1))
        assert waiting(site), "the pool was empty before all were killed"
        victim = alive.pop(chance.randrange(len(alive)))
        victim.signal(signal.SIGKILL)
        victim.ended()
        alive.append(site.pilot(**options))
    for pilot in alive:
        pilot.report(seconds)


def check_finished(site: Site, tokens: int) -> None:
    """All are done, but for those that five killed pilots held one after the other: the crash limit, by F8."""
    states = check(site)
    killed = {str(pilot.pid) for pilot in site.pilots if pilot.was_killed}
    for doc in (site.doc(name) for name in site.ids) if states[State.ERROR] else ():
        if state_of(doc) is State.ERROR:
            holders = [attempt["pilot"].split("-")[-2] for attempt in doc["attempts"] if attempt["reason"] == "lost"]
            assert doc["reason"] == "crash-limit", doc
            assert len(holders) == CRASH_LIMIT, doc
            assert killed.issuperset(holders), doc
    assert states[State.DONE] >= tokens - 3, states


def test_killed_pilots_cost_nothing_but_time(site: Site) -> None:
    """What the killed ones held went back after their lease; each result was accepted once, its output with it."""
    site.add(*[f"sleep 0.02; {SIDE}"] * 300)
    kill_at_random(site, 5, 4, 90.0)
    assert check(site) == {State.DONE: 300}


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_fifty_kills_among_twenty_pilots_on_five_thousand_tokens(site: Site) -> None:
    """The size of the catalogue."""
    site.add(*[f"sleep 0.02; {SIDE}"] * 5_000)
    kill_at_random(site, 50, 20, 600.0)
    check_finished(site, 5_000)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_twenty_of_sixteen_pilots_killed_on_five_thousand_tokens(site: Site) -> None:
    """The same at its size: twenty kills among sixteen pilots."""
    site.add(*[f"sleep 0.02; {SIDE}"] * 5_000)
    kill_at_random(site, 20, 16, 600.0)
    check_finished(site, 5_000)


@pytest.mark.parametrize(
    "site",
    ["couchdb", pytest.param("postgres", marks=SOAK), pytest.param("sqlite", marks=SOAK)],
    indirect=True,
)
def test_sixty_four_pilots_on_fifty_tokens(site: Site) -> None:
    """None dies of contention, and none runs what another runs."""
    run_each_once(site, 50, 64)
