"""Amounts as people write them: sizes such as ``8 GiB``, times such as ``2 h``; to numbers, and back to text."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["BYTES", "SECONDS", "amount", "bytes_text", "plain", "seconds_text"]

BYTES: Mapping[str, float] = {
    "": 1,
    "b": 1,
    **{f"{unit}{b}": 10 ** (3 * power) for power, unit in enumerate("kmgt", 1) for b in ("", "b")},
    **{f"{unit}i{b}": 2 ** (10 * power) for power, unit in enumerate("kmgt", 1) for b in ("", "b")},
}
SECONDS: Mapping[str, float] = {
    "": 1,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
}

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def amount(text: str, units: Mapping[str, float]) -> float | None:
    """The number that a text means in these units; None when it means none."""
    found = _QUANTITY.fullmatch(text)
    if not found or found[2].lower() not in units:
        return None
    return float(found[1]) * units[found[2].lower()]


def plain(value: float) -> str:
    """A number without exponent, exact to a millionth."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def bytes_text(value: float) -> str:
    """A size in the largest unit of 1024 in which it is whole, or nearly."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        size = BYTES[unit.lower()]
        if value >= size:
            return f"{value / size:.4g} {unit}" if value < 1000 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f} B"


def seconds_text(value: float) -> str:
    """A time in the largest unit in which it is whole, such as ``5m``."""
    for unit in ("d", "h", "m"):
        if value and value % SECONDS[unit] == 0:
            return f"{plain(value / SECONDS[unit])}{unit}"
    return f"{plain(value)}s"
