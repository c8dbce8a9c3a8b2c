"""What autopilots of several sites tell each other through the pool: how many tokens their queued jobs will take.

Each has a record among those of the pilots, of no cores, which claims nothing and lapses like a pilot's.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence

from picas.autopilot.config import Site
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot
from picas.views import View

__all__ = ["queued_elsewhere", "record"]

_QUEUED = "queued for "


def record(site: Site, started_at: float, queued: Mapping[View, int]) -> PilotRecord:
    """What the autopilot of a site says of itself; the same id again on the same machine."""
    host = socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9._-]", "-", f"autopilot-{site.name}-{host}")
    return PilotRecord(
        id=name[:200],
        hostname=host,
        pid=os.getpid(),
        started_at=started_at,
        lease=max(60.0, 3 * site.interval),
        view="",
        cores=0,
        job={"autopilot": site.name},
        offers={f"{_QUEUED}{view}": float(count) for view, count in queued.items() if count},
    )


def queued_elsewhere(pilots: Sequence[PilotRecord], own: str, view: View) -> int:
    """How many tokens of a view the jobs will take that other autopilots have in their queues."""
    others = (pilot for pilot in pilots if is_autopilot(pilot) and pilot.alive and pilot.id != own)
    return int(sum(pilot.offers.get(f"{_QUEUED}{view}", 0) for pilot in others))
