"""F1: a pilot is killed with SIGKILL while it holds tokens. They run again within the lease and five seconds."""

from __future__ import annotations

import signal
import time

from picas.lifecycle import State, fence_of
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

TOKENS = 2000
LEASE = 3.0


def _kill_while_it_holds(site: Site, pilot: Pilot) -> dict[str, int]:
    """Kill a pilot when it holds something; what it held, id to fence."""

    def stopped_with_tokens() -> dict[str, int]:
        pilot.signal(signal.SIGSTOP)
        held = _held_by(site, pilot)
        if not held:
            pilot.signal(signal.SIGCONT)
        return held

    held = until("the pilot holds tokens", stopped_with_tokens)
    pilot.signal(signal.SIGKILL)
    pilot.ended()
    return held


def _held_by(site: Site, pilot: Pilot) -> dict[str, int]:
    records = [record.id for record in site.pool.pilots() if record.pid == pilot.pid]
    docs = site.pool.store.get(site.ids)
    return {doc["_id"]: fence_of(doc) for doc in docs if doc and (doc.get("claim") or {}).get("pilot") in records}


def test_tokens_of_a_killed_pilot_run_again_within_the_lease_and_five_seconds(site: Site) -> None:
    site.add(*[["sh", "-c", SIDE]] * TOKENS)
    for _ in range(4):
        site.pilot(cores=1, lease=LEASE, grace=1.0, idle=60.0)
    until("a quarter is done", lambda: site.pool.count()[State.DONE] > TOKENS / 4, 30.0)

    held = _kill_while_it_holds(site, site.pilots[0])
    killed_at = time.monotonic()

    def all_claimed_again() -> bool:
        return all(doc and fence_of(doc) > held[doc["_id"]] for doc in site.pool.store.get(list(held)))

    until("its tokens are claimed again", all_claimed_again, LEASE + 5.0)
    assert time.monotonic() - killed_at <= LEASE + 5.0
    until("all are done", lambda: site.pool.count()[State.DONE] == TOKENS, 30.0)
    for pilot in site.pilots[1:]:
        pilot.signal(signal.SIGTERM)
    reports = [pilot.report() for pilot in site.pilots[1:]]

    assert sum(report["superseded"] for report in reports) == 0
    docs = [doc for doc in site.pool.store.get(site.ids) if doc]
    assert {doc["_id"]: doc.get("lost", 0) for doc in docs if doc.get("lost")} == dict.fromkeys(held, 1)
    # Every token is done, with the one result of its last claim; those the dead pilot held ran again.
    assert check(site, side=True) == {State.DONE: TOKENS}
