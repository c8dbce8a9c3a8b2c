"""Where a time axis has its marks, and what stands at them."""

from __future__ import annotations

from picas.reports.words import duration

__all__ = ["ticks"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_STEPS = (
    *(10.0**power * step for power in range(-3, 1) for step in (1, 2, 5)),
    *(10.0, 15.0, 30.0),
    *(_MINUTE * step for step in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * step for step in (1, 2, 3, 6, 12)),
    *(_DAY * step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)),
)


def ticks(length: float, most: int) -> list[tuple[float, str]]:
    """Round times from 0 to ``length`` seconds, at most so many and one, each with its label."""
    step = next((step for step in _STEPS if length / step <= most), _STEPS[-1])
    return [(step * place, duration(round(step * place, 4))) for place in range(int(length / step + 1e-9) + 1)]
