"""The pilots: where they are, since when, how busy, what they hold, and what each of their slots did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from picas.listing import pilot_row
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot
from picas.web.live import Sight, Summary, rank
from picas.web.site import Site, link, site_of
from picas.web.slots import MOST_HELD, Seen

__all__ = ["pilots", "renewed", "told"]

_MOST_PILOTS = 200
_MOST_HOLDS = 3
_MOST_TOLD = 1_000
"""Tokens of one pilot that are named to a program."""
_FIRST = 1.5
_KEPT = 0.8
"""Seconds for which what was made for one viewer is given to others."""


async def pilots(request: Request) -> Response:
    """The page."""
    return await _shown(request, "pilots.html")


async def renewed(request: Request) -> Response:
    """What changes on it, for the page to put in place; the same for all, and so made once for many."""
    return await site_of(request).kept["pilots"].give(_KEPT, lambda: _shown(request, "pilots_live.html"))


async def told(request: Request) -> Response:
    """All that have not signed off, as JSON, as they are now; what they hold is as it was a few seconds ago."""
    site = site_of(request)
    records = await site.desk.do(lambda pool: pool.pilots())
    await site.live.look()
    held = await site.slots.seen.settled(_FIRST)
    return JSONResponse(
        {"pilots": [_told(one, held) for one in records], "is_held_cut": bool(held and held.is_held_cut)}
    )


async def _shown(request: Request, template: str) -> Response:
    site = site_of(request)
    sight = await site.live.look()
    if site.slots.seen.value is None and sight.summary is not None:
        await site.slots.seen.settled(_FIRST)
    return site.page(request, template, sight=sight, summary=sight.summary, **_values(site, sight))


def _values(site: Site, sight: Sight) -> dict[str, Any]:
    summary = sight.summary
    if summary is None:
        return {}
    seen = site.slots.seen.look()
    autopilots = [one for one in summary.pilots if is_autopilot(one)]
    records = sorted((one for one in summary.pilots if not is_autopilot(one)), key=rank)
    return {
        "seen": seen,
        "problem": site.slots.seen.problem,
        "rows": [_row(one, seen, summary) for one in records[:_MOST_PILOTS]],
        "more": max(0, len(records) - _MOST_PILOTS),
        "autopilots": [_row(one, None, summary) for one in sorted(autopilots, key=rank)],
        "figures": _figures(records),
        "most_held": MOST_HELD,
    }


def _figures(records: Sequence[PilotRecord]) -> dict[str, int]:
    alive = [one for one in records if one.alive]
    return {
        "alive": len(alive),
        "lost": len(records) - len(alive),
        "leaving": sum(bool(one.orders) for one in alive),
        "cores": sum(one.cores for one in alive),
        "busy": sum(_busy(one) for one in alive),
        "finished": sum(one.finished for one in records),
    }


def _busy(one: PilotRecord) -> int:
    """Cores given to commands; of a pilot that does not say, as many as commands."""
    return one.busy if one.busy is not None else min(one.running, one.cores)


def _row(one: PilotRecord, seen: Seen | None, summary: Summary) -> dict[str, Any]:
    holds = list(seen.held.get(one.id, ())) if seen else []
    count = one.holding if one.holding is not None else max(len(holds), one.running)
    return {
        **pilot_row(one),
        "since": one.started_at,
        "ends_at": one.ends_at,
        "busy": _busy(one),
        "part": round(100 * min(1.0, _busy(one) / max(1, one.cores)), 1),
        "cpu": one.cpu,
        "memory_used": one.memory_used,
        "jobs": _jobs(one),
        "holds": holds[:_MOST_HOLDS],
        "more_held": max(count if one.alive else 0, len(holds)) - len(holds[:_MOST_HOLDS]),
        "held_by": link("/tokens", view="locked", where=f"claim.pilot={json.dumps(one.id)}"),
        "heard_at": summary.at - one.silent,
    }


def _jobs(one: PilotRecord) -> list[tuple[str, str]]:
    """Ids of its batch job, with whose they are; the job's name when there is no id."""
    names = {"picas_job": "job", "autopilot": "site"}
    ids = [(names.get(field, field.removesuffix("_job_id")), str(value)) for field, value in one.job.items() if value]
    return ids or ([("job", one.job_name)] if one.job_name else [])


def _told(one: PilotRecord, held: Seen | None) -> dict[str, Any]:
    tokens = held.held.get(one.id, ()) if held else ()
    return {
        **pilot_row(one),
        "started_at": one.started_at,
        "ends_at": one.ends_at,
        "busy": one.busy,
        "cpu": one.cpu,
        "memory_used": one.memory_used,
        "job_ids": {name: value for name, value in one.job.items() if value},
        "job_name": one.job_name,
        "holding": one.holding,
        "holds": list(tokens[:_MOST_TOLD]),
    }
