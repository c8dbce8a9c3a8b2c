"""F52 at length: a thousand commands that leave daemons behind, one after another."""

from __future__ import annotations

import signal
from pathlib import Path

from picas.lifecycle import State
from support.checker import check
from support.pilots import Site, until

TOKENS = 1000
DAEMON = "setsid sh -c 'trap \"\" TERM INT HUP; sleep 60' < /dev/null > /dev/null 2>&1 & exit 0"


def _below(pid: int) -> dict[int, str]:
    """All descendants of a process, with the state of each (proc(5): Z is a zombie)."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found[int(child)] = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            found |= _below(int(child))
        except OSError:
            continue
    return found


def test_f52_a_thousand_commands_with_daemons_leave_neither_processes_nor_zombies(site: Site) -> None:
    """F52: 1,000 commands leave a deaf daemon each. Below their pilot there are its runners, and no zombie."""
    site.add(*[["sh", "-c", DAEMON]] * TOKENS)
    pilot = site.pilot(cores=2, lease=30.0, idle=120.0)
    until("all are done", lambda: site.pool.count()[State.DONE] == TOKENS, 120.0)

    def is_quiet() -> bool:
        below = _below(pilot.pid)
        return len(below) == 2 and "Z" not in below.values()

    until("two runners are left, and no zombie", is_quiet, 5.0)
    pilot.signal(signal.SIGTERM)
    assert pilot.report()["done"] == TOKENS
    # All done; no daemon outlived its token.
    assert check(site) == {State.DONE: TOKENS}
