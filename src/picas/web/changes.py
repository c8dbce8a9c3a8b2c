"""Changes of many tokens: which they are is found out first and kept, so that what is agreed to is what is done.

Both go in steps of bounded size, one change beside others, and can be stopped between two steps.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from picas.enums import Word
from picas.errors import Conflict, NothingMatched, PicasError, UsageError
from picas.lifecycle import Doc, fence_of, state_of
from picas.pool import Changed, Pool
from picas.verbs import Verb, told
from picas.web.desk import Busy, Desk
from picas.web.live import Live
from picas.web.query import Query, find

__all__ = ["MOST_TOKENS", "Change", "Changes", "Outcome", "Phase"]

MOST_TOKENS = 200_000
"""Of one change."""
_MOST_CHANGES = 20
_MOST_KEPT = 2 * MOST_TOKENS
_LOOK = 500
_STEP = 200
_PAUSE = 0.02
_EXAMPLES = 5

log = logging.getLogger("picas.web")


class Phase(Word):
    """How far a change is. One that was stopped can go on; one that failed never began."""

    LOOKING = "looking"
    ASKING = "asking"
    DOING = "doing"
    STOPPED = "stopped"
    OVER = "over"
    FAILED = "failed"


_BUSY = (Phase.LOOKING, Phase.DOING)


@dataclass(kw_only=True)
class Outcome:
    """What became of how many tokens; ``moved`` were not as agreed any more and were left, ``gone`` not there."""

    ended: int = 0
    pending: int = 0
    skipped: int = 0
    conflicts: int = 0
    moved: int = 0
    gone: int = 0
    left: list[str] = field(default_factory=list)
    """A few of those that were left because they had changed, or kept changing."""

    def add(self, step: Step) -> None:
        """Count a step in."""
        report = step.report
        self.ended += len(report.changed) - len(report.pending)
        self.pending += len(report.pending)
        self.skipped += len(report.skipped)
        self.conflicts += len(report.conflicts)
        self.moved += len(step.moved)
        self.gone += step.gone
        self.left = [*self.left, *step.moved, *report.conflicts][:_EXAMPLES]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: what the pool reports, who was not as agreed, how many were not there."""

    report: Changed
    moved: list[str]
    gone: int


