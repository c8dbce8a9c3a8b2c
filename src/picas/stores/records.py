"""Pilots' records and beats, as every store keeps and tells them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from picas.lifecycle import Doc, fence_of, holds, is_cancelled
from picas.stores.base import Beat, PilotRecord

__all__ = ["Watch", "beat_of", "fields_of", "is_autopilot", "record_of"]

_NAMES = frozenset(field.name for field in dataclasses.fields(PilotRecord))
_TOLD = frozenset({"orders", "silent", "watched"})
"""What a store adds when a record is read."""


def fields_of(record: PilotRecord) -> dict[str, Any]:
    """What a pilot says of itself, to be stored."""
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in _TOLD}


def record_of(fields: Mapping[str, Any], *, orders: str, silent: float, watched: float = math.inf) -> PilotRecord:
    """A record from what was stored; names of a newer picas are passed over."""
    kept = {name: value for name, value in fields.items() if name in _NAMES - _TOLD}
    return PilotRecord(**kept, orders=orders, silent=silent, watched=watched)


def is_autopilot(record: PilotRecord) -> bool:
    """Whether this is no pilot but what submits them: other autopilots know it by its record, and it claims nothing."""
    return "autopilot" in record.job


def beat_of(docs: Iterable[Doc], orders: str, followed: frozenset[str] = frozenset()) -> Beat:
    """What a pilot learns, given the documents that say it holds them."""
    held = {doc["_id"]: doc for doc in docs if holds(doc, fence_of(doc))}
    return Beat(
        held={token_id: fence_of(doc) for token_id, doc in held.items()},
        cancelled=frozenset(token_id for token_id, doc in held.items() if is_cancelled(doc)),
        orders=orders,
        followed=followed,
    )


class Watch:
    """For how long one handle has itself seen each pilot's record unchanged, while the server answered.

    After an outage, or a step of the server's clock, nobody counts as silent before the pilots had a lease's time to be
    heard.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, float]] = {}
        self._outages = 0

    def look(self, beats: Mapping[str, object], *, outages: int, at: float) -> dict[str, float]:
        """Seconds by pilot, given what marks the last beat of each, the server's outages so far, and the time."""
        if outages != self._outages:
            self._outages = outages
            self._seen.clear()
        before = self._seen
        self._seen = {
            pilot: before[pilot] if pilot in before and before[pilot][0] == beat else (beat, at)
            for pilot, beat in beats.items()
        }
        return {pilot: at - since for pilot, (_, since) in self._seen.items()}
