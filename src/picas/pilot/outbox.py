"""Reports on their way from a runner to its pilot: several go together, and none waits long."""

from __future__ import annotations

import time

from picas.pilot.jobs import Frames, Journal, pack_list

__all__ = ["BATCH", "HELD_BACK", "Outbox"]

BATCH = 48
"""Reports that go together at most."""
HELD_BACK = 0.05
"""Seconds for which one may wait for others while there are jobs."""


class Outbox:
    """Packed reports, in the order in which their jobs were begun, as the journal has them."""

    def __init__(self, frames: Frames, journal: Journal) -> None:
        self._frames = frames
        self._journal = journal
        self._packed: list[bytes] = []
        self._count = 0
        self._oldest = 0.0

    @property
    def room(self) -> int:
        """How many more make it full."""
        return BATCH - self._count

    def put(self, packed: bytes, count: int, since: float) -> bool:
        """Take in so many reports, the first of them ready ``since``; whether it is time to send."""
        if not self._count:
            self._oldest = since
        self._packed.append(packed)
        self._count += count
        return self._count >= BATCH or time.monotonic() - self._oldest > HELD_BACK

    def send(self) -> None:
        """Send what there is. OSError when the pilot is gone."""
        if self._count:
            data, count = pack_list(self._packed, self._count), self._count
            self._packed, self._count = [], 0
            self._frames.send_packed(data)
            self._journal.reported(count)
