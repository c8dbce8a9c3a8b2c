"""F9 and F10: a pilot is told to stop, by signal or by its time, while it runs commands."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from picas.lifecycle import State
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

TODO = frozenset({State.TODO})
SLEEPS = ["sh", "-c", 'echo started >> "$SIDE"; exec sleep 60']
STUBBORN = ["sh", "-c", 'trap \'echo told >> "$SIDE"\' TERM; echo started >> "$SIDE"; while :; do sleep 0.1; done']
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


def _started(site: Site, number: int) -> None:
    until(f"{number} commands run", lambda: site.lines().count("started") >= number)


def _check_given_back(site: Site, reason: str) -> None:
    """Every token waits again and was charged nothing."""
    for token_id in site.ids:
        doc = site.doc(token_id)
        assert (doc["released"], doc["scrub_count"], doc.get("lost", 0)) == (1, 0, 0)
        assert doc["reason"] == reason
    assert site.pool.pilots() == []
    assert check(site, unfinished=TODO) == {State.TODO: len(site.ids)}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_gives_back_all_sixteen(site: Site, number: signal.Signals) -> None:
    """F10: a pilot of 16 commands gets SIGTERM, SIGINT or SIGHUP, or a batch system's SIGUSR1 or SIGUSR2. All are given
    back in seconds, at no cost to them."""
    site.add(*[SLEEPS] * 16)
    pilot = site.pilot(cores=16, lease=10.0, grace=5.0)
    _started(site, 16)

    pilot.signal(number)
    report = pilot.report(5.0)

    assert report["given_back"] == 16
    assert (report["done"], report["failed"], report["retried"]) == (0, 0, 0)
    # Nothing is locked, nothing was charged: all sixteen wait for the next pilot.
    _check_given_back(site, "stopped")


def test_five_stops_cost_a_token_nothing(site: Site) -> None:
    """F9: five pilots in a row are stopped with one token. It is charged nothing, and done at the sixth run."""
    command = f'if [ "$PICAS_FENCE" -lt 6 ]; then echo started >> "$SIDE"; exec sleep 60; fi; {SIDE}'
    (token_id,) = site.add(["sh", "-c", command])
    for turn in range(1, 6):
        pilot = site.pilot(cores=1, lease=10.0, grace=2.0)
        _started(site, turn)
        pilot.signal(signal.SIGTERM)
        assert pilot.report()["given_back"] == 1
    site.pilot(cores=1, lease=10.0, grace=2.0).report()

    doc = site.doc(token_id)
    assert (doc["released"], doc["scrub_count"], doc.get("lost", 0), doc["fence"]) == (5, 0, 0, 6)
    assert [attempt["reason"] for attempt in doc["attempts"]] == ["stopped"] * 5 + ["exit"]
    # The sixth run is done, and its result is the accepted one.
    assert check(site, side=True) == {State.DONE: 1}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_second_signal_ends_it_within_two_seconds(site: Site, number: signal.Signals) -> None:
    """F10: a second signal comes while commands will not go. The pilot has ended within two seconds."""
    site.add(*[STUBBORN] * 4)
    pilot = site.pilot(cores=4, lease=30.0, grace=60.0)
    _started(site, 4)
    pilot.signal(number)
    until("the commands were told", lambda: site.lines().count("told") >= 4)
    assert pilot.process.poll() is None

    again_at = time.monotonic()
    pilot.signal(number)
    pilot.ended(2.0)

    assert time.monotonic() - again_at <= 2.0
    # The commands that would not go were killed, and their tokens wait again.
    _check_given_back(site, "stopped")


def test_two_signals_at_once_end_it_within_two_seconds(site: Site) -> None:
    site.add(*[STUBBORN] * 4)
    pilot = site.pilot(cores=4, lease=30.0, grace=60.0)
    _started(site, 4)

    again_at = time.monotonic()
    pilot.signal(signal.SIGTERM)
    until("the first signal was taken", lambda: not _is_pending(pilot, signal.SIGTERM))
    pilot.signal(signal.SIGTERM)
    pilot.ended(2.0)

    assert time.monotonic() - again_at <= 2.0
    # The impatient second one counted, however soon it came; the tokens wait again.
    _check_given_back(site, "stopped")


def _is_pending(pilot: Pilot, number: int) -> bool:
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pilot.pid}/status").read_text().splitlines())
    pending = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return bool(pending >> (number - 1) & 1)


def test_a_pilot_whose_time_is_up_gives_back_what_runs(site: Site) -> None:
    """F9: the time of a pilot is up. What runs is given back, and charged nothing."""
    site.add(*[SLEEPS] * 2)
    pilot = site.pilot(cores=2, lease=10.0, grace=2.0, max_time=1.5)
    _started(site, 2)

    report = pilot.report(5.0)

    assert report["why"] == "its time is up"
    assert report["given_back"] == 2
    # Both wait again, for the reason that the time was up.
    _check_given_back(site, "time")
