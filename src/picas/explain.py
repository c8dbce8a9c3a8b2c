"""Why a token is where it is, and what would have to change for it to run. Words from values; nothing is looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from picas.errors import InvalidToken
from picas.lifecycle import Doc, State, fence_of, is_cancelled, state_of
from picas.stores.base import PilotRecord
from picas.tokens import requirements

__all__ = ["explain_pool", "explain_token"]

_REASONS = {
    "exit": "its command exited with {exit_code}",
    "signal": "its command was ended by signal {signal}",
    "time": "its command was ended because its time was over",
    "memory": "its command needed more memory than it was given",
    "disk": "there was no room on the disk",
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


def explain_pool(counts: Mapping[State, int], *, ready_in: float | None, pilots: Sequence[PilotRecord]) -> list[str]:
    """Lines about a pool: what its pilots and tokens wait for."""
    alive = [pilot for pilot in pilots if pilot.alive]
    lines = [f"{counts[State.TODO]} tokens wait, {counts[State.LOCKED]} run, {len(alive)} pilots are alive"]
    if counts[State.TODO] and not alive:
        lines.append("no pilot is alive: `picas run` starts one here")
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
    alive = [pilot for pilot in pilots if pilot.alive]
    if not alive:
        return [*lines, "no pilot is alive: `picas run` starts one here"]
    if all(pilot.cores < need.cores for pilot in alive):
        most = max(pilot.cores for pilot in alive)
        return [*lines, f"it needs {need.cores:g} cores, and the widest pilot alive has {most}"]
    views = ", ".join(sorted({pilot.view for pilot in alive}))
    return [*lines, f"it waits its turn; {len(alive)} pilots are alive, claiming from {views}"]


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
        f", {attempt.get('runtime', '-')} s"
        for attempt in attempts[-5:]
    ]
