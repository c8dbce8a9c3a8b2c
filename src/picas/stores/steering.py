"""What a person tells a pool and its pilots: the words of orders, and the pause of a pool as stores have it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["DRAIN", "STOP", "Pausable", "Pause", "pause_fields", "pause_of"]

DRAIN, STOP = "drain", "stop"
"""Orders for a pilot: to finish what it runs and end, or to end that too and give it back."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused a pool (user@host), when (unix seconds, by the store's clock), and why, in a person's words."""

    by: str
    at: float
    why: str = ""


class Pausable(ABC):
    """A store that can be told to hand out nothing."""

    @abstractmethod
    def pause(self, pause: Pause | None) -> None:
        """Grant no claim from now on, whoever asks, and whatever the view; with None again.

        Settling, and all else, goes on. Who waits for a change is woken when claims are granted again. Without
        ``capabilities.pauses_at_once`` other handles obey within half a minute, pilots with their next beat, and
        nobody is woken.
        """

    @abstractmethod
    def paused(self) -> Pause | None:
        """The pause that is in force, None when claims are granted."""


def pause_fields(pause: Pause) -> dict[str, Any]:
    """A pause, to be stored."""
    return asdict(pause)


def pause_of(fields: Mapping[str, Any] | None) -> Pause | None:
    """A pause from what was stored."""
    if not fields:
        return None
    return Pause(by=str(fields.get("by", "")), at=float(fields.get("at", 0.0)), why=str(fields.get("why", "")))
