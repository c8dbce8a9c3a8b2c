"""Pilots that end while their pool is away, and what becomes of the results that they leave on disk."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from picas.lifecycle import State, fence_of, state_of
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

__all__ = ["come_too_late", "kill_in_outage", "stop_in_outage"]

LEASE = 4.0
Act = Callable[[], None]


def kill_in_outage(site: Site, go_away: Act, come_back: Act) -> None:
    """Kill a pilot with SIGKILL when it has results that the pool lacks; the next pilot hands them in."""
    site.add(*[f"sleep 0.3; {SIDE}"] * 12)
    pilot = _with_results(site, go_away)
    finished = _unsaved(site)
    pilot.signal(signal.SIGKILL)
    pilot.ended()
    come_back()

    report = site.pilot(cores=2, lease=LEASE, grace=1.0, idle=3 * LEASE).report(60.0)

    # What was finished was not run again: its result is that of the dead pilot's claim.
    assert finished
    assert report["superseded"] == 0
    _check_handed_in(site, finished)


def stop_in_outage(site: Site, go_away: Act, come_back: Act) -> None:
    """Tell a pilot to stop, twice, when the pool is away: it says where its results are, and nothing is lost."""
    site.add(*[f"sleep 0.3; {SIDE}"] * 12)
    pilot = _with_results(site, go_away)
    finished = _unsaved(site)
    pilot.signal(signal.SIGTERM)
    until("it is told", lambda: pilot.process.poll() is not None or not _running(site), 10.0)
    if pilot.process.poll() is None:
        pilot.signal(signal.SIGTERM)
    assert pilot.ended() != 0
    assert "results are kept in" in pilot.err_path.read_text()
    pilot.was_killed = True
    # As an error of the pool, with which the command line ends without a traceback.
    errors = pilot.err_path.read_text()
    pilot.err_path.write_text(errors.replace("Traceback", "(the test's own program has no command line)"))
    come_back()

    site.pilot(cores=2, lease=LEASE, grace=1.0, idle=3 * LEASE).report(60.0)

    _check_handed_in(site, finished)


def come_too_late(site: Site, go_away: Act, come_back: Act) -> None:
    """A killed pilot's tokens are run by a pilot elsewhere before its results are found: those are superseded."""
    site.add(*[f"sleep 0.3; {SIDE}"] * 4)
    pilot = _with_results(site, go_away)
    finished = _unsaved(site)
    pilot.signal(signal.SIGKILL)
    pilot.ended()
    come_back()
    here = site.environ["PICAS_SPOOL"]
    site.environ["PICAS_SPOOL"] = str(site.folder / "another machine's")
    site.pilot(cores=2, lease=LEASE, grace=1.0, idle=3 * LEASE).report(60.0)
    before = {name: site.doc(name) for name in site.ids}

    site.environ["PICAS_SPOOL"] = here
    site.pilot(cores=1, lease=LEASE, grace=1.0).report(60.0)

    for name in site.ids:
        assert site.doc(name) == before[name], (site.doc(name), before[name])
    kept = [path.name.partition(".")[0] for path in Path(here).iterdir() if (path / "result.json").exists()]
    assert sorted(kept) == sorted(finished)
    assert check(site, side=True) == {State.DONE: 4}
    assert _spools(site) == []


def _check_handed_in(site: Site, finished: Iterable[str]) -> None:
    """What was finished was run once, and the claim under which it was is the one whose result was accepted."""
    lines = Counter(site.lines())
    assert {(fence_of(site.doc(name)), lines[f"{name} 1"]) for name in finished} == {(1, 1)}
    assert check(site, side=True) == {State.DONE: 12}
    assert _spools(site) == []


def _with_results(site: Site, go_away: Act) -> Pilot:
    """A pilot that has worked, and goes on in an outage until it has results on disk."""
    pilot = site.pilot(cores=2, lease=LEASE, grace=1.0)
    until("it has begun", lambda: site.lines() or _running(site), 30.0)
    go_away()
    until("it has results that the pool lacks", lambda: len(_unsaved(site)) >= 2, 30.0)
    until("they are on disk", lambda: _is_in_spool(site, _unsaved(site)), 30.0)
    return pilot


def _unsaved(site: Site) -> set[str]:
    """Tokens whose command got to its end, and that the pool does not know to be done."""
    ended = {line.split()[0] for line in site.lines()}
    return {name for name in ended if state_of(site.doc(name)) is not State.DONE}


def _is_in_spool(site: Site, names: set[str]) -> bool:
    data = b"".join(path.read_bytes() for path in _spools(site))
    return all(f'"_id":"{name}"'.encode() in data for name in names)


def _spools(site: Site) -> list[Path]:
    return list(Path(site.environ["PICAS_SPOOL"]).glob("pilots/*/*/results"))


def _running(site: Site) -> list[int]:
    own = {pilot.pid for pilot in site.pilots}
    found = []
    for pid in site.marked():
        try:
            if pid not in own and b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
