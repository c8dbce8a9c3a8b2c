"""F10: a batch system ends a job: each of its processes gets the signal, the commands before or after their pilot."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from picas.lifecycle import State
from support.checker import check
from support.pilots import Pilot, Site, until

TODO = frozenset({State.TODO})
SLEEPS = ["sh", "-c", 'echo $$ >> "$SIDE"; exec sleep 60']
SAYS_SO = ["sh", "-c", "trap 'exit 143' TERM; echo $$ >> \"$SIDE\"; while :; do sleep 0.1; done"]


def _working(site: Site, *commands: list[str]) -> tuple[Pilot, list[int]]:
    """A pilot at work, and the processes of its commands."""
    site.add(*commands)
    pilot = site.pilot(cores=len(commands), lease=30.0, grace=5.0)
    until("all commands run", lambda: len(site.lines()) == len(commands))
    return pilot, [int(line) for line in site.lines()]


def _check_given_back(site: Site, pilot: Pilot) -> None:
    assert pilot.report(10.0)["given_back"] == len(site.ids)
    for token_id in site.ids:
        doc = site.doc(token_id)
        assert (doc["reason"], doc["released"], doc["scrub_count"]) == ("stopped", 1, 0), doc
    # Every token waits again, and was charged nothing.
    assert check(site, unfinished=TODO) == {State.TODO: len(site.ids)}


def test_commands_that_get_the_signal_first_have_not_failed(site: Site) -> None:
    """F10: a batch system ends all of a job, the commands first. They have not failed, and are given back."""
    pilot, pids = _working(site, SLEEPS, SLEEPS, SAYS_SO)

    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until("they have ended", lambda: not any(map(psutil.pid_exists, pids)), 5.0)
    pilot.signal(signal.SIGTERM)

    _check_given_back(site, pilot)


def test_commands_that_get_the_signal_last_have_not_failed(site: Site) -> None:
    """F10: a batch system ends all of a job, the pilot first. The same holds."""
    pilot, pids = _working(site, SLEEPS, SLEEPS, SAYS_SO)

    pilot.signal(signal.SIGTERM)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue

    _check_given_back(site, pilot)


@pytest.mark.parametrize("command", [SLEEPS, SAYS_SO], ids=["dies", "says so"])
def test_a_command_that_dies_alone_has_failed(site: Site, command: list[str]) -> None:
    """F10: a command gets the signal, and its pilot does not. It has failed, and the pilot goes on."""
    pilot, pids = _working(site, command)

    os.kill(pids[0], signal.SIGTERM)

    assert pilot.report(20.0)["failed"] == 1
    # Its end is on record as what it was.
    assert site.doc(site.ids[0])["attempts"][0]["exit_code"] in (-15, 143)
    assert check(site) == {State.ERROR: 1}
