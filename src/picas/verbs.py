"""What people do to tokens by hand, in words: one table for the command line and the page. `Pool` has the deeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["VERBS", "Verb", "told"]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One of them: ``done`` is what tokens then are, ``states`` those in which they can become so.

    Tokens in another state are left, and ``skipped`` says why. What is done by one that ``destroys`` cannot be undone.
    """

    name: str
    done: str
    skipped: str
    about: str
    states: frozenset[str]
    destroys: bool = False


def told(verb: Verb, *, ended: int, pending: int, skipped: int) -> str:
    """What became of tokens: so many are done with, so many wait for their pilots, so many were left."""
    parts = [f"{ended} {verb.done}"] if ended or not pending else []
    parts += [f"{pending} being {verb.done}: they run until their pilots' next beat"] if pending else []
    return "; ".join(parts + ([f"{skipped} {verb.skipped}"] if skipped else []))


def _verbs() -> Iterator[Verb]:
    yield Verb(
        name="reset",
        done="put back to todo",
        skipped="were there already",
        about="Put tokens back to todo, as good as new. The result of a command that still runs is superseded.",
        states=frozenset({"held", "locked", "done", "error"}),
    )
    yield Verb(
        name="cancel",
        done="cancelled",
        skipped="had ended already",
        about="End tokens in error with reason cancelled. A running command is ended with its pilot's next beat.",
        states=frozenset({"held", "todo", "locked"}),
    )
    yield Verb(
        name="hold",
        done="held",
        skipped="did not wait",
        about="Take waiting tokens out of the reach of pilots; `picas reset` puts them back. What runs goes on.",
        states=frozenset({"todo"}),
    )
    yield Verb(
        name="priority",
        done="given that priority",
        skipped="had it already, or had ended",
        about="Have tokens claimed before those of a lower priority; 0 is what they have unless asked otherwise.",
        states=frozenset({"held", "todo", "locked"}),
    )
    yield Verb(
        name="delete",
        done="deleted",
        skipped="",
        about="Delete tokens with their attachments. There is no way back.",
        states=frozenset({"held", "todo", "locked", "done", "error"}),
        destroys=True,
    )


VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _verbs()}
