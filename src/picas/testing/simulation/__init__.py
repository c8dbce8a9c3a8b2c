"""Whole pools in virtual time: real pilots and pool, a network and runners that are none, and faults from a seed.

`simulate` carries out one run. The same seed gives the same run, to the last step: its trace has the same hash.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field

from picas.testing.simulation.disturb import Disturber, new_token
from picas.testing.simulation.loop import Loop
from picas.testing.simulation.mutants import MUTANTS, without
from picas.testing.simulation.patches import outside
from picas.testing.simulation.world import World

__all__ = ["MUTANTS", "Result", "simulate"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one run: the hash of its trace, what was broken (empty: nothing), and figures."""

    seed: int
    digest: str
    broken: str
    seconds: float
    """Virtual seconds that it took."""
    events: int
    pilots: int
    tokens: int
    counts: dict[str, int]
    lines: list[str] = field(default_factory=list, repr=False)


def simulate(seed: int, *, steps: int = 200, mutant: str = "", keep: bool = False) -> Result:
    """Carry out a run with so many disturbances; ``keep`` the lines of its trace."""
    chance = random.Random(seed)
    loop = Loop(keep=keep)
    broken = ""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with outside(loop, chance, []), without(mutant):
            world = World(chance, loop, new_token)
            world.server.store.put([world.new_token() for _ in range(chance.randint(3, 14))])
            for _ in range(chance.randint(1, 5)):
                world.start_pilot()
            Disturber(world, steps)
            try:
                loop.run()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what this seed found
                broken = f"{type(error).__name__}: {error}"
    finally:
        logging.disable(level)
    return Result(
        seed=seed,
        digest=loop.digest,
        broken=broken,
        seconds=loop.now,
        events=loop.events,
        pilots=len(world.pilots),
        tokens=len(world.plans),
        counts=world.checker.counts,
        lines=loop.lines or [],
    )
