"""What running commands write, on its way to who follows it; and who follows, as every store keeps it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["LONGEST_FOLLOW", "LiveVerbs", "Tail", "asking", "dump_tails", "still_asking", "tails_of"]

LONGEST_FOLLOW = 300.0
"""Seconds for which a pilot can be asked at once. What would be for longer is a clock's doing, and does not count."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The last bytes that a token's command wrote to each stream in one attempt, and how many came before them."""

    id: str
    fence: int
    out: bytes = b""
    out_at: int = 0
    err: bytes = b""
    err_at: int = 0


class _Live(Protocol):
    def follow(self, pilot: str, token_id: str, seconds: float) -> bool: ...
    def has_followers(self, pilot: str) -> bool: ...
    def followed(self, pilot: str) -> frozenset[str]: ...
    def send(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]: ...
    def tails(self, pilot: str) -> list[Tail]: ...


class LiveVerbs:
    """The verbs of a store that has a part of its own for them, ``_live``."""

    _live: _Live

    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        return self._live.follow(pilot, token_id, seconds)

    def has_followers(self, pilot: str) -> bool:
        return self._live.has_followers(pilot)

    def followed(self, pilot: str) -> frozenset[str]:
        return self._live.followed(pilot)

    def send_tails(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        return self._live.send(pilot, tails)

    def tails(self, pilot: str) -> list[Tail]:
        return self._live.tails(pilot)


def dump_tails(tails: Sequence[Tail]) -> str:
    """Tails as JSON."""
    return json.dumps([{name: _text(value) for name, value in vars(tail).items()} for tail in tails])


def tails_of(text: str | None) -> list[Tail]:
    """Tails from JSON."""
    return [Tail(**{name: _bytes(name, value) for name, value in one.items()}) for one in json.loads(text or "[]")]


def asking(until: Mapping[str, Any], token_id: str, now: float, seconds: float) -> dict[str, float]:
    """Who asks until when, by token, after one more did; those whose time is over go."""
    left = {name: until[name] for name in still_asking(until, now)}
    end = now + min(seconds, LONGEST_FOLLOW)
    return {**left, token_id: max(end, left.get(token_id, end))}


def still_asking(until: Mapping[str, Any], now: float) -> frozenset[str]:
    """The tokens that are followed now."""
    return frozenset(name for name, end in until.items() if now < end <= now + LONGEST_FOLLOW)


def _text(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _bytes(name: str, value: Any) -> Any:
    return base64.b64decode(value) if name in ("out", "err") else value
