"""The overview: how the pool stands, how fast it goes, what failed, who works; renewed in place while it is shown."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from picas.explain import explain_pool
from picas.lifecycle import State
from picas.listing import pilot_row
from picas.reports.words import duration
from picas.web.live import Live, Sight, Summary, rank
from picas.web.site import site_of

__all__ = ["ORDER", "overview", "renewed", "told"]

ORDER = (State.TODO, State.LOCKED, State.DONE, State.ERROR, State.HELD)
"""States as they are shown: the way of a token from left to right."""
_MOST_PILOTS = 12
_MOST_GROUPS = 12
_FIRST = 0.4
_KEPT = 0.5
"""Seconds for which what was made for one viewer is given to others."""


async def overview(request: Request) -> Response:
    """The page."""
    return await _shown(request, "overview.html")


async def renewed(request: Request) -> Response:
    """What changes on it, for the page to put in place; the same for all, and so made once for many."""
    return await site_of(request).kept["overview"].give(_KEPT, lambda: _shown(request, "overview_live.html"))


async def _shown(request: Request, template: str) -> Response:
    site = site_of(request)
    sight = await site.live.look()
    if site.live.failures.value is None:
        # So short a wait shows small pools whole at once; large ones are filled in when they are counted.
        await site.live.failures.settled(_FIRST)
    return site.page(request, template, **_values(site.live, sight))


def _values(live: Live, sight: Sight) -> dict[str, Any]:
    summary = sight.summary
    values: dict[str, Any] = {"sight": sight, "summary": summary, "order": ORDER}
    if summary is None:
        return values
    failures = live.failures.look()
    pilots = sorted(summary.pilots, key=rank)
    return values | {
        "bar": _bar(summary.counts),
        "pace": pace_in_words(sight),
        "failures": failures,
        "groups": failures.groups[:_MOST_GROUPS] if failures else [],
        "designs": live.designs.look(),
        "pilots": [pilot_row(one) | {"busy": one.busy} for one in pilots[:_MOST_PILOTS]],
        "more_pilots": max(0, len(pilots) - _MOST_PILOTS),
        "why": _why(summary),
        "curve": json.dumps({"recent": live.history.recent(), "whole": live.history.whole()}),
        "is_remembered": live.is_remembered,
        "begun_at": live.history.begun_at,
    }


def told(live: Live, sight: Sight) -> dict[str, Any]:
    """The same as JSON. ``estimate`` is None as long as nothing is known; ``latest`` in it when there may be no end."""
    summary, estimate = sight.summary, sight.estimate
    if summary is None or estimate is None:
        return {"away_since": sight.away_since, "why": sight.why, "counts": None}
    latest = estimate.latest if estimate.latest is not None and math.isfinite(estimate.latest) else None
    return {
        "at": summary.at,
        "away_since": sight.away_since,
        "why": sight.why,
        "counts": summary.counts,
        "paused": vars(summary.paused) if summary.paused else None,
        "pilots": {"alive": len(summary.alive), "lost": len(summary.lost)},
        "cores": {"offered": summary.cores, "busy": summary.busy},
        "estimate": {
            "left": estimate.left,
            "rate": estimate.rate,
            "soonest": estimate.soonest,
            "latest": latest,
            "why_unknown": estimate.why,
        },
        "designs": live.designs.look(),
    }


def pace_in_words(sight: Sight) -> tuple[str, str]:
    """How fast it goes, and when it will be over or why nobody can tell."""
    estimate = sight.estimate
    if estimate is None:
        return "", ""
    rate = "" if estimate.rate is None else _rate(estimate.rate)
    if estimate.why:
        return rate, estimate.why
    soonest, latest = estimate.soonest or 0.0, estimate.latest or 0.0
    if math.isinf(latest):
        return rate, f"in {_about(soonest)} at the soonest"
    low, high = _about(soonest), _about(latest)
    return rate, f"in about {high}" if low == high else f"in {low} to {high}"


def _rate(rate: float) -> str:
    """Tokens per second, or per minute or hour where that is a number one can say."""
    for scale, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * scale >= 1 or unit == "h":
            break
    return f"{rate * scale:,.{0 if rate * scale >= 100 else 1}f}/{unit}"


def _about(seconds: float) -> str:
    """A length of time as exact as an estimate can be."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s" if seconds < 10 else f"{round(seconds / 5) * 5} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return duration(round(seconds / 600) * 600.0 if seconds < 86400 else round(seconds / 3600) * 3600.0)


def _bar(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Parts of a bar a thousand wide. What there is of is seen, however few they are."""
    total = sum(counts.values())
    shown = [str(state) for state in ORDER if counts[str(state)]]
    least = 6.0
    room = 1000.0 - least * len(shown)
    parts, x = [], 0.0
    for state in shown:
        width = least + room * counts[state] / total
        parts.append({"state": state, "x": round(x, 2), "width": round(width, 2), "count": counts[state]})
        x += width
    return parts


def _why(summary: Summary) -> list[str]:
    """What there is to say beyond the counts, which stand above."""
    counts = {state: summary.counts[str(state)] for state in State}
    if not any(counts.values()):
        return ["the pool is empty: `picas add` adds tokens"]
    lines = explain_pool(counts, ready_in=summary.ready_in, pilots=summary.pilots, now=summary.at)
    return [line for line in lines[1:] if line not in _told_elsewhere(summary, counts)]


def _told_elsewhere(summary: Summary, counts: dict[State, int]) -> list[str]:
    """What the page shows in a section of its own."""
    only_failed = {**dict.fromkeys(State, 0), State.LOCKED: 1, State.ERROR: counts[State.ERROR]}
    return explain_pool(only_failed, ready_in=None, pilots=summary.pilots)[1:]
