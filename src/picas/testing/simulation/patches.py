"""Clocks, chance and names for the code under test: whatever its modules take from outside comes from the run."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from picas import command
from picas.pilot import identity, rescue, settling
from picas.pilot.options import RunOptions
from picas.stores.base import PilotRecord
from picas.stores.postgres import exchange, pilots
from picas.testing.simulation.loop import BASE, Loop
from picas.testing.simulation.network import carry_out

__all__ = ["outside", "replaced"]


@contextmanager
def replaced(*what: tuple[Any, str, Any]) -> Iterator[None]:
    """Attributes of modules and classes replaced, for a while."""
    before = [(place, name, getattr(place, name)) for place, name, _ in what]
    try:
        for place, name, new in what:
            setattr(place, name, new)
        yield
    finally:
        for place, name, old in before:
            setattr(place, name, old)


@contextmanager
def outside(loop: Loop, chance: random.Random, kept: list[Any]) -> Iterator[None]:
    """Within it the pilot's modules live in the run: its time, its chance; results they would keep on disk go to
    ``kept``.
    """
    clock = SimpleNamespace(
        time=lambda: BASE + loop.now * loop.actor.rate + loop.actor.skew,
        monotonic=lambda: 1000.0 + loop.now * loop.actor.rate,
    )
    machine = SimpleNamespace(getpid=lambda: 1, environ={"PICAS_SPOOL": "/nonexistent"})
    dice = SimpleNamespace(SystemRandom=lambda: chance)

    def named(options: RunOptions, **said: Any) -> PilotRecord:
        host = f"node{chance.randrange(4)}"
        record = identity.introduce(options, name=f"{host}-1-{chance.randbytes(3).hex()}", **said)
        return replace(record, hostname=host, pid=1, job={})

    def keep(settlement: Any, why: str, folder: Any) -> str:
        del folder
        kept.append((settlement, why))
        return "a folder"

    class Disk:
        """A spool whose disk nobody looks at: the pilot writes to it as to a real one."""

        folder = "a folder"

        def __init__(self, *whose: Any) -> None:
            del whose

        def write(self, settlements: Any) -> None:
            kept.extend((settlement, "spooled") for settlement in settlements)

        def forget(self) -> None:
            kept.clear()

        release = close = forget

    with replaced(
        (command, "spool_of", Disk),
        (rescue, "folders", lambda _: iter(())),
        (command, "time", clock),
        (command, "os", machine),
        (command, "introduce", named),
        *((module, "time", clock) for module in _timed()),
        (settling, "random", dice),
        (settling, "keep", keep),
        (pilots, "time", clock),
        (exchange, "_carry_out", carry_out),
    ):
        yield


def _timed() -> list[Any]:
    """The modules of the pilot that look at a clock."""
    known = [module for name, module in sys.modules.items() if name.startswith("picas.pilot.")]
    return [module for module in known if getattr(module, "time", None) is time]
