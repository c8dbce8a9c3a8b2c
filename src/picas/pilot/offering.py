"""What a pilot offers, from its options and what is found here; and what a token's command gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from picas.pilot import limits
from picas.pilot.holdings import Holding
from picas.pilot.memory import find_groups
from picas.pilot.options import RunOptions
from picas.pilot.slots import Grant, Slots
from picas.tokens import Requirements

__all__ = ["Offering"]


@dataclass(frozen=True, kw_only=True)
class Offering:
    """What one pilot offers."""

    slots: Slots
    gpus: tuple[str, ...]
    hides: bool
    environ: Mapping[str, str]

    @classmethod
    def here(cls, options: RunOptions, environ: Mapping[str, str]) -> Offering:
        """From options, and where they do not say, from batch system and kernel."""
        gpus = limits.gpus_here(environ)
        if isinstance(options.gpus, int):
            gpus = gpus[: options.gpus] if len(gpus) >= options.gpus else tuple(map(str, range(options.gpus)))
        elif options.gpus is not None:
            gpus = options.gpus
        offer = Requirements(
            cores=options.cores or limits.cores_here(environ),
            memory=options.memory or limits.memory_here(environ),
            gpus=len(gpus),
            other=options.offers,
        )
        slots = Slots(offer, limits.cpus_here(), gpus)
        return cls(slots=slots, gpus=gpus, hides=options.gpus is not None, environ=environ)

    def record(self) -> dict[str, Any]:
        """What the pilot's record says of it."""
        offer = self.slots.offer
        return {"cores": int(offer.cores), "memory": offer.memory, "gpus": len(self.gpus), "offers": {**offer.other}}

    def base(self) -> dict[str, str]:
        """Variables that every command gets: a token that asks for nothing has one core.

        It sees the GPUs that the pilot found, as in any job, and none where a person said that the pilot shares them
        out.
        """
        return {"PICAS_CORES": "1"} | (self._visible(()) if self.gpus and self.hides else {})

    def variables(self, holding: Holding, grant: Grant | None) -> dict[bytes, bytes]:
        """Variables of a command whose token says what it requires."""
        found = {"PICAS_CORES": str(holding.cores)}
        if "cores" in holding.doc["requires"] and "OMP_NUM_THREADS" not in self.environ:
            found["OMP_NUM_THREADS"] = str(holding.cores)
        if grant is not None and grant.gpus:
            found |= self._visible(grant.gpus)
        return {name.encode(): value.encode() for name, value in found.items()}

    def bounds(self, grant: Grant | None) -> tuple[tuple[int, ...], float, str] | None:
        """What the runner is to hold the command to; None for nothing."""
        if grant is None or not (grant.cpus or grant.amounts.get("memory")):
            return None
        return grant.cpus, grant.amounts.get("memory", 0.0), self._groups if grant.amounts.get("memory") else ""

    @cached_property
    def _groups(self) -> str:
        """Where control groups may be made, empty where that is not allowed; found when the first token needs it.

        ``PICAS_CGROUP=off`` is for sites whose own use of them does not bear it.
        """
        return "" if self.environ.get("PICAS_CGROUP") == "off" else str(find_groups() or "")

    def _visible(self, ids: tuple[str, ...]) -> dict[str, str]:
        names = [name for name in limits.GPU_VARIABLES if name in self.environ] or limits.GPU_VARIABLES[:1]
        return dict.fromkeys(names, ",".join(ids))
