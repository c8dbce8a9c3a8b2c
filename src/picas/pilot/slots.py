"""What a pilot shares out among its tokens: cores, memory, GPUs and named resources; who has what, and what is free.

Also the rule by which a token that needs much is not starved by those that need little. It is that of batch systems
with backfilling: the token whose turn it is gets a *reservation*, for when enough will be free by the expected ends of
what runs. Others may go before it when they are expected to end before that, or need only what it will leave over. When
one that went before it takes longer than expected, nothing goes before it any more. So it begins at the latest when
those have ended that ran, or had gone before it, by then. Values in, values out; the clock is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from picas.tokens import Requirements

__all__ = [
    "WORK_AHEAD",
    "Amounts",
    "Durations",
    "Grant",
    "Reservation",
    "RunLength",
    "Slots",
    "amounts_of",
    "reserve",
]

Amounts = Mapping[str, float]
"""How much of each resource, by name. What is not named is none."""

WORK_AHEAD = 0.25
"""Seconds of work to have at hand for each slot, so that none waits for the store."""
_MOST_AHEAD = 400
_SAFETY = 2.0
"""How much longer than the mean of its kind a token may take before it counts as late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What one token was given: amounts, and which CPUs and GPUs; no CPUs where the pilot does not tell them apart."""

    amounts: Amounts
    cpus: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """When a token is expected to begin, and what will be left over then beside it."""

    at: float
    spare: Amounts

    def admits(self, needs: Amounts, end: float) -> bool:
        """Whether a token that fits now may go before, given when it is expected to end."""
        return end <= self.at or _fits(needs, self.spare)


def amounts_of(need: Requirements) -> dict[str, float]:
    """What a token takes of a pilot while it runs: whole cores, one at least, and whole GPUs."""
    found = {"cores": max(1.0, math.ceil(need.cores)), "memory": need.memory, "gpus": math.ceil(need.gpus)}
    return {name: amount for name, amount in {**need.other, **found}.items() if amount}


class Slots:
    """What a pilot offers, and what is free of it.

    ``cpus`` are told apart when there are exactly as many as cores are offered: a pilot that takes a part of a machine
    does not know which part others take.
    """

    def __init__(self, offer: Requirements, cpus: Sequence[int] = (), gpus: Sequence[str] = ()) -> None:
        self.offer = offer
        self._total = {**offer.other, "cores": offer.cores, "memory": offer.memory, "gpus": float(len(gpus))}
        self._free = dict(self._total)
        self._cpus = list(cpus) if len(cpus) == offer.cores else []
        self._gpus = list(gpus)

    def free(self, plain: int) -> dict[str, float]:
        """What nobody has, with so many cores taken by plain tokens."""
        return {**self._free, "cores": max(0.0, self._free["cores"] - plain)}

    def left(self, plain: int) -> Requirements:
        """The same, as an offer to the pool."""
        free = self.free(plain)
        known = {name: free.pop(name) for name in ("cores", "memory", "gpus")}
        return Requirements(**known, other=free)

    def total(self, name: str) -> float:
        """How much there is of one resource."""
        return self._total.get(name, 0.0)

    def fits(self, needs: Amounts, plain: int) -> bool:
        """Whether a token could begin now, with so many cores taken by plain tokens."""
        return needs["cores"] + plain <= self._free["cores"] and _fits(needs, self._free)

    def take(self, needs: Amounts) -> Grant:
        """Give a token what it needs, which must be free."""
        for name, amount in needs.items():
            self._free[name] -= amount
        cores, gpus = int(needs["cores"]), int(needs.get("gpus", 0))
        # One core is the kernel's to choose: it does that better than a pilot.
        cpus = [self._cpus.pop(0) for _ in range(cores if cores > 1 and len(self._cpus) >= cores else 0)]
        return Grant(amounts=needs, cpus=tuple(cpus), gpus=tuple(self._gpus.pop(0) for _ in range(gpus)))

    def give(self, grant: Grant) -> None:
        """Take back what a token had."""
        for name, amount in grant.amounts.items():
            self._free[name] += amount
        self._cpus = sorted([*self._cpus, *grant.cpus])
        self._gpus += grant.gpus


def reserve(needs: Amounts, free: Amounts, running: Iterable[tuple[float, Amounts]]) -> Reservation:
    """When a token's needs are met, given what is free now, and what runs with its expected ends."""
    later = dict(free)
    at = -math.inf
    for end, amounts in sorted(running, key=lambda one: one[0]):
        if _fits(needs, later):
            break
        at = end
        for name, amount in amounts.items():
            later[name] = later.get(name, 0.0) + amount
    if not _fits(needs, later):
        at = math.inf
    return Reservation(at=at, spare={name: amount - needs.get(name, 0.0) for name, amount in later.items()})


class RunLength:
    """How long runs take of late: their ``mean`` in seconds, None before the first."""

    def __init__(self) -> None:
        self.mean: float | None = None

    def measured(self, runtime: float) -> None:
        """Learn from one more run: quickly, since kinds of tokens come in blocks."""
        self.mean = runtime if self.mean is None else 0.9 * self.mean + 0.1 * runtime

    def ahead(self, slots: int) -> int:
        """How many more tokens than slots to have at hand, because they are short: none before one was measured."""
        return 0 if self.mean is None else min(_MOST_AHEAD, int(WORK_AHEAD * slots / max(self.mean, 1e-4)))


class Durations:
    """How long tokens take, by what they require: those that ask for the same are mostly of one kind."""

    def __init__(self) -> None:
        self._lengths: dict[str, RunLength] = {}

    def measured(self, kind: str, runtime: float) -> None:
        """Learn from one more run."""
        self._lengths.setdefault(kind, RunLength()).measured(runtime)

    def most(self, kind: str, limit: float) -> float:
        """How long a token is expected to take at most; ``limit`` is where it would be ended, 0 for nowhere."""
        mean = self._lengths[kind].mean if kind in self._lengths else None
        return min(limit or math.inf, math.inf if mean is None else _SAFETY * mean)


def _fits(needs: Amounts, free: Amounts) -> bool:
    # Not by the last bit: what was taken in tenths and given back may be a little less than it was.
    return all(amount <= free.get(name, 0.0) * (1 + 1e-9) for name, amount in needs.items())
