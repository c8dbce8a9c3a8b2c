"""A token's life: states, and the events that lead from one to the next.

Pure functions from (document, event, time) to a new document; the one place that knows which numbers in
``lock``, ``done`` and ``exit_code`` mean which state. Nothing here reads a clock, and no argument is changed.

    put ──> todo ──claim──> locked ──settle──> done | error
      └──> held    ^            ├─ release, lose, scrub ──> todo
           (ready) └────────────┘        reset: from anywhere back to todo

Two numbers guard a claim. ``fence`` counts the claims ever made on a token and never falls; ``claim`` repeats
it while the token is locked, with the pilot and the time. Whoever settles must hold that very claim (`holds`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeGuard

from picas.enums import Word

__all__ = [
    "ATTEMPTS_KEPT",
    "CRASH_LIMIT",
    "Claimant",
    "Doc",
    "Edit",
    "Outcome",
    "Reason",
    "Retry",
    "State",
    "awaited",
    "backoff",
    "cancel",
    "claim",
    "fence_of",
    "hold",
    "holds",
    "is_cancelled",
    "is_retried",
    "is_same_claim",
    "is_suspect",
    "lose",
    "put",
    "ready",
    "reset",
    "retries_by_cause",
    "settle",
    "state_of",
]

Doc = dict[str, Any]

CRASH_LIMIT = 5
"""Pilots that a token may lose before it is taken out of circulation."""

ATTEMPTS_KEPT = 20

_NUMBERS = (int, float)

_JOB_FIELDS = ("dirac_job_id", "wms_job_id", "cream_job_id", "pbs_job_id", "slurm_job_id")


class State(Word):
    """Where a token is in its life; the names of the views."""

    HELD = "held"
    TODO = "todo"
    LOCKED = "locked"
    DONE = "done"
    ERROR = "error"


class Reason(Word):
    """Why an attempt ended. A closed list; stored in ``reason`` and in each entry of ``attempts``."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIME = "time"
    MEMORY = "memory"
    DISK = "disk"
    QUIET = "quiet"
    START_FAILED = "start-failed"
    EXCEPTION = "exception"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    LOST = "lost"
    CRASH_LIMIT = "crash-limit"


_NEW = {"type": "token", "lock": 0, "done": 0, "exit_code": "", "hostname": "", "scrub_count": 0}
_FIXED = frozenset({"_id", "_rev", "fence"})
_OURS = _FIXED | {"claim"}

_NEVER_RETRIED = frozenset({Reason.START_FAILED, Reason.CANCELLED, Reason.CRASH_LIMIT})
_FINAL = frozenset({Reason.CANCELLED, Reason.CRASH_LIMIT})


class Retry(TypedDict):
    """What a rule says of a failure: its cause, the tries it allows in all, and fields to set for the next one."""

    cause: str
    most: int
    changes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """Who claims: the pilot, its host and cores, and the batch job it runs in (one of the ``*_job_id`` fields)."""

    pilot: str
    hostname: str = ""
    cores: int = 0
    job: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended, as its pilot judged it.

    ``give_back`` returns the token unspent (the pilot was told to stop); otherwise an ``exit`` with an
    ``exit_code`` of 0 is done, and anything else is retried up to ``max_scrub`` times, ``retry_delay`` seconds
    later, and is an error after that. ``changes`` are fields the task wrote, ``attempt`` what was measured.
    With ``retry`` a rule decides instead of ``max_scrub``, and tries are counted by its cause, in ``retried``.
    """

    reason: Reason = Reason.EXIT
    exit_code: int | str = 0
    give_back: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    attempt: Mapping[str, Any] | None = None
    max_scrub: int = 0
    retry_delay: float = 0.0
    retry: Retry | None = None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Fields that a program set and removed on the token it holds; it decides about state by itself."""

    changes: Mapping[str, Any]
    removed: frozenset[str] = frozenset()


def state_of(doc: Mapping[str, Any]) -> State | None:
    """The token's state; None for a document that is no token or whose lock and done make no sense."""
    lock: Any = doc.get("lock")
    done: Any = doc.get("done")
    if doc.get("type") != "token" or type(lock) not in _NUMBERS or type(done) not in _NUMBERS:
        return None
    if lock < 0:
        return State.HELD
    if done == 0:
        return State.LOCKED if lock > 0 else State.TODO
    if lock > 0 and done > 0:
        return State.DONE if _is_zero(doc.get("exit_code")) else State.ERROR
    return None


def fence_of(doc: Mapping[str, Any]) -> int:
    """How often the token has been claimed."""
    fence = doc.get("fence", 0)
    return fence if isinstance(fence, int) else 0


