"""For monitors: figures as Prometheus reads them, and whether all is well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from picas.web.live import Live, Sight, Summary
from picas.web.site import site_of

__all__ = ["exposition", "health", "metrics"]

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STALE = 180.0


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
    yield from _metric("picas_up", "Whether the pool's database answers.", {(): float(sight.away_since is None)})
    summary = sight.summary
    if summary is None or now - summary.at > _STALE:
        return
    yield from _metric("picas_summary_age_seconds", "How old these figures are.", {(): now - summary.at})
    yield from _metric("picas_summary_seconds", "How long it took to get them.", {(): summary.took})
    yield from _metric("picas_tokens", "Tokens by state.", _by_state(summary.counts))
    designs = live.designs.look() or {}
    by_design = {
        (("design", name), *labels): value
        for name, counts in designs.items()
        for labels, value in _by_state(counts).items()
    }
    yield from _metric("picas_design_tokens", "Tokens of a design document by state.", by_design)
    yield from _pilots(summary)
    if sight.estimate is not None and sight.estimate.rate is not None:
        yield from _metric(
            "picas_tokens_per_second", "Tokens that ended, over the last minute.", {(): sight.estimate.rate}
        )
    failures = live.failures.value
    if failures is not None:
        yield from _metric("picas_failure_groups", "Ways in which tokens failed.", {(): float(len(failures.groups))})


Labels = tuple[tuple[str, str], ...]


def _pilots(summary: Summary) -> Iterator[str]:
    states: dict[Labels, float] = {
        (("state", "alive"),): float(len(summary.alive)),
        (("state", "lost"),): float(len(summary.lost)),
    }
    yield from _metric("picas_pilots", "Pilots by state.", states)
    yield from _metric("picas_cores", "Cores of pilots alive.", {(): float(sum(one.cores for one in summary.alive))})
    busy = float(sum(one.busy or 0 for one in summary.alive))
    yield from _metric("picas_cores_busy", "Cores of pilots alive given to commands.", {(): busy})
    yield from _metric("picas_paused", "Whether the pool is paused.", {(): float(summary.paused is not None)})


def _by_state(counts: Mapping[str, int]) -> dict[Labels, float]:
    return {(("state", state),): float(count) for state, count in counts.items()}


def _metric(name: str, words: str, values: Mapping[Labels, float]) -> Iterator[str]:
    yield f"# HELP {name} {words}\n# TYPE {name} gauge\n"
    for labels, value in values.items():
        shown = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels)
        yield f"{name}{{{shown}}} {value!r}\n" if shown else f"{name} {value!r}\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
