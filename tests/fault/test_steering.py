"""Pilots and pools that are told what to do while they work: drain, stop, pause, cancel."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from picas.stores.steering import DRAIN, STOP
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

SLEEPS = ["sh", "-c", 'echo started >> "$SIDE"; exec sleep 60']
TAKES_A_WHILE = ["sh", "-c", f'echo started >> "$SIDE"; sleep 2; {SIDE}']


def _id_of(site: Site, pilot: Pilot) -> str:
    return until("the pilot is known", lambda: [one.id for one in site.pool.pilots() if one.pid == pilot.pid])[0]


def _started(site: Site, number: int) -> None:
    until(f"{number} commands run", lambda: site.lines().count("started") >= number)


def _next_beat(site: Site) -> None:
    """Come back when the one pilot has beaten twice from now: with the second beat it has heard of everything."""
    seen = [site.pool.pilots()[0].silent]
    drops = 0

    def has_beaten_twice() -> bool:
        nonlocal drops
        seen.append(site.pool.pilots()[0].silent)
        drops += seen[-1] < seen[-2]
        return drops >= 2

    until("it beats", has_beaten_twice)


def test_a_drained_pilot_finishes_what_runs_and_claims_nothing_more(site: Site) -> None:
    site.add(*[TAKES_A_WHILE] * 12)
    pilot = site.pilot(cores=2, lease=1.0, idle=60.0)
    _started(site, 2)

    assert site.pool.store.order(_id_of(site, pilot), DRAIN)
    report = pilot.report()

    assert report["why"] == "told to drain"
    assert report["done"] >= 2
    assert (report["failed"], report["retried"]) == (0, 0)
    counts = site.pool.count()
    assert counts[State.DONE] == report["done"] == site.lines().count("started")
    # What ran is done; the rest waits, and was charged nothing.
    assert check(site, unfinished=frozenset({State.TODO}))[State.TODO] == 12 - report["done"] > 0
    assert all(not doc.get("lost") and not doc.get("scrub_count") for doc in site.pool.store.get(site.ids) if doc)
    assert site.pool.pilots() == []


@pytest.mark.parametrize("first", [DRAIN, ""], ids=["while-draining", "at-once"])
def test_a_stopped_pilot_ends_what_runs(site: Site, first: str) -> None:
    site.add(*[SLEEPS] * 2)
    pilot = site.pilot(cores=2, lease=1.0, grace=0.5)
    _started(site, 2)
    name = _id_of(site, pilot)
    if first:
        site.pool.store.order(name, first)
        _next_beat(site)

    site.pool.store.order(name, STOP)
    report = pilot.report(10.0)

    assert report["given_back"] == 2
    # Both wait again.
    assert check(site, unfinished=frozenset({State.TODO})) == {State.TODO: 2}


def test_a_signal_ends_a_pilot_that_drains(site: Site) -> None:
    site.add(SLEEPS)
    pilot = site.pilot(cores=1, lease=1.0, grace=0.5)
    _started(site, 1)
    site.pool.store.order(_id_of(site, pilot), DRAIN)
    _next_beat(site)
    pilot.signal(signal.SIGTERM)

    assert pilot.report(10.0)["given_back"] == 1
    assert check(site, unfinished=frozenset({State.TODO})) == {State.TODO: 1}


def test_pilots_of_a_paused_pool_wait_and_go_on(site: Site) -> None:
    site.add(*[TAKES_A_WHILE] * 3)
    pilot = site.pilot(cores=2, lease=2.0)
    _started(site, 2)
    site.pool.pause("the disk is full", by="ann@node1")
    until("it says so", lambda: "paused by ann@node1: the disk is full" in pilot.err_path.read_text())
    counts = site.pool.count()

    # What ran is done; nothing more is claimed, and the pilot does not take the pool for empty.
    assert (counts[State.DONE], counts[State.TODO], counts[State.LOCKED]) == (2, 1, 0)
    assert pilot.process.poll() is None
    site.pool.resume()
    report = pilot.report(15.0)

    assert (report["done"], report["why"]) == (3, "no work is left")
    assert check(site, side=False) == {State.DONE: 3}


def test_a_pilot_that_comes_to_a_paused_pool_waits_and_can_be_drained(site: Site) -> None:
    site.pool.pause()
    site.add(TAKES_A_WHILE)
    pilot = site.pilot(cores=1, lease=1.0)
    until("it says so", lambda: "is paused by" in pilot.err_path.read_text())

    site.pool.store.order(_id_of(site, pilot), DRAIN)

    assert pilot.report()["done"] == 0
    # The token waits for the end of the pause.
    assert check(site, unfinished=frozenset({State.TODO})) == {State.TODO: 1}


def test_a_cancelled_token_is_final_when_its_processes_are_gone(site: Site) -> None:
    script = "trap '' TERM; echo started >> $SIDE; (trap '' TERM; sleep 61) & sleep 62"
    (token_id,) = site.add(["sh", "-c", script])
    pilot = site.pilot(cores=1, lease=1.0, grace=1.0, idle=30.0)
    _started(site, 1)

    assert site.pool.cancel([site.doc(token_id)]).pending == [token_id]
    assert state_of(site.doc(token_id)) is State.LOCKED
    until("it has ended", lambda: state_of(site.doc(token_id)) is not State.LOCKED)
    commands = [pid for pid in site.marked() if b"sleep" in _words(pid)]

    # In error as cancelled, and by then neither the command nor what it had begun was there.
    assert commands == []
    assert site.doc(token_id)["reason"] == "cancelled"
    pilot.signal(signal.SIGTERM)
    pilot.report()
    assert check(site) == {State.ERROR: 1}


def test_a_cancelled_token_of_a_killed_pilot_ends_with_its_lease(site: Site) -> None:
    (token_id,) = site.add(SLEEPS)
    pilot = site.pilot(cores=1, lease=1.5)
    _started(site, 1)
    pilot.signal(signal.SIGKILL)
    pilot.ended()
    site.pool.cancel([site.doc(token_id)])
    assert state_of(site.doc(token_id)) is State.LOCKED

    until("its lease is over", site.pool.recover)

    # In error as cancelled: it did not go back to be run once more.
    assert site.doc(token_id)["reason"] == "cancelled"
    assert check(site) == {State.ERROR: 1}


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