def holds(doc: Mapping[str, Any], fence: int, pilot: object = None) -> bool:
    """Whether the claim with this fence, and of this pilot when one is named, is the one in force.

    The claim's time must equal ``lock``: a PiCaS program that resets and locks a token leaves ``claim`` as it
    was, and would otherwise be mistaken for the earlier holder. The pilot must be compared because a token that was
    deleted and added again counts its claims from one.
    """
    claim = doc.get("claim")
    return (
        isinstance(claim, Mapping)
        and claim.get("fence") == fence
        and claim.get("at") == doc.get("lock")
        and (pilot is None or claim.get("pilot") == pilot)
        and state_of(doc) is State.LOCKED
    )


def is_same_claim(doc: Mapping[str, Any], claimed: Mapping[str, Any]) -> bool:
    """Whether the claim that a document bore when it was claimed is the one in force."""
    claim = claimed.get("claim")
    return holds(doc, fence_of(claimed), claim.get("pilot") if isinstance(claim, Mapping) else None)


def awaited(doc: Mapping[str, Any]) -> list[str]:
    """The ids of the tokens that this one waits for: none when a person holds it, who alone then lets it go."""
    after = doc.get("after") if doc.get("hold") is not True else None
    return [name for name in after if isinstance(name, str)] if isinstance(after, list) else []


def is_cancelled(doc: Mapping[str, Any]) -> bool:
    """Whether a person asked to cancel the very claim that is in force."""
    return "cancel" in doc and holds(doc, doc["cancel"])


def is_suspect(doc: Mapping[str, Any]) -> bool:
    """Whether one more loss would be the last: it is then run with no other beside it, which clears the innocent."""
    return _count(doc, "lost") >= CRASH_LIMIT - 1


def put(doc: Mapping[str, Any]) -> Doc:
    """A new token with what every token has; held when it waits for others (``after``). Of another type, as it is."""
    if doc.get("type", "token") != "token":
        return {**doc}
    new = {**_NEW, **doc}
    if new.get("after") and state_of(new) is State.TODO:
        new["lock"] = -1
    return new


def claim(doc: Mapping[str, Any], claimant: Claimant, now: float) -> Doc:
    """The token as locked by the claimant, its fence one higher."""
    at = max(1, int(now))
    new = {**doc, "lock": at, "hostname": claimant.hostname, "fence": fence_of(doc) + 1}
    new["claim"] = {"fence": new["fence"], "pilot": claimant.pilot, "at": at}
    new.update(claimant.job)
    new.pop("not_before", None)
    return new


def settle(doc: Mapping[str, Any], outcome: Outcome | Edit, now: float) -> Doc:
    """The token after its attempt. The caller has made sure that the claim still `holds`."""
    if isinstance(outcome, Edit):
        return _edited(doc, outcome, now)
    new = {**doc, **_free(outcome.changes), "reason": str(outcome.reason)}
    if outcome.attempt is not None:
        _remember(new, {**outcome.attempt, "exit_code": outcome.exit_code, "reason": str(outcome.reason)})
    if is_cancelled(doc) and (outcome.give_back or is_retried(doc, outcome)):
        return _cancelled(new, now)
    if outcome.give_back:
        new["released"] = _count(doc, "released") + 1
        return _back_to_todo(new)
    if is_retried(doc, outcome):
        new["scrub_count"] = _count(doc, "scrub_count") + 1
        if outcome.retry is not None:
            new |= _free(outcome.retry["changes"])
            new["retried"] = {**retries_by_cause(doc), outcome.retry["cause"]: _times(doc, outcome.retry) + 1}
        if outcome.retry_delay > 0:
            new["not_before"] = round(now + outcome.retry_delay, 3)
        return _back_to_todo(new)
    new["exit_code"] = outcome.exit_code
    return _ended(new, now)


def attempt(doc: Mapping[str, Any], claimant: Claimant, start: float, end: float) -> dict[str, Any]:
    """What is remembered of every attempt, its times in unix seconds; whoever judges it adds what else is known."""
    at = {"start": round(start, 3), "end": round(end, 3)}
    return {"fence": fence_of(doc), "pilot": claimant.pilot, "hostname": claimant.hostname, **at}


def is_retried(doc: Mapping[str, Any], outcome: Outcome) -> bool:
    """Whether an outcome puts the token back for another try, at the cost of one."""
    if outcome.reason is Reason.EXIT and _is_zero(outcome.exit_code):
        return False
    if outcome.retry is not None:
        return outcome.reason not in _FINAL and _times(doc, outcome.retry) < outcome.retry["most"]
    allowed = max(_count(doc, "max_scrub"), outcome.max_scrub)
    spent = _count(doc, "scrub_count") - sum(retries_by_cause(doc).values())
    return outcome.reason not in _NEVER_RETRIED and spent < allowed


def retries_by_cause(doc: Mapping[str, Any]) -> dict[str, int]:
    """How often rules have put the token back, by their causes; ``scrub_count`` counts all retries."""
    counts = doc.get("retried")
    if not isinstance(counts, Mapping):
        return {}
    return {cause: _count(counts, cause) for cause in counts}


