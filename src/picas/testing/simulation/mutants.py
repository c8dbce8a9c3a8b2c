"""Faults put into the code on purpose, one at a time: a simulation that finds none of them would find nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from picas import lifecycle
from picas.lifecycle import Doc, State, state_of
from picas.pilot import holdings
from picas.stores.base import PilotRecord
from picas.stores.memory import state
from picas.stores.postgres import exchange
from picas.testing.simulation.patches import replaced

__all__ = ["MUTANTS", "without"]


def _holds_any(doc: Mapping[str, Any], fence: int, pilot: object = None) -> bool:
    """Whoever had the token may settle it, as long as somebody has it."""
    del fence, pilot
    return isinstance(doc.get("claim"), Mapping) and state_of(doc) is State.LOCKED


def _change_unchecked(self: state.Pool, doc: Doc) -> str:
    """The later writer wins."""
    if doc["_id"] not in self.rows:
        return self.add({name: value for name, value in doc.items() if name != "_rev"})  # type: ignore[return-value]
    return self.write(doc).revision


def _forgetful(self: exchange.Exchanger) -> None:
    """What became of an exchange without an answer is not looked up."""
    self._number, self._accepted, self._ahead = None, {}, []


def _never(*_: object) -> bool:
    return False


MUTANTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "fence": lambda: replaced((lifecycle, "holds", _holds_any)),
    "revision": lambda: replaced((state.Pool, "change", _change_unchecked)),
    "lease": lambda: replaced((PilotRecord, "lapsed", property(lambda _: True))),
    "crash-limit": lambda: replaced((lifecycle, "CRASH_LIMIT", 10**6)),
    "suspects": lambda: replaced((lifecycle, "is_suspect", _never), (holdings, "is_suspect", _never)),
    "read-back": lambda: replaced((exchange.Exchanger, "_recall", _forgetful)),
    "dependents": lambda: replaced((state.Pool, "_release", lambda *_: None)),
}
"""By name what is taken out."""


def without(name: str) -> AbstractContextManager[None]:
    """The code without one of its guards, for a while; as it is when the name is empty."""
    return MUTANTS[name]() if name else replaced()
