"""From a token to what was tried on it. Documents are other programs' too: what makes no sense is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from picas.enums import Word
from picas.errors import InvalidToken
from picas.lifecycle import Doc, Reason, State, fence_of
from picas.tokens import requirements

__all__ = ["WASTED", "Attempt", "Fate", "attempts_of"]


class Fate(Word):
    """What an attempt was good for."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"
    SUPERSEDED = "superseded"
    RUNNING = "running"

    @property
    def certain(self) -> bool:
        """Whether it is known when the command ran; else only for how long the token was claimed."""
        return self not in (Fate.LOST, Fate.RUNNING)


WASTED = (Fate.FAILED, Fate.CANCELLED, Fate.RELEASED, Fate.LOST, Fate.SUPERSEDED)

_BY_REASON = {
    str(Reason.CANCELLED): Fate.CANCELLED,
    str(Reason.STOPPED): Fate.RELEASED,
    str(Reason.LOST): Fate.LOST,
    str(Reason.CRASH_LIMIT): Fate.LOST,
}
_FIRST_TIME, _LAST_TIME = 1e8, 1e10
"""Unix seconds; a smaller ``lock`` is a mark that a program set (99 says error), and what is larger no time either."""
_MOST = 1e15


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a token. ``start`` and ``end`` are unix seconds, both None when either is not known.

    ``cores`` is what the token took; ``offered`` the cores of its pilot, 0 when nobody says; ``final`` marks the try
    that decided the token's state.
    """

    token: str
    pilot: str
    hostname: str
    fate: Fate
    reason: str = ""
    exit_code: str = ""
    start: float | None = None
    end: float | None = None
    cores: float = 1.0
    offered: float = 0.0
    max_rss: float | None = None
    final: bool = False

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return None if self.start is None or self.end is None else self.end - self.start


def attempts_of(doc: Doc, state: State, now: float) -> Iterator[Attempt]:
    """What was tried on a token in this state, oldest first, and what is being tried ``now``.

    A token that a PiCaS program ended keeps no ``attempts``; its ``lock`` and ``done`` say when it was tried.
    """
    kept = doc.get("attempts")
    records = [record for record in kept if isinstance(record, Mapping)] if isinstance(kept, list) else []
    cores = _cores(doc)
    ended = state in (State.DONE, State.ERROR)
    unrecorded = ended and _is_unrecorded(doc, records)
    for number, record in enumerate(records, 1):
        yield _recorded(doc, record, cores, decided=state if number == len(records) and not unrecorded else None)
    if unrecorded:
        yield _by_lock(doc, cores, Fate.DONE if state is State.DONE else Fate.FAILED)
    elif state is State.LOCKED:
        yield _running(doc, cores, now)


def _recorded(doc: Doc, record: Mapping[str, Any], cores: float, decided: State | None) -> Attempt:
    reason, code = str(record.get("reason", "")), record.get("exit_code", "")
    start, end = _times(record)
    succeeded = reason == str(Reason.EXIT) and type(code) is int and code == 0
    fate = _BY_REASON.get(reason, Fate.FAILED)
    if succeeded:
        fate = Fate.DONE if decided is State.DONE else Fate.SUPERSEDED
    return Attempt(
        token=doc["_id"],
        pilot=str(record.get("pilot") or ""),
        hostname=str(record.get("hostname") or ""),
        fate=fate,
        reason=reason,
        exit_code=str(code),
        start=start,
        end=end,
        cores=cores,
        offered=_number(record.get("pilot_cores")) or 0.0,
        max_rss=_number(record.get("max_rss")),
        final=decided in (State.DONE, State.ERROR),
    )


def _by_lock(doc: Doc, cores: float, fate: Fate) -> Attempt:
    start, end = _span(doc.get("lock"), doc.get("done"))
    return Attempt(
        token=doc["_id"],
        pilot="",
        hostname=str(doc.get("hostname") or ""),
        fate=Fate.CANCELLED if doc.get("reason") == Reason.CANCELLED else fate,
        reason=str(doc.get("reason") or "exit"),
        exit_code=str(doc.get("exit_code", "")),
        start=start,
        end=end,
        cores=cores,
        final=True,
    )


def _running(doc: Doc, cores: float, now: float) -> Attempt:
    claim = doc.get("claim")
    start, end = _span(doc.get("lock"), now)
    return Attempt(
        token=doc["_id"],
        pilot=str(claim.get("pilot") or "") if isinstance(claim, Mapping) else "",
        hostname=str(doc.get("hostname") or ""),
        fate=Fate.RUNNING,
        start=start,
        end=end,
        cores=cores,
    )


def _is_unrecorded(doc: Doc, records: list[Mapping[str, Any]]) -> bool:
    """Whether the try that ended a token is not among its attempts: a PiCaS program made it."""
    lock = doc["lock"]
    if doc.get("reason") == Reason.CANCELLED and lock == doc["done"]:
        return False  # cancelled while it waited
    if not records:
        return True
    if doc.get("reason") in (Reason.CANCELLED, Reason.CRASH_LIMIT):
        return False
    end = _number(records[-1].get("end"))
    return records[-1].get("fence") != fence_of(doc) or (end is not None and lock > end + 1)


def _times(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    start, runtime = _number(record.get("start")), _number(record.get("runtime"))
    if start is not None and runtime is not None:
        return _span(start, start + runtime)
    return _span(start, record.get("end"))


def _span(start: object, end: object) -> tuple[float | None, float | None]:
    first, last = _number(start), _number(end)
    if first is None or last is None or not _FIRST_TIME <= first <= last <= _LAST_TIME:
        return None, None
    return first, last


def _number(value: object) -> float | None:
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if 0 <= value < _MOST else None  # neither infinite nor NaN


def _cores(doc: Doc) -> float:
    """What the token took; one core when nobody can tell."""
    try:
        return min(max(requirements(doc).cores, 0.0), 1e6)
    except InvalidToken:
        return 1.0