def lose(doc: Mapping[str, Any], now: float) -> Doc:
    """The token of a pilot that fell silent: back to todo, or an error when that happened too often."""
    holder = doc["claim"] if isinstance(doc.get("claim"), Mapping) else {}
    attempt = {"fence": fence_of(doc), "pilot": holder.get("pilot", ""), "hostname": doc.get("hostname", "")}
    new = {**doc, "lost": _count(doc, "lost") + 1}
    reason = Reason.CRASH_LIMIT if new["lost"] >= CRASH_LIMIT else Reason.LOST
    new["reason"] = str(reason)
    _remember(new, {**attempt, "start": holder.get("at"), "end": round(now, 3), "reason": str(Reason.LOST)})
    if is_cancelled(doc):
        return _cancelled(new, now)
    return _ended({**new, "exit_code": ""}, now) if reason is Reason.CRASH_LIMIT else _back_to_todo(new)


def reset(doc: Mapping[str, Any]) -> Doc:
    """The token as good as new, put back by a person: retries and losses are forgotten, attempts are not."""
    new = _back_to_todo(doc)
    new["scrub_count"] = 0
    for name in ("lost", "reason", "not_before", "retried"):
        new.pop(name, None)
    return new


def hold(doc: Mapping[str, Any]) -> Doc:
    """A waiting token taken out of every PiCaS view until it is made `ready`, whatever is done in ``after``."""
    return {**doc, "lock": -1, "hold": True}


def ready(doc: Mapping[str, Any]) -> Doc:
    """A held token put where pilots find it."""
    new = {**doc, "lock": 0}
    new.pop("hold", None)
    return new


def cancel(doc: Mapping[str, Any], now: float) -> Doc:
    """The token cancelled: at once when nobody holds it, else by a request that its pilot carries out."""
    if state_of(doc) is State.LOCKED and holds(doc, fence_of(doc)):
        return {**doc, "cancel": fence_of(doc)}
    return _cancelled(doc, now)


def backoff(doc: Mapping[str, Any], jitter: float) -> float:
    """Seconds to wait before a token's retry: full jitter below min(10 s * 2**retries, 1 h); jitter in [0, 1)."""
    failures = _count(doc, "scrub_count")
    return jitter * min(10.0 * float(2 ** min(failures, 20)), 3600.0)


def _edited(doc: Mapping[str, Any], edit: Edit, now: float) -> Doc:
    merged = {**doc, **_free(edit.changes)}
    new = {key: value for key, value in merged.items() if key not in edit.removed or key in _FIXED}
    if is_cancelled(doc) and state_of(new) is State.TODO:
        return _cancelled(new, now)
    if is_cancelled(doc) and state_of(new) is State.ERROR:
        new["reason"] = str(Reason.CANCELLED)  # lest its pilot tries it again
    if state_of(new) is not State.LOCKED:
        new.pop("claim", None)
        new.pop("cancel", None)
    elif isinstance(new.get("claim"), Mapping):
        new["claim"] = {**new["claim"], "at": new["lock"]}
    return new


def _free(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Changes without the fields that guard a claim, which no program may move."""
    return {name: value for name, value in changes.items() if name not in _OURS} if changes else changes


def _count(doc: Mapping[str, Any], name: str) -> int:
    """A counter of the token; 0 when another program wrote something else there."""
    value = doc.get(name, 0)
    return value if type(value) is int and value >= 0 else 0


def _times(doc: Mapping[str, Any], retry: Retry) -> int:
    return retries_by_cause(doc).get(retry["cause"], 0)


def _ended(doc: Doc, now: float) -> Doc:
    at = max(1, int(now))
    doc["done"] = at
    if doc["lock"] <= 0:
        doc["lock"] = at
    doc.pop("claim", None)
    doc.pop("cancel", None)
    return doc


def _cancelled(doc: Mapping[str, Any], now: float) -> Doc:
    return _ended({**doc, "exit_code": "", "reason": str(Reason.CANCELLED)}, now)


def _back_to_todo(doc: Mapping[str, Any]) -> Doc:
    new = {**doc, "lock": 0, "done": 0, "exit_code": ""}
    for name in ("claim", "cancel", "hold", *_JOB_FIELDS):
        new.pop(name, None)
    return new


def _remember(doc: Doc, attempt: Mapping[str, Any]) -> None:
    before = doc.get("attempts")
    doc["attempts"] = [*(before if isinstance(before, list) else ()), attempt][-ATTEMPTS_KEPT:]


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) is int or type(value) is float


def _is_zero(value: object) -> bool:
    """Whether JavaScript's ``parseInt``, which the views of PiCaS apply to ``exit_code``, gives 0."""
    if _is_number(value):
        return -1 < value < 1
    found = re.match(r"\s*[+-]?(?:0[xX]([0-9a-fA-F]+)|([0-9]+))", value) if isinstance(value, str) else None
    return found is not None and not (found[1] or found[2]).strip("0")
