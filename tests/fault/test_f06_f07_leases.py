"""F6 and F7: a pilot's lease and its work part ways, or its work takes many leases."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

from picas.lifecycle import State, fence_of, state_of
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

LEASE = 1.5
SLOW_FIRST = 'if [ "$PICAS_FENCE" = 1 ]; then echo started >> "$SIDE"; sleep 60; fi; '


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _started(site: Site) -> None:
    until("it runs", lambda: "started" in site.lines())


def test_f06_a_pilot_that_does_nothing_for_two_leases_while_its_command_runs(site: Site) -> None:
    """F6: a pilot hangs for leases while its command runs. Another runs the token; back, it ends its own command."""
    (token_id,) = site.add(["sh", "-c", SLOW_FIRST + SIDE])
    hanging = site.pilot(cores=1, lease=LEASE, grace=0.5, idle=30.0)
    _started(site)
    hanging.signal(signal.SIGSTOP)
    stopped_at = time.monotonic()

    other = site.pilot(cores=1, lease=LEASE, idle=30.0)
    until("another has it", lambda: fence_of(site.doc(token_id)) == 2)
    assert time.monotonic() - stopped_at <= LEASE + 5.0
    until("it is done", lambda: state_of(site.doc(token_id)) is State.DONE)
    other.signal(signal.SIGTERM)
    assert other.report()["done"] == 1
    hanging.signal(signal.SIGCONT)
    until("it ends its own command", lambda: not _commands(hanging), 5.0)
    hanging.signal(signal.SIGTERM)

    # The accepted result is that of the second claim; the first pilot goes on, and ends with exit code 0.
    assert hanging.report()["done"] == 0
    assert fence_of(site.doc(token_id)) == 2
    assert check(site, side=True) == {State.DONE: 1}


def _commands(pilot: Pilot) -> list[int]:
    return [command for runner in _children(pilot.pid) for command in _children(runner)]


def _words(command: int) -> str:
    try:
        return Path(f"/proc/{command}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def test_f06_a_runner_that_dies_while_the_pilot_lives(site: Site) -> None:
    """F6: what runs a command dies while the pilot renews its lease. The token is charged at once, the others run."""
    (token_id,) = site.add(["sh", "-c", 'echo started >> "$SIDE"; sleep 60'])
    # Of the others one runs beside it all the time: it is not to be touched.
    site.add(["sh", "-c", f'echo waiting >> "$SIDE"; until [ -e "$SIDE.go" ]; do sleep 0.02; done; {SIDE}'])
    site.add(*[["sh", "-c", SIDE]] * 4)
    pilot = site.pilot(cores=2, lease=60.0, grace=0.5)
    until("both run", lambda: {"started", "waiting"} <= set(site.lines()))
    (runner,) = [
        one for one in _children(pilot.pid) if any("sleep 60" in _words(command) for command in _children(one))
    ]

    os.kill(runner, signal.SIGKILL)
    killed_at = time.monotonic()
    until("it is charged", lambda: state_of(site.doc(token_id)) is State.ERROR, 5.0)
    Path(f"{site.side}.go").touch()

    # No lease had to end for that, and nothing of the command is left.
    assert time.monotonic() - killed_at <= 5.0
    assert pilot.report()["done"] == 5
    assert site.doc(token_id)["reason"] == "signal"
    assert check(site) == {State.ERROR: 1, State.DONE: 5}


def test_f07_a_command_that_runs_for_ten_leases(site: Site) -> None:
    """F7: a command runs for ten leases. Nobody takes its token; its pilot renews no oftener than thrice a lease."""
    (token_id,) = site.add(["sh", "-c", f"sleep 10; {SIDE}"])
    site.pilot(cores=1, lease=1.0)
    until("it is claimed", lambda: state_of(site.doc(token_id)) is State.LOCKED)
    watching = site.pilot(cores=1, lease=1.0)
    worker = site.doc(token_id)["claim"]["pilot"]
    silences: list[float] = []

    def is_over() -> bool:
        silences.extend(one.silent for one in site.pool.pilots() if one.id == worker)
        return state_of(site.doc(token_id)) is State.DONE

    until("it is done", is_over, 30.0)
    beats = sum(after < before for before, after in itertools.pairwise(silences))

    assert 10 <= beats <= 36
    for pilot in site.pilots:
        pilot.report()
    assert watching.report()["done"] == 0
    assert (fence_of(site.doc(token_id)), site.doc(token_id).get("lost", 0)) == (1, 0)
    # Done by its first claim.
    assert check(site, side=True) == {State.DONE: 1}
