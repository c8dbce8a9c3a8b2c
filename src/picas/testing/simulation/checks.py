"""What must hold in a simulated run: at every change of a token, at every answer to a pilot, and in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from picas.lifecycle import CRASH_LIMIT, Doc, State, fence_of, is_cancelled, state_of
from picas.stores.base import Settlement
from picas.testing.simulation.loop import Actor, Loop

__all__ = ["Broken", "Checker", "Run"]

_ENDED = (State.DONE, State.ERROR)


class Broken(AssertionError):
    """A promise was broken; the message says which, of which token."""


@dataclass(kw_only=True)
class Run:
    """One run of a token's command: of which claim, and whether it came to an end by itself."""

    token: str
    fence: int
    pilot: str
    number: int
    exit_code: int | None = None


@dataclass
class Token:
    """What the checker knows of a token beside its document. A token put back after a deletion is another one."""

    accepted: dict[tuple[int, str], int] = field(default_factory=dict)
    """Results accepted, by claim: the number of the run."""
    put_aside: bool = False
    """Whether a person holds it, whatever it waits for."""


class Checker:
    """Sees all that happens, with the eyes of the server. Its rules share no code with what they check."""

    def __init__(self, loop: Loop, lease: float) -> None:
        self.loop = loop
        self.lease = lease
        self.runs: dict[int, Run] = {}
        self.tokens: dict[str, Token] = {}
        self.accepted: set[int] = set()
        """Runs whose results were accepted, of tokens too that were deleted since."""
        self.heard_at: dict[str, float] = {}
        self.listed_at: dict[str, float] = {}
        self.killed_by: dict[str, str] = {}
        """Pilots that a token's command has killed, and which."""
        self.killers: set[str] = set()
        self.counts = {"claims": 0, "accepted": 0, "superseded": 0, "lost": 0, "given up": 0, "mended": 0}
        self.on_todo: list[Any] = []

    def changed(self, old: Doc | None, new: Doc | None) -> None:
        """A document was written, or removed."""
        if new is None:
            assert old is not None
            self.loop.note("deleted", old["_id"])
            del self.tokens[old["_id"]]
            return
        was, state = state_of(old) if old else None, state_of(new)
        self.loop.note(new["_id"], f"{was} > {state}", fence_of(new), new.get("reason", ""))
        if old is None:
            self.tokens[new["_id"]] = Token()
        else:
            self._step(old, new, was, state)
        if state is State.TODO:
            for tell in self.on_todo:
                tell()

    def _step(self, old: Doc, new: Doc, was: State | None, state: State | None) -> None:
        self._expect(state is not None, new, "is no token any more")
        self._expect(fence_of(new) >= fence_of(old), new, "its fence fell")
        claimed = state is State.LOCKED and fence_of(new) != fence_of(old)
        if claimed:
            self.counts["claims"] += 1
            self._expect(was is State.TODO and fence_of(new) == fence_of(old) + 1, new, "claimed while it was not free")
            self._expect(new.get("not_before", 0) == 0, new, "claimed with a pause")
        else:
            self._expect(fence_of(new) == fence_of(old), new, "its fence rose without a claim")
            same = state is not State.LOCKED or old.get("claim") == new.get("claim")
            self._expect(same, new, "its claim was changed")
        self.tokens[new["_id"]].put_aside = state is State.HELD and (was is State.TODO or self._is_aside(new))
        if was in _ENDED and state is not was:
            self._expect(isinstance(self.loop.actor, Person), new, "left its final state, and no person wished it")
        if was is State.LOCKED and state is not State.LOCKED and not isinstance(self.loop.actor, Person):
            self._left(old, new, state)

    def _is_aside(self, doc: Doc) -> bool:
        return self.tokens[doc["_id"]].put_aside

    def _left(self, old: Doc, new: Doc, state: State | None) -> None:
        """A claim was ended, by its pilot or by whoever found that pilot silent."""
        claim, attempt = old["claim"], (new.get("attempts") or [{}])[-1]
        if attempt.get("reason") == "lost" and len(new["attempts"]) > len(old.get("attempts", ())):
            self._given_back(old, new, claim["pilot"], state)
            return
        self._expect(self.loop.actor.name == claim["pilot"], new, f"settled by {self.loop.actor.name}")
        if state is State.DONE:
            self._accept(new, claim, attempt)

    def _accept(self, new: Doc, claim: Doc, attempt: Doc) -> None:
        token, key = self.tokens[new["_id"]], (claim["fence"], claim["pilot"])
        run = self.runs[new["output"]["run"]]
        self._expect(key not in token.accepted, new, "a second result was accepted of one claim")
        self._expect((run.fence, run.pilot) == key, new, f"has the result of {run.pilot}'s claim {run.fence}")
        self._expect(run.exit_code == 0, new, "is done by a run that did not end well")
        self._expect(attempt.get("fence") == claim["fence"], new, "its last attempt is not that of its claim")
        token.accepted[key] = run.number
        self.accepted.add(run.number)
        self.counts["accepted"] += 1

    def _given_back(self, old: Doc, new: Doc, pilot: str, state: State | None) -> None:
        self.counts["lost"] += 1
        heard, looked = self.heard_at.get(pilot, 0.0), self.listed_at[self.loop.actor.name]
        was_silent = heard + self.lease < looked or heard > looked
        self._expect(was_silent, new, f"taken from {pilot}, which was heard of")
        losses = old.get("lost", 0) + 1
        self._expect(
            (state is State.ERROR) == (losses >= CRASH_LIMIT or is_cancelled(old)), new, f"lost {losses} times"
        )
        if new["reason"] == "crash-limit":
            self.counts["given up"] += 1
            by = self.killed_by.get(pilot, new["_id"])
            self._expect(by == new["_id"], new, f"ended for what {by} did")

    def believes(self, pilot: Actor, settlement: Settlement, answer: object) -> None:
        """A pilot was told that its result was accepted (a document), or was not."""
        run = settlement.outcome.changes.get("output", {}).get("run")
        if run is None or getattr(settlement.outcome, "give_back", False):
            return
        doc, is_accepted = settlement.doc, run in self.accepted
        if isinstance(answer, dict):
            if state_of(answer) is State.DONE:
                self._expect(is_accepted, doc, f"{pilot.name} believes that its superseded result was accepted")
        else:
            self.counts["superseded"] += 1
            self._expect(not is_accepted, doc, f"{pilot.name} does not know that its result was accepted")

    def finish(self, docs: Iterable[Doc], counted: dict[State, int], killers_ended: bool = True) -> None:
        """Check what there is in the end, when nothing is to be done any more."""
        found = dict.fromkeys(State, 0)
        all_docs = list(docs)
        for doc in all_docs:
            state = state_of(doc)
            assert state is not None
            found[state] += 1
            self._expect(state in _ENDED or state is State.HELD, doc, f"is {state} in the end")
            self._expect("claim" not in doc, doc, "bears a claim in the end")
            if state is State.HELD:
                done = {other["_id"] for other in all_docs if state_of(other) is State.DONE}
                self._expect(bool(set(doc.get("after", ())) - done), doc, "is held, and all that it waited for is done")
            fences = [attempt["fence"] for attempt in doc.get("attempts", [])]
            self._expect(fences == sorted(set(fences)), doc, f"has attempts {fences}")
            if doc["_id"] in self.killers and killers_ended:
                self._expect(state is not State.DONE, doc, "kills its pilots, and is done")
        self._expect(counted == found, {"_id": "all"}, f"are counted as {counted}, and are {found}")

    def _expect(self, holds: bool, doc: Doc, words: str) -> None:
        if not holds:
            raise Broken(f"at {self.loop.now:.3f} s: token {doc['_id']} {words}")


class Person(Actor):
    """Whoever resets, cancels and deletes tokens by command."""
