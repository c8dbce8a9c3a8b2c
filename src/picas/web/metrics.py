"""For monitors: figures as Prometheus reads them, and whether all is well."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from picas.web.live import Live, Sight, Summary
from picas.web.site import site_of

__all__ = ["exposition", "health", "metrics"]

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STALE = 180.0
_MOST_FAILURES = 20

Labels = tuple[tuple[str, str], ...]


async def metrics(request: Request) -> Response:
    """All figures, in the text format of Prometheus."""
    live = site_of(request).live
    sight = await live.look()
    live.failures.look()
    return PlainTextResponse("".join(exposition(live, sight, time.time())), media_type=_TYPE)


async def health(request: Request) -> Response:
    """Whether the pool can be seen, without saying anything of it."""
    sight = await site_of(request).live.look()
    is_well = sight.summary is not None and sight.away_since is None
    return JSONResponse({"status": "ok" if is_well else "away"}, 200 if is_well else 503)


def exposition(live: Live, sight: Sight, now: float) -> Iterator[str]:
    """The lines. Figures of a store that is away are left out once they are old, lest they are taken for news."""
    yield from _metric("picas_build_info", "The version of picas.", {(("version", version("picas")),): 1.0})
    yield from _metric("picas_up", "Whether the pool's database answers.", {(): float(sight.away_since is None)})
    summary = sight.summary
    if summary is None or now - summary.at > _STALE:
        return
    yield from _metric("picas_look_age_seconds", "How old these figures are.", {(): now - summary.at})
    yield from _metric("picas_look_duration_seconds", "How long it took to get them.", {(): summary.took})
    yield from _metric("picas_tokens", "Tokens by state.", _by_state(summary.counts))
    yield from _metric("picas_design_tokens", "Tokens of a design document by state.", _by_design(live))
    words = "Tokens seen to end, from when picas web was started."
    yield from _metric("picas_tokens_ended_total", words, {(): float(live.ended)}, kind="counter")
    yield from _end(sight)
    yield from _metric("picas_paused", "Whether the pool is paused.", {(): float(summary.paused is not None)})
    yield from _pilots(summary)
    yield from _failures(live)


def _by_design(live: Live) -> dict[Labels, float]:
    return {
        (("design", name), *labels): value
        for name, counts in (live.designs.look() or {}).items()
        for labels, value in _by_state(counts).items()
    }


def _end(sight: Sight) -> Iterator[str]:
    estimate = sight.estimate
    if estimate is None or estimate.soonest is None:
        return
    bounds: dict[Labels, float] = {(("bound", "soonest"),): estimate.soonest}
    if estimate.latest is not None and math.isfinite(estimate.latest):
        bounds[(("bound", "latest"),)] = estimate.latest
    yield from _metric("picas_estimated_end_seconds", "In how many seconds all will have ended, if known.", bounds)


def _pilots(summary: Summary) -> Iterator[str]:
    states: dict[Labels, float] = {
        (("state", "alive"),): float(len(summary.alive)),
        (("state", "lost"),): float(len(summary.lost)),
    }
    yield from _metric("picas_pilots", "Pilots by state.", states)
    yield from _metric("picas_cores", "Cores of pilots alive.", {(): float(summary.cores)})
    yield from _metric("picas_busy_cores", "Cores of pilots alive given to commands.", {(): float(summary.busy)})
    memory = float(sum(one.memory_used or 0 for one in summary.alive))
    yield from _metric("picas_used_memory_bytes", "Memory that the commands of pilots alive hold.", {(): memory})


def _failures(live: Live) -> Iterator[str]:
    """Failed tokens by how they failed: the ways with most of them, which is no more than a monitor can bear."""
    found = live.failures.value
    if found is None:
        return
    yield from _metric("picas_failure_groups", "Ways in which tokens failed.", {(): float(len(found.groups))})
    sums: Counter[Labels] = Counter()
    for group in found.groups:
        sums[("reason", group.reason), ("exit_code", group.exit_code)] += len(group.ids)
    tokens = {labels: float(count) for labels, count in sums.most_common(_MOST_FAILURES)}
    yield from _metric("picas_failed_tokens", "Failed tokens by reason and exit code, the most frequent.", tokens)


def _by_state(counts: Mapping[str, int]) -> dict[Labels, float]:
    return {(("state", state),): float(count) for state, count in counts.items()}


def _metric(name: str, words: str, values: Mapping[Labels, float], kind: str = "gauge") -> Iterator[str]:
    if not values:
        return
    yield f"# HELP {name} {words}\n# TYPE {name} {kind}\n"
    for labels, value in values.items():
        shown = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels)
        yield f"{name}{{{shown}}} {value!r}\n" if shown else f"{name} {value!r}\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
