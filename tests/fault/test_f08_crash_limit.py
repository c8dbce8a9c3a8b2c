"""F8: a token kills whatever pilot runs it. After five it is taken out, and all others are done."""

from __future__ import annotations

import pytest

from picas.lifecycle import CRASH_LIMIT, State, state_of
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

KILLER = ["sh", "-c", "kill -9 $(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status); sleep 60"]
OTHERS = 20
LEASE = 1.0


def _work_until_all_ended(site: Site, cores: int) -> int:
    """Start pilot after pilot until every token has ended; how many were killed."""
    killed = 0
    while True:
        pilot = site.pilot(cores=cores, lease=LEASE, grace=0.5, idle=60.0)
        _await_end(site, pilot)
        if pilot.process.poll() is None:
            pilot.signal(15)
            pilot.report()
            return killed
        assert pilot.ended() == -9, pilot.err_path.read_text()
        pilot.was_killed = True
        killed += 1
        assert killed <= CRASH_LIMIT + 1
        until("its tokens are given back", site.pool.recover)


def _await_end(site: Site, pilot: Pilot) -> None:
    until("the pilot dies or all ends", lambda: pilot.process.poll() is not None or _all_ended(site), 20.0)


def _all_ended(site: Site) -> bool:
    counts = site.pool.count()
    return counts[State.DONE] + counts[State.ERROR] == len(site.ids)


@pytest.mark.parametrize(
    ("before", "cores", "seconds"), [(0, 1, 0), (OTHERS // 2, 1, 0), (0, 4, 1)], ids=["first", "amid", "beside"]
)
def test_a_token_that_kills_its_pilot_is_taken_out_after_five(
    site: Site, before: int, cores: int, seconds: int
) -> None:
    other = ["sh", "-c", f"sleep {seconds}; {SIDE}"]
    site.add(*[other] * before)
    (killer,) = site.add(KILLER)
    site.add(*[other] * (OTHERS - before))

    killed = _work_until_all_ended(site, cores)

    doc = site.doc(killer)
    assert state_of(doc) is State.ERROR
    assert doc["reason"] == "crash-limit"
    assert doc["lost"] == CRASH_LIMIT == killed
    assert [attempt["reason"] for attempt in doc["attempts"]] == ["lost"] * CRASH_LIMIT
    # The killer is out with its five losses on record; all others are done, with a result each.
    assert check(site, side=True) == {State.DONE: OTHERS, State.ERROR: 1}
