"""Tokens that wait at a pilot for what others have there, and that another pilot has room for: they are left to it."""

from __future__ import annotations

from collections.abc import Sequence

from picas.pilot.holdings import Holding, Holdings
from picas.pilot.lease import Lease
from picas.stores.base import PilotRecord

__all__ = ["left_to", "to_leave"]


def to_leave(holdings: Holdings, lease: Lease) -> list[Holding]:
    """Those to give back now; the pilot then claims no such tokens for a while."""
    if not lease.others or not (stuck := holdings.stuck()):
        return []
    found = left_to([other for other in lease.others if other.view == lease.record.view], stuck)
    if found:
        holdings.be_modest()
        # Once for what others had free at the last look: they may have filled it since.
        lease.others = []
    return found


def left_to(others: Sequence[PilotRecord], waiting: Sequence[Holding]) -> list[Holding]:
    """Of tokens that wait, those that other pilots could begin at once, by what they said last of themselves."""
    room = {other.id: other.cores - other.running for other in others if not other.orders}
    offers = {other.id: other for other in others if other.id in room}
    found = []
    for holding in waiting:
        pilot = next(
            (name for name, free in room.items() if free >= holding.cores and _fits(holding, offers[name])), ""
        )
        if pilot:
            room[pilot] -= holding.cores
            found.append(holding)
    return found


def _fits(holding: Holding, other: PilotRecord) -> bool:
    offered = {"cores": other.cores, "memory": other.memory or 0.0, "gpus": other.gpus or 0, **other.offers}
    return all(amount <= offered.get(name, 0.0) for name, amount in (holding.needs or {}).items())
