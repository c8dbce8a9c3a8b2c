"""F20: the database is away for longer than pilots' leases; and pilots on CouchDB that are stopped and killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from picas.lifecycle import State, fence_of, state_of
from support import faults, outages, pilots
from support.checker import SIDE, check
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault, FaultProxy, Rule
from support.pilots import Pilot, Site, until

TODO = frozenset({State.TODO})
SLEEPS = 'echo started >> "$SIDE.started"; exec sleep 60'

_COUNTING = """
import os, socket, time

connect = socket.socket.connect

def counted(self, address):
    if self.family == socket.AF_INET:
        handle = os.open(os.environ["SITE_CONNECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{os.getpid()} {time.monotonic()}\\n".encode())
        os.close(handle)
    return connect(self, address)

socket.socket.connect = counted

if "SITE_SCALE" in os.environ:
    from picas.stores.couchdb import database, store, transport
    scale = float(os.environ["SITE_SCALE"])
    transport.READ *= scale
    transport._SLOW *= scale
    transport.Http.request.__kwdefaults__["read"] = transport.READ
    database.VIEW_SECONDS *= scale
    store._PROMPT *= scale
"""
"""What each pilot runs first: it notes down every attempt to connect, and has time limits by another scale."""


class Scene:
    """Pilots that reach their pool through a proxy; the test itself reaches it without."""

    def __init__(self, site: Site, proxy: FaultProxy) -> None:
        self.site = site
        self.proxy = proxy
        hooks = site.folder / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(_COUNTING)
        self._connects = site.folder / "connects"
        path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
        site.environ |= {"PYTHONPATH": path, "SITE_CONNECTS": str(self._connects)}

    def connects(self, since: float, until_: float) -> Counter[int]:
        """How often each pilot tried to connect in some time."""
        lines = [line.split() for line in self._connects.read_text().splitlines()]
        return Counter(int(pid) for pid, at in lines if since <= float(at) <= until_)

    def done(self) -> int:
        return self.site.pool.count()[State.DONE]

    def started(self) -> int:
        path = Path(f"{self.site.side}.started")
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def scene(tmp_path: Path, couchdb_server: CouchServer) -> Iterator[Scene]:
    database = couchdb_server.database("outage")
    url = f"{couchdb_server.url}/{database}"
    access = {"url": url, "username": couchdb_server.admin or "", "password": couchdb_server.password or ""}
    parts = urlsplit(couchdb_server.url)
    with (
        FaultProxy(parts.hostname or "", parts.port or 80) as proxy,
        pilots.site(tmp_path, access=access, via=f"{proxy.url}/{database}") as site,
    ):
        yield Scene(site, proxy)


# The outage

REFUSING, BUSY = "refuses", "says 503"


def _go_away(scene: Scene, how: str) -> None:
    if how == REFUSING:
        scene.proxy.refuse()
    else:
        scene.proxy.plan(lambda *asked: faults.status(503, b'{"error":"x","reason":"in maintenance"}'))


def _come_back(scene: Scene) -> None:
    scene.proxy.plan(None)
    scene.proxy.accept()


def _sit_out(scene: Scene, how: str, number: int, lease: float, seconds: float, rate: float) -> None:
    """So many pilots work while the database goes away for a while; everything that F20 promises of that."""
    site = scene.site
    site.add(*[f"sleep 2; {SIDE}"] * (number * 3))
    for _ in range(number):
        site.pilot(cores=1, lease=lease, grace=1.0)
    until("all have worked", lambda: scene.done() >= number, 60.0)

    _go_away(scene, how)
    away_at, asked = time.monotonic(), len(scene.proxy.seen)
    while time.monotonic() < away_at + seconds:
        assert [pilot.pid for pilot in site.pilots if pilot.process.poll() is not None] == [], _errors(site)
        time.sleep(0.2)
    back_at, requests = time.monotonic(), len(scene.proxy.seen) - asked
    connects = scene.connects(away_at + 1.0, back_at)
    finished = {line.split()[0] for line in site.lines()}
    _come_back(scene)

    # Every result that was made is saved soon after the return.
    until("all results are saved", lambda: _all_done(site, finished), 35.0)
    assert len(finished) > number
    for pilot in site.pilots:
        report = pilot.report(60.0)
        assert (report["superseded"], report["failed"], report["given_back"]) == (0, 0, 0), _errors(site)
    # Each token was run once and is done by its first claim; no pilot died, none asked too often.
    assert Counter(site.lines()) == Counter(f"{token_id} 1" for token_id in site.ids)
    assert {(fence_of(site.doc(token_id)), site.doc(token_id).get("lost", 0)) for token_id in site.ids} == {(1, 0)}
    assert check(site, side=True) == {State.DONE: len(site.ids)}
    assert max(connects.values(), default=0) <= rate * seconds, connects
    assert requests <= rate * seconds * number


def test_results_of_a_pilot_that_is_killed_in_the_outage(scene: Scene) -> None:
    outages.kill_in_outage(scene.site, lambda: _go_away(scene, REFUSING), lambda: _come_back(scene))


def _all_done(site: Site, ids: set[str]) -> bool:
    return all(doc and state_of(doc) is State.DONE for doc in site.pool.store.get(sorted(ids)))


def _errors(site: Site) -> str:
    return "\n".join(pilot.err_path.read_text()[-1000:] for pilot in site.pilots)


HOWS = [REFUSING, pytest.param(BUSY, marks=pytest.mark.soak)]


@pytest.mark.parametrize("how", HOWS)
def test_four_pilots_sit_out_two_leases(scene: Scene, how: str) -> None:
    # A lease a tenth as long as usual has them ask more often.
    """F20: the database is away for two leases. Every command runs once, and every result is kept."""
    _sit_out(scene, how, 4, 6.0, 12.0, rate=4.0)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", [REFUSING, BUSY])
def test_sixteen_pilots_sit_out_a_minute(scene: Scene, how: str) -> None:
    """F20: the database is away for a minute, with 16 pilots at work. The same holds."""
    _sit_out(scene, how, 16, 20.0, 60.0, rate=2.0)


@pytest.mark.parametrize("how", HOWS)
def test_pilots_without_work_sit_it_out_too(scene: Scene, how: str) -> None:
    site = scene.site
    for _ in range(3):
        site.pilot(cores=1, lease=6.0, grace=1.0, idle=60.0)
    until("all are idle", lambda: len(site.pool.pilots()) == 3)
    until("they wait", lambda: sum("_changes" in one.path for one in scene.proxy.seen) >= 3)

    _go_away(scene, how)
    away_at = time.monotonic()
    until("some seconds are over", lambda: time.monotonic() > away_at + 2.5)
    gone = [pilot.pid for pilot in site.pilots if pilot.process.poll() is not None]
    _come_back(scene)
    site.add(*[SIDE] * 6)

    assert gone == [], _errors(site)
    until("new work is done", lambda: scene.done() == 6, 20.0)
    for pilot in site.pilots:
        pilot.signal(signal.SIGTERM)
        pilot.report()
    # What was added after the outage is done, by those who were idle before it.
    assert check(site, side=True) == {State.DONE: 6}


@pytest.mark.soak
def test_a_pilot_that_starts_right_after_an_outage_takes_nothing_from_others(scene: Scene) -> None:
    site = scene.site
    site.add(*[f"sleep 6; {SIDE}"] * 2)
    for _ in range(2):
        site.pilot(cores=1, lease=2.0, grace=1.0)
    until("both run", lambda: len(_locked(site)) == 2)
    scene.proxy.refuse()
    away_at = time.monotonic()
    until("two leases are over", lambda: time.monotonic() > away_at + 4.0)

    scene.proxy.accept()
    site.pilot(cores=1, lease=2.0, grace=1.0, idle=1.0)

    for pilot in site.pilots:
        assert pilot.report(40.0)["superseded"] == 0
    # Their silence was the database's: each token was run once, by its first claim.
    assert Counter(site.lines()) == Counter(f"{token_id} 1" for token_id in site.ids)
    assert check(site, side=True) == {State.DONE: 2}


def _locked(site: Site) -> list[str]:
    docs = site.pool.store.get(site.ids)
    return [doc["_id"] for doc in docs if doc and state_of(doc) is State.LOCKED]


# Requests that are swallowed


def _swallow_once(method: str, part: str, pilot: Pilot) -> Rule:
    """One request of a pilot is swallowed; its path says whose it is."""
    met = False

    def rule(asked: str, path: str, number: int) -> Fault | None:
        nonlocal met
        if met or asked != method or part not in path or f"-{pilot.pid}-" not in path:
            return None
        met = True
        return faults.hang()

    return rule


@pytest.mark.soak
@pytest.mark.parametrize(("method", "part"), [("PUT", "_local"), ("GET", "_view")], ids=["a beat", "a view"])
def test_one_request_that_is_swallowed_does_not_cost_the_lease(scene: Scene, method: str, part: str) -> None:
    """The lease and all time limits are a twentieth of what is usual."""
    site = scene.site
    lease = 3.0
    site.environ["SITE_SCALE"] = str(lease / 60.0)
    site.add(f"sleep 10; {SIDE}")
    pilot = site.pilot(cores=1, lease=lease, grace=1.0)
    until("it runs", lambda: len(_locked(site)) == 1)
    other = site.pilot(cores=1, lease=lease, grace=1.0, idle=15.0)
    until("both are known", lambda: len(site.pool.pilots()) == 2)
    scene.proxy.plan(_swallow_once(method, part, pilot))

    superseded = pilot.report(60.0)["superseded"]
    other.signal(signal.SIGTERM)
    other.report(60.0)

    # The token was run once; nobody took it from the pilot that ran it.
    assert superseded == 0
    assert site.lines() == [f"{site.ids[0]} 1"]
    assert check(site, side=True) == {State.DONE: 1}


# Told to stop


def _check_given_back(site: Site, reason: str, most: int = 1) -> None:
    """Every token waits again and was charged nothing."""
    for token_id in site.ids:
        doc = site.doc(token_id)
        assert (doc.get("scrub_count", 0), doc.get("lost", 0)) == (0, 0)
        assert doc.get("released", 0) <= most
        assert doc.get("reason", reason) == reason
    assert site.pool.pilots() == []
    assert check(site, unfinished=TODO) == {State.TODO: len(site.ids)}


def _running(scene: Scene, number: int) -> Pilot:
    scene.site.add(*[SLEEPS] * (number + 2))
    pilot = scene.site.pilot(cores=number, lease=10.0, grace=2.0)
    until("all run", lambda: scene.started() >= number)
    return pilot


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_gives_back_what_runs(scene: Scene, number: signal.Signals) -> None:
    """F10: a pilot gets a signal. What runs is given back."""
    pilot = _running(scene, 4)

    pilot.signal(number)
    report = pilot.report(8.0)

    assert report["given_back"] >= 4
    assert (report["done"], report["failed"], report["retried"], report["superseded"]) == (0, 0, 0, 0)
    # Nothing is locked, nothing was charged: all wait for the next pilot.
    _check_given_back(scene.site, "stopped")


def test_a_pilot_whose_time_is_up_gives_back_what_runs(scene: Scene) -> None:
    scene.site.add(*[SLEEPS] * 3)
    pilot = scene.site.pilot(cores=2, lease=10.0, grace=2.0, max_time=3.0)

    report = pilot.report(15.0)

    assert scene.started() == 2
    assert report["why"] == "its time is up"
    # All wait again, for the reason that the time was up.
    _check_given_back(scene.site, "time")


@pytest.mark.soak
def test_a_signal_amid_an_outage_gives_back_what_runs_when_it_is_over(scene: Scene) -> None:
    pilot = _running(scene, 2)
    scene.proxy.refuse()

    pilot.signal(signal.SIGTERM)
    told_at = time.monotonic()
    until("the commands have ended", lambda: time.monotonic() > told_at + 3.0)
    assert pilot.process.poll() is None, pilot.err_path.read_text()
    scene.proxy.accept()
    pilot.report(20.0)

    # The pilot waited for the database, and gave everything back unspent.
    _check_given_back(scene.site, "stopped")


def test_a_claim_that_was_not_answered_is_no_claim_for_ever(scene: Scene) -> None:
    """The pilot is told to stop while it does not know yet whether it holds something."""
    site = scene.site
    site.add(SIDE, SIDE)
    met = False

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal met
        if met:
            return faults.reset_before()
        met = "_bulk_docs" in path
        return faults.lose_reply() if met else None

    scene.proxy.plan(rule)
    pilot = site.pilot(cores=1, lease=2.0, grace=1.0)
    until("it claims", lambda: _locked(site))
    until("it notices", lambda: "trying again" in pilot.err_path.read_text())
    pilot.signal(signal.SIGTERM)
    _come_back(scene)
    pilot.report(30.0)

    site.pilot(cores=1, lease=2.0, grace=1.0, idle=3.0).report(40.0)
    # Whoever comes next finds the token: it was given back, or the dead pilot is missed and its token recovered.
    assert _locked(site) == []
    assert check(site, side=True) == {State.DONE: 2}


# Killed


def test_the_tokens_of_a_killed_pilot_are_accepted_once(scene: Scene) -> None:
    """F1: a pilot is killed. Its tokens run again, and each result is accepted once."""
    site = scene.site
    lease = 3.0
    site.add(*[f"sleep 0.05; {SIDE}"] * 100)
    for _ in range(4):
        site.pilot(cores=1, lease=lease, grace=1.0, idle=30.0)
    until("a quarter is done", lambda: scene.done() > 25, 30.0)
    victim = site.pilots[0]

    (mine,) = until("it is known", lambda: [record.id for record in site.pool.pilots() if record.pid == victim.pid])
    held: dict[str, int] = {}

    def stopped_with_tokens() -> bool:
        victim.signal(signal.SIGSTOP)
        time.sleep(0.5)  # what it had just sent still arrives
        docs = [doc for doc in site.pool.store.get(site.ids) if doc and state_of(doc) is State.LOCKED]
        held.update({doc["_id"]: fence_of(doc) for doc in docs if doc["claim"]["pilot"] == mine})
        if not held:
            victim.signal(signal.SIGCONT)
        return bool(held)

    until("it holds tokens", stopped_with_tokens)
    victim.signal(signal.SIGKILL)
    victim.ended()
    killed_at = time.monotonic()

    def claimed_again() -> bool:
        docs = {name: site.doc(name) for name in held}
        for name, doc in docs.items():
            if state_of(doc) is State.DONE and fence_of(doc) == held[name]:
                del held[name]  # the server was slow, and had its result already
        return all(fence_of(docs[name]) > fence for name, fence in held.items())

    until("they are claimed again", claimed_again, 12.0)
    assert held

    # Whoever watches must have watched for a lease, and looks every few seconds.
    assert time.monotonic() - killed_at <= 2 * lease + 5.0
    until("all are done", lambda: scene.done() == 100, 60.0)
    for pilot in site.pilots[1:]:
        pilot.signal(signal.SIGTERM)
        assert pilot.report()["superseded"] == 0
    lost = {name: site.doc(name).get("lost", 0) for name in site.ids if site.doc(name).get("lost")}
    assert lost == dict.fromkeys(held, 1)
    # Every token is done, with the one result of its last claim; those the dead pilot held ran again.
    assert check(site, side=True) == {State.DONE: 100}
