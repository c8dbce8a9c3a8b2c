"""Amounts as people say them: times, sizes, parts, instants."""

from __future__ import annotations

import re
import time
import unicodedata

__all__ = ["duration", "instant", "number", "part", "plain", "pool_name", "shortened", "size", "wide"]

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\uffff\U000e0000-\U000e0fff]"
)


def duration(seconds: float | None) -> str:
    """``0.25 s``, ``42 min 9 s``, ``3 h 20 min``, ``2 d 4 h``; a dash for none."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds else "0 s"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    amounts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while not amounts[0][0]:
        amounts.pop(0)
    return " ".join(f"{amount} {unit}" for amount, unit in amounts[:2] if amount)


def size(count: float | None) -> str:
    """``3.2 GiB``; a dash for none."""
    if count is None:
        return "-"
    power = 0
    while count >= 999.5 and power < 5:
        count, power = count / 1024, power + 1
    return f"{count:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power]}"


def part(value: float | None) -> str:
    """``93.4 %``; a dash for none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """A number to three digits, never with an exponent; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{float(f'{value:.3g}'):,.15g}" if value >= 0.001 else f"{value:.5f}"


def instant(at: float) -> str:
    """A date and time of day, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def pool_name(url: str) -> str:
    """The last part of a pool's address: a file's or a database's name."""
    return url.partition("?")[0].rstrip("/").rpartition("/")[2] or url


def plain(text: str) -> str:
    """Text in which nothing is invisible, turns the direction of writing, or has no place in XML."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def wide(text: str) -> int:
    """About how many letters' room a text takes."""
    return sum(0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def shortened(text: str, room: int) -> str:
    """Text that takes at most the room of so many letters; what is cut is cut from its middle."""
    text = plain(text)
    if wide(text) <= room:
        return text
    # Ends of names tell pilots of one site apart, beginnings the sites.
    head = tail = ""
    left = room - 1
    for one, other in zip(text, reversed(text), strict=True):
        if wide(one) > left:
            break
        head, left = head + one, left - wide(one)
        if wide(other) > left:
            break
        tail, left = other + tail, left - wide(other)
    return f"{head}…{tail}"
