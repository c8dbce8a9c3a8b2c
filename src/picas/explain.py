"""Why a token is where it is, and what would have to change for it to run. Words from values; nothing is looked up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from picas.errors import InvalidToken
from picas.lifecycle import Doc, State, fence_of, is_cancelled, state_of
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot
from picas.tokens import Requirements, requirements

__all__ = ["explain_pool", "explain_token"]

_GROUPS = 10
"""Kinds of tokens that no pilot takes, of which is told."""

_REASONS = {
    "exit": "its command exited with {exit_code}",
    "signal": "its command was ended by signal {signal}",
    "time": "its command was ended because its time was over",
    "memory": "its command needed more memory than it was given",
    "disk": "there was no room on the disk",
    "quiet": "its command was ended because it had written nothing for too long",
    "start-failed": "its command could not be started ({errno})",
    "exception": "it could not be run: {message}",
    "cancelled": "it was cancelled",
    "stopped": "its pilot was told to stop, and gave it back",
    "lost": "its pilot fell silent",
    "crash-limit": "it has lost {lost} pilots, and no more are risked; `picas reset` tries again",
}


def explain_token(
    doc: Doc, *, now: float, needs: Mapping[str, State | None], pilots: Sequence[PilotRecord], tail: str = ""
) -> list[str]:
    """Lines about a token: ``needs`` are the states of those it waits for, ``tail`` the end of its stderr."""
    state = state_of(doc)
    if state is None:
        return [f"{doc['_id']} is no token: its type is {doc.get('type')!r}, lock {doc.get('lock')!r}"]
    lines = [f"{doc['_id']} is {state}"]
    tellers: dict[State, Callable[[], list[str]]] = {
        State.HELD: lambda: _held(needs),
        State.TODO: lambda: _todo(doc, now, pilots),
        State.LOCKED: lambda: _locked(doc, now, pilots),
        State.ERROR: lambda: _error(doc, tail),
    }
    told = tellers[state]() if state in tellers else []
    return lines + [f"  {line}" for line in [*told, *_history(doc)]]


def explain_pool(
    counts: Mapping[State, int],
    *,
    ready_in: float | None,
    pilots: Sequence[PilotRecord],
    now: float = 0.0,
    waiting: Mapping[str, int] | None = None,
) -> list[str]:
    """Lines about a pool: what its pilots and tokens wait for.

    ``waiting`` is how many tokens in todo require the same, by that in JSON.
    """
    alive = [pilot for pilot in pilots if pilot.alive and not is_autopilot(pilot)]
    lines = [f"{counts[State.TODO]} tokens wait, {counts[State.LOCKED]} run, {len(alive)} pilots are alive"]
    if counts[State.TODO] and not alive:
        lines.append("no pilot is alive: `picas run` starts one here")
    lines += _unfit(waiting or {}, [pilot for pilot in alive if not pilot.orders], now)
    if counts[State.TODO] and ready_in:
        lines.append(f"all that wait do so for their next try, the first in {ready_in:.0f} s")
    if counts[State.HELD]:
        lines.append(f"{counts[State.HELD]} are held: for others to be done, or until `picas reset held`")
    if counts[State.ERROR]:
        lines.append(f"{counts[State.ERROR]} failed: `picas ls error` lists them, `picas reset error` tries them again")
    if not counts[State.TODO] and not counts[State.LOCKED]:
        lines.append("there is nothing to run: `picas add` adds tokens")
    return lines


def _held(needs: Mapping[str, State | None]) -> list[str]:
    waiting = [f"{token_id} ({state or 'not there'})" for token_id, state in needs.items() if state is not State.DONE]
    if not waiting:
        return ["held by a person; `picas reset` puts it to todo"]
    lines = [f"it waits for {', '.join(waiting[:5])}" + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")]
    if any(state is State.ERROR for state in needs.values()):
        lines.append("what failed must be reset and done first")
    return lines


def _todo(doc: Doc, now: float, pilots: Sequence[PilotRecord]) -> list[str]:
    lines = []
    if doc.get("not_before", 0) > now:
        lines.append(f"its next try comes in {doc['not_before'] - now:.0f} s")
    try:
        need = requirements(doc)
    except InvalidToken as error:
        return [*lines, str(error), "no pilot takes it until that is corrected"]
    alive = [pilot for pilot in pilots if pilot.alive and not is_autopilot(pilot)]
    if not alive:
        return [*lines, "no pilot is alive: `picas run` starts one here"]
    staying = [pilot for pilot in alive if not pilot.orders]
    if not staying:
        return [*lines, "the pilots that are alive were told to end: `picas run` starts one here"]
    if misfits := _misfits(need, staying, now):
        return [*lines, *misfits]
    fitting = [pilot for pilot in staying if need.within(_offer(pilot, now))]
    views = ", ".join(sorted({pilot.view for pilot in fitting}))
    some = "" if len(fitting) == len(alive) else f", {len(fitting)} of them have what it needs"
    return [*lines, f"it waits its turn; {len(alive)} pilots are alive{some}, claiming from {views}"]


def _offer(pilot: PilotRecord, now: float) -> Requirements:
    """What a pilot offers by its record. What it does not say it may have."""
    return Requirements(
        cores=pilot.cores,
        memory=math.inf if pilot.memory is None else pilot.memory,
        gpus=math.inf if pilot.gpus is None else pilot.gpus,
        time=math.inf if pilot.ends_at is None else max(0.0, pilot.ends_at - now),
        other=pilot.offers,
    )


def _misfits(need: Requirements, pilots: Sequence[PilotRecord], now: float) -> list[str]:
    """In which dimensions no pilot has enough, or which pilot lacks the least; nothing when one has all."""
    offers = [_offer(pilot, now) for pilot in pilots]
    lacking = [need.lacking(offer) for offer in offers]
    if not all(lacking):
        return []
    nowhere = [name for name in lacking[0] if all(name in names for names in lacking)]
    if nowhere:
        return [
            f"it needs {_amount(need, name)}, and the most that a pilot alive offers is"
            f" {_amount(max(offers, key=lambda offer: _part(offer, name)), name)}"
            for name in nowhere
        ]
    least = min(range(len(pilots)), key=lambda place: len(lacking[place]))
    short = ", ".join(f"{_amount(need, name)}, not {_amount(offers[least], name)}" for name in lacking[least])
    return [
        f"it needs more than any one pilot has; {pilots[least].id} on {pilots[least].hostname} lacks least: {short}"
    ]


def _unfit(waiting: Mapping[str, int], pilots: Sequence[PilotRecord], now: float) -> list[str]:
    """Groups of waiting tokens that no pilot can take, and why; the largest first."""
    lines: list[str] = []
    for requires, count in sorted(waiting.items(), key=lambda item: -item[1]) if pilots else ():
        who = "1 token that requires" if count == 1 else f"{count} tokens that require"
        try:
            misfits = _misfits(requirements({"requires": json.loads(requires)}), pilots, now)
        except InvalidToken:
            misfits = ["no pilot can read that"]
        lines += [f"no pilot takes {who} {requires}: {words}" for words in misfits]
    return lines[:_GROUPS]


def _part(sizes: Requirements, name: str) -> float:
    known = {"cores": sizes.cores, "memory": sizes.memory, "gpus": sizes.gpus, "time": sizes.time}
    return known.get(name, sizes.other.get(name, 0.0))


def _amount(sizes: Requirements, name: str) -> str:
    """An amount as people write it."""
    amount = _part(sizes, name)
    if name == "memory":
        return f"{amount / 2**30:.3g} GiB of memory"
    if name == "time":
        return f"{amount / 3600:.3g} h" if amount >= 3600 else f"{amount:.0f} s"
    return f"{amount:g} {name}"


def _locked(doc: Doc, now: float, pilots: Sequence[PilotRecord]) -> list[str]:
    claim = doc.get("claim") or {}
    holder = claim.get("pilot")
    if not holder:
        return [f"locked on {doc.get('hostname') or 'an unknown host'} by a program that keeps no lease"]
    since = max(0, round(now - claim.get("at", now)))
    lines = [f"pilot {holder} on {doc.get('hostname')} has it since {since} s (claim {claim.get('fence')})"]
    known = {pilot.id: pilot for pilot in pilots}
    if holder not in known:
        lines.append("that pilot is not known any more; `picas reset` puts the token back")
    elif not known[holder].alive:
        lines.append("that pilot has fallen silent; the token goes back once a pilot or `picas wait` is sure")
    if is_cancelled(doc):
        lines.append("it is to be cancelled with that pilot's next beat")
    return lines


def _error(doc: Doc, tail: str) -> list[str]:
    lines = [_because(doc, (doc.get("attempts") or [{}])[-1], doc.get("reason"))]
    if doc.get("scrub_count"):
        lines.append(f"it was tried again {doc['scrub_count']} times")
    lines += [f"stderr: {line}" for line in tail.splitlines()[-5:]]
    return [*lines, "`picas logs` shows all it wrote, `picas reset` tries it again"]


def _because(doc: Doc, attempt: Mapping[str, Any], reason: object) -> str:
    words = _REASONS.get(str(reason))
    if words is None:
        return f"its program said error (exit code {doc.get('exit_code')!r})"
    known = {"exit_code": doc.get("exit_code"), "lost": doc.get("lost"), "signal": "?", "errno": "?", "message": ""}
    return words.format_map({**known, **attempt})


def _history(doc: Doc) -> list[str]:
    attempts = doc.get("attempts") or []
    if not attempts:
        return [] if fence_of(doc) else ["it has never been run"]
    return [
        f"attempt {attempt.get('fence')}: {attempt.get('reason')}"
        f" on {attempt.get('hostname')}, exit code {attempt.get('exit_code', '-')}"
        f", {attempt.get('runtime', '-')} s{_ruled(attempt)}"
        for attempt in attempts[-5:]
    ]


def _ruled(attempt: Mapping[str, Any]) -> str:
    """What a retry rule did after an attempt, or would have done."""
    if "would" in attempt:
        return f"; rule {attempt.get('rule')} would have it {attempt['would']}"
    return f"; rule {attempt.get('rule')}: {attempt['then']}" if "then" in attempt else ""
