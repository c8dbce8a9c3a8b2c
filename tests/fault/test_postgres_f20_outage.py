"""F20, F21, F28: the server is away, is killed, and has many pilots at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from picas.errors import PicasError, StoreUnavailable
from picas.lifecycle import Claimant, State, fence_of, state_of
from picas.stores.base import Claim
from picas.stores.postgres import PostgresStore, read_address
from picas.testing.samples import TODO, put
from support import outages, pilots, postgres_faults
from support import postgres_server as servers
from support.checker import SIDE, check
from support.pilots import Site, until
from support.postgres_faults import Scene
from support.postgres_proxy import PostgresProxy
from support.postgres_server import OwnServer, PostgresServer
from support.verbs import record, result


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """A server that may be killed."""
    try:
        server = OwnServer(servers.find_programs())
    except servers.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    yield server
    server.close()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[PostgresProxy]:
    parts = urlsplit(postgres_server.url)
    with PostgresProxy(parts.hostname or "", parts.port or 5432) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, postgres_server: PostgresServer, proxy: PostgresProxy) -> Iterator[Site]:
    """Pilots that reach their pool through a proxy; the test itself reaches it without."""
    database = postgres_server.database("outage")
    via = f"postgresql://127.0.0.1:{proxy.port}/{database}?sslmode=disable"
    with pilots.site(tmp_path, access=_access(postgres_server, database), via=via) as made:
        yield made


@pytest.fixture
def own_site(tmp_path: Path, own_server: OwnServer) -> Iterator[Site]:
    with pilots.site(tmp_path, access=_access(own_server, own_server.database("killed"))) as made:
        yield made


def _access(server: PostgresServer, database: str) -> dict[str, str]:
    parts = urlsplit(server.url)
    place = parts.netloc.rpartition("@")[2]
    url = f"postgresql://{place}/{database}?sslmode=disable"
    return {"url": url, "username": unquote(parts.username or ""), "password": unquote(parts.password or "")}


def _done(site: Site) -> int:
    return site.pool.count()[State.DONE]


def _errors(site: Site) -> str:
    return "\n".join(pilot.err_path.read_text()[-1000:] for pilot in site.pilots)


def _check_run_once(site: Site) -> None:
    """All pilots ended by themselves, each token was run once and is done by its first claim, and none was lost."""
    for pilot in site.pilots:
        report = pilot.report(60.0)
        assert (report["superseded"], report["failed"], report["given_back"]) == (0, 0, 0), _errors(site)
        assert all(line.startswith("picas: ") or "pool" in line for line in pilot.err_path.read_text().splitlines())
    assert Counter(site.lines()) == Counter(f"{token_id} 1" for token_id in site.ids)
    assert {(fence_of(site.doc(token_id)), site.doc(token_id).get("lost", 0)) for token_id in site.ids} == {(1, 0)}
    assert check(site, side=True) == {State.DONE: len(site.ids)}


# The server is absent


def _sit_out(site: Site, proxy: PostgresProxy, number: int, lease: float, seconds: float, command: str) -> None:
    """So many pilots work while the server goes away for a while; everything that F20 promises of that."""
    site.add(*[f"{command}; {SIDE}"] * (number * 3))
    for _ in range(number):
        site.pilot(cores=1, lease=lease, grace=1.0)
    until("all have worked", lambda: _done(site) >= number, 60.0)

    proxy.refuse()
    away_at = time.monotonic()
    while time.monotonic() < away_at + seconds:
        assert [pilot.pid for pilot in site.pilots if pilot.process.poll() is not None] == [], _errors(site)
        time.sleep(0.2)
    finished = {line.split()[0] for line in site.lines()}
    proxy.accept()

    # Every result that was made is saved soon after the return.
    docs = site.pool.store
    until("all are saved", lambda: all(state_of(doc or {}) is State.DONE for doc in docs.get(sorted(finished))), 35.0)
    assert len(finished) > number
    _check_run_once(site)


def test_three_pilots_sit_out_two_leases(site: Site, proxy: PostgresProxy) -> None:
    """F20: the server is away for two leases. Every command runs once, and every result is kept."""
    _sit_out(site, proxy, 3, 3.0, 6.0, "sleep 1")


def test_results_of_a_pilot_that_is_killed_in_the_outage(site: Site, proxy: PostgresProxy) -> None:
    outages.kill_in_outage(site, proxy.refuse, proxy.accept)


def test_a_pilot_that_is_told_to_stop_in_the_outage_leaves_its_results(site: Site, proxy: PostgresProxy) -> None:
    outages.stop_in_outage(site, proxy.refuse, proxy.accept)


def test_results_that_come_too_late_are_kept(site: Site, proxy: PostgresProxy) -> None:
    outages.come_too_late(site, proxy.refuse, proxy.accept)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_sixteen_pilots_sit_out_a_minute(site: Site, proxy: PostgresProxy) -> None:
    """F20: the server is away for a minute, with 16 pilots at work. The same holds."""
    _sit_out(site, proxy, 16, 20.0, 60.0, "sleep 2")


# The server is killed


def _kill_under_load(server: OwnServer, site: Site, times: int) -> None:
    number = 50 * (times + 1)
    site.add(*[f"sleep 0.03; {SIDE}"] * number)
    for _ in range(3):
        site.pilot(cores=1, lease=20.0, grace=1.0)
    acknowledged: set[str] = set()
    for time_ in range(1, times + 1):
        until("some more are done", lambda: _done(site) >= time_ * 40, 60.0)  # noqa: B023 - called at once
        docs = site.pool.store.get(site.ids)
        acknowledged |= {doc["_id"] for doc in docs if doc and state_of(doc) is State.DONE}
        server.kill()
        server.start()
        still = {doc["_id"] for doc in site.pool.store.get(site.ids) if doc and state_of(doc) is State.DONE}
        assert acknowledged <= still, "an acknowledged result is lost"
    _check_run_once(site)
    assert sum(pilot.report()["done"] for pilot in site.pilots) == number


@pytest.mark.soak
def test_a_server_that_is_killed_three_times(own_server: OwnServer, own_site: Site) -> None:
    """F21: the server is killed under load, three times. No result that it accepted is lost."""
    _kill_under_load(own_server, own_site, 3)


@pytest.mark.soak
def test_a_server_that_is_killed_ten_times(own_server: OwnServer, own_site: Site) -> None:
    """F21: the same ten times. The same holds."""
    _kill_under_load(own_server, own_site, 10)


def test_a_pilot_without_work_is_woken_after_the_server_was_killed(own_server: OwnServer, own_site: Site) -> None:
    site = own_site
    site.pilot(cores=1, lease=20.0, grace=1.0, idle=60.0)
    listens = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'picas' AND query LIKE '%bell%'"
    until("it waits", lambda: own_server.run(listens, rows=True))

    own_server.kill()
    own_server.start()
    site.add(SIDE)
    added_at = time.monotonic()

    until("it is done", lambda: _done(site) == 1, 6.0)
    print(f"done {time.monotonic() - added_at:.2f} s after it was added")
    until("it waits again", lambda: own_server.run(listens, rows=True))
    site.add(SIDE)
    again_at = time.monotonic()
    until("the second is done", lambda: _done(site) == 2, 10.0)
    # It listens on its new connection, and need not look by itself to find work.
    assert time.monotonic() - again_at < 1.0
    site.pilots[0].signal(signal.SIGTERM)
    site.pilots[0].report()
    assert check(site, side=True) == {State.DONE: 2}


def test_whoever_waits_hears_of_what_came_while_the_server_was_away(own_server: OwnServer) -> None:
    address = read_address(own_server.address(own_server.database("waits")))
    store = PostgresStore.open(address, create=True)
    store.wait(0.0)
    own_server.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.wait(5.0)
    own_server.start()
    other = PostgresStore.open(address)
    put(other, "a")

    # What came between two connections cannot have been heard, so it is told.
    assert store.wait(5.0)
    assert not store.wait(0.1)
    put(other, "b")
    assert store.wait(5.0)
    for handle in (store, other):
        handle.close()


def test_nobody_is_taken_for_dead_before_a_lease_after_the_server_was_killed(own_server: OwnServer) -> None:
    """F21: the server comes back after longer than a lease. Nobody is taken for dead before another."""
    address = read_address(own_server.address(own_server.database("lapsed")))
    store = PostgresStore.open(address, create=True)
    store.beat(record(lease=0.4))
    until("it is silent", lambda: store.pilots()[0].lapsed, 5.0)
    own_server.kill()
    own_server.start()

    (first,) = store.pilots()
    seen_at = time.monotonic()
    # It was silent for long, but so was the server: it has a lease's time to be heard of.
    assert not first.alive
    assert not first.lapsed
    until("it is missed", lambda: store.pilots()[0].lapsed, 5.0)
    assert time.monotonic() - seen_at >= 0.4
    store.close()


# Many pilots


def _single_claims(scene: Scene, pilot: str, out: list[str], errors: list[PicasError]) -> None:
    store = scene.direct.twin()
    wish = Claim(view=TODO, count=1, claimant=Claimant(pilot=pilot))
    try:
        answer = store.exchange([], wish)
        while answer.claimed:
            (doc,) = answer.claimed
            out.append(doc["_id"])
            answer = store.exchange([result(doc)], wish)
            assert isinstance(answer.settled[0], dict), answer
    except PicasError as error:
        errors.append(error)
        raise
    finally:
        store.close()


def test_thirty_two_pilots_claim_one_by_one(postgres_server: PostgresServer) -> None:
    """F28: 32 pilots claim single tokens at once. Each gets one, without errors."""
    with postgres_faults.scene(postgres_server) as scene:
        names = [f"t{number:04}" for number in range(2000)]
        put(scene.direct, *names)
        done: list[list[str]] = [[] for _ in range(32)]
        errors: list[PicasError] = []
        threads = [
            threading.Thread(target=_single_claims, args=(scene, f"p{place}", out, errors))
            for place, out in enumerate(done)
        ]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"{len(names) / (time.monotonic() - begun):.0f} tokens a second")

        # Nobody saw an error; every token was claimed by one, once, and is done.
        assert errors == []
        assert sorted(name for out in done for name in out) == names
        assert {(state_of(doc), doc["fence"]) for doc in scene.docs()} == {(State.DONE, 1)}
        scene.assert_sound()
