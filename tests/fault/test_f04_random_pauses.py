"""F4: pilots are stopped at random, for half a lease to three, and go on. Each token's result is accepted once."""

from __future__ import annotations

import random
import signal
import time

import pytest

from picas.lifecycle import State
from support.checker import SIDE, check
from support.pilots import Pilot, Site, until

LEASE = 1.5
WORK = ["sh", "-c", f"sleep 0.2; {SIDE}"]


@pytest.mark.parametrize(
    ("number", "tokens", "crossings"),
    [(4, 150, 6), pytest.param(20, 5_000, 100, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_f04_pilots_that_are_stopped_at_random(site: Site, number: int, tokens: int, crossings: int) -> None:
    chance = random.Random(4)
    site.add(*[WORK] * tokens)
    pilots = [site.pilot(cores=1, lease=LEASE, grace=0.5, idle=60.0) for _ in range(number)]
    until("they work", lambda: site.pool.count()[State.DONE] > 0)
    resume_at: dict[Pilot, float] = {}
    crossed = 0
    while crossed < crossings and site.pool.count()[State.DONE] < tokens:
        now = time.monotonic()
        for pilot in [pilot for pilot, at in resume_at.items() if at <= now]:
            pilot.signal(signal.SIGCONT)
            del resume_at[pilot]
        awake = [pilot for pilot in pilots if pilot not in resume_at]
        if len(awake) > number // 2:
            victim, leases = chance.choice(awake), chance.uniform(0.5, 3.0)
            victim.signal(signal.SIGSTOP)
            resume_at[victim] = now + leases * LEASE
            crossed += leases > 1.2
        time.sleep(0.05)
    for pilot in resume_at:
        pilot.signal(signal.SIGCONT)
    until("all are done", lambda: site.pool.count()[State.DONE] == tokens, 30.0 + tokens)
    for pilot in pilots:
        pilot.signal(signal.SIGTERM)
    reports = [pilot.report() for pilot in pilots]

    assert crossed >= crossings
    assert sum(report["done"] for report in reports) == tokens
    # Every token is done, with the one result of its last claim.
    assert check(site) == {State.DONE: tokens}