@dataclass(kw_only=True)
class Change:
    """One change: of the tokens that a query finds, as they are then. ``words`` say which; ``back`` is where from."""

    key: str
    verb: Verb
    query: Query
    priority: int | None = None
    words: str = ""
    back: str = "/tokens"
    phase: Phase = Phase.LOOKING
    looked_at: int = 0
    done: int = 0
    states: Counter[str] = field(default_factory=Counter)
    outcome: Outcome = field(default_factory=Outcome)
    error: PicasError | None = None
    """Why it failed, or was stopped, if not by somebody."""
    waits: bool = True
    """Whether it waits for somebody to agree; ``expect`` is the number of tokens that were already agreed to."""
    expect: int | None = None
    _marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many tokens were found."""
        return self.states.total()

    @property
    def meant(self) -> int:
        """How many of them are in a state in which it makes sense."""
        return sum(count for state, count in self.states.items() if state in self.verb.states)

    @property
    def kept(self) -> int:
        """How many ids are kept for it."""
        return len(self._ids)

    @property
    def examples(self) -> list[str]:
        """The first few tokens."""
        return self._ids[:_EXAMPLES]

    @property
    def told(self) -> str:
        """What became of the tokens, as the command line says it."""
        one = self.outcome
        return told(self.verb, ended=one.ended, pending=one.pending, skipped=one.skipped)

    def take(self, docs: Iterable[Doc]) -> None:
        """Keep tokens as they are. A token that pilots moved meanwhile may be found twice."""
        for doc in docs:
            if doc["_id"] not in self._marks:
                self._marks[doc["_id"]] = _mark(doc)
                self._ids.append(doc["_id"])
                self.states[str(state_of(doc))] += 1

    def step(self, pool: Pool) -> Step:
        """Make the next step of the change."""
        ids = self._ids[self.done : self.done + _STEP]
        docs = [doc for doc in pool.store.get(ids) if doc is not None]
        same = [doc for doc in docs if self._marks[doc["_id"]] == _mark(doc)]
        moved = [doc["_id"] for doc in docs if self._marks[doc["_id"]] != _mark(doc)]
        return Step(report=self._made(pool, same), moved=moved, gone=len(ids) - len(docs))

    def _made(self, pool: Pool, docs: list[Doc]) -> Changed:
        if self.priority is not None:
            return pool.prioritize(docs, self.priority)
        report: Changed = getattr(pool, self.verb.name)(docs)
        return report

    def count_in(self, step: Step) -> bool:
        """Count a step in; whether there is another one."""
        self.outcome.add(step)
        self.done = min(self.done + _STEP, self.count)
        return self.done < self.count

    def forget(self) -> None:
        """Keep no more than what was done."""
        self._marks, self._ids = {}, []


class Changes:
    """All changes of a running page, the last few of them kept."""

    def __init__(self, desk: Desk, live: Live) -> None:
        self._desk = desk
        self._live = live
        self._all: OrderedDict[str, Change] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, verb: Verb, query: Query, **given: Any) -> Change:
        """Begin to find out which tokens a change is of; with ``waits`` it is made when `go` says so.

        Fields of `Change` may be ``given``.
        """
        self._make_room()
        query = replace(query, sort="", after="", limit=_LOOK)
        change = Change(key=secrets.token_urlsafe(12), verb=verb, query=query, **given)
        self._all[change.key] = change
        self._start(change, self._look(change))
        return change

    def find(self, key: str) -> Change:
        """The change of this key; NothingMatched when it is not known any more."""
        change = self._all.get(key)
        if change is None:
            raise NothingMatched(
                "there is no such change any more", hint="what was done stays done; choose the tokens once more"
            )
        return change

    def go(self, change: Change) -> None:
        """Make it, or go on with it; nothing when that is so already. Conflict when it cannot be made."""
        if change.phase in (Phase.ASKING, Phase.STOPPED):
            change.phase, change.error = Phase.DOING, None
            self._start(change, self._do(change))
        elif change.phase in (Phase.LOOKING, Phase.FAILED):
            raise Conflict("it is not known yet which tokens are meant")

    def stop(self, change: Change) -> None:
        """Stop after the step that is being made."""
        if change.phase is Phase.DOING:
            change.phase = Phase.STOPPED

    async def settled(self, change: Change, seconds: float) -> None:
        """Wait until a change needs no time, but not for long."""
        task = self._tasks.get(change.key)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)

    def close(self) -> None:
        """Stop all of them where they are."""
        for task in self._tasks.values():
            task.cancel()

    def _make_room(self) -> None:
        while len(self._all) >= _MOST_CHANGES or sum(one.kept for one in self._all.values()) > _MOST_KEPT:
            oldest = next((one for one in self._all.values() if one.phase not in _BUSY), None)
            if oldest is None:
                raise Busy("as many changes are being made as there may be; wait for one of them to end")
            del self._all[oldest.key]

    def _start(self, change: Change, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[change.key] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._ended(change, done))

    def _ended(self, change: Change, task: asyncio.Task[None]) -> None:
        if self._tasks.get(change.key) is task:
            del self._tasks[change.key]
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("changing tokens from the page", exc_info=fault)
            change.phase = Phase.STOPPED if change.phase is Phase.DOING else Phase.FAILED
            change.error = PicasError(f"this is a fault of picas: {type(fault).__name__}")

    async def _look(self, change: Change) -> None:
        after: str = ""
        try:
            while True:
                query = replace(change.query, after=after)
                found = await self._desk.do(lambda pool, query=query: find(pool, query))  # type: ignore[misc]
                change.take(found.docs)
                change.looked_at += found.looked_at
                if change.count > MOST_TOKENS:
                    raise _too_many(change.verb)
                if not found.next:
                    break
                after = found.next
                await asyncio.sleep(_PAUSE)
            if change.expect not in (None, change.count):
                raise Conflict(f"{change.count:,} tokens match, and not {change.expect:,}: nothing was done")
        except PicasError as error:
            change.phase, change.error = Phase.FAILED, error
            change.forget()
            return
        change.phase = Phase.ASKING
        if not change.waits:
            change.phase = Phase.DOING
            await self._do(change)

    async def _do(self, change: Change) -> None:
        log.info("%s of %d tokens, from the page", change.verb.name, change.count)
        goes_on = change.done < change.count
        try:
            while goes_on and change.phase is Phase.DOING:
                goes_on = change.count_in(await self._desk.do(change.step))
                await asyncio.sleep(_PAUSE)
        except PicasError as error:
            change.phase, change.error = Phase.STOPPED, error
        self._live.changed()
        if not goes_on:
            change.phase = Phase.OVER
            change.forget()


def _mark(doc: Doc) -> tuple[str, int]:
    """What a token must still be like for a change that was agreed to."""
    return str(state_of(doc)), fence_of(doc)


def _too_many(verb: Verb) -> UsageError:
    hint = f"`picas {verb.name}` takes any number; or narrow it down by a view, a condition or a tag"
    return UsageError(f"more than {MOST_TOKENS:,} tokens match, which are too many for the page", hint=hint)
