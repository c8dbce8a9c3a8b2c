"""Tokens that wait for others (``after``): let go when the last of those is done.

Whoever writes a token as done looks afterwards who waits for it, and whoever writes a token that waits looks afterwards
whether what it waits for is done: of two that do so at once, one sees the other. What a process that died in between
left behind is found by `Dependents.sweep`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from picas import lifecycle
from picas.errors import NoSuchView
from picas.lifecycle import Doc, State, awaited, state_of
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.scripts import AFTER, COMPANION, INDEX, all_of
from picas.stores.couchdb.writer import Writer

__all__ = ["Dependents", "waits"]

_chance = random.SystemRandom()

_BELIEVED = 10.0
"""Seconds for which it is believed that no token waits, when none did."""
_TRIES = 20
_BATCH = 500


class Dependents:
    """Lets tokens go that wait no longer.

    Whether any token waits at all is read with the queue (`query`), so that in a pool where none does a settlement
    costs no request more. Who came to wait in between is looked for with the next reading, or found by `sweep`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = Writer(database)
        self._none_waits_at = float("-inf")
        self._later: list[str] = []

    def query(self) -> dict[str, Any]:
        """What is to be asked of the index together with the queue; `answer` takes the rows."""
        return {**all_of(AFTER), "reduce": False, "limit": 1}

    def answer(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Take in whether any token waits, and let those go that waited for what was done since the last time."""
        self._none_waits_at = float("-inf") if found else time.monotonic()
        done, self._later = self._later, []
        if found and done:
            self._release(done)

    def release(self, done: Sequence[str]) -> bool:
        """Let those go that waited for one of these tokens last; whether there were any."""
        if time.monotonic() - self._none_waits_at < _BELIEVED:
            self._later += done
            return False
        later, self._later = self._later, []
        return self._release([*later, *done])

    def waiting(self, ids: Sequence[str]) -> dict[str, str]:
        """Take note of tokens that came to wait; the new revisions of those that need not."""
        self._none_waits_at = float("-inf")
        return self.look(ids)

    def _release(self, done: Sequence[str]) -> bool:
        try:
            rows, _ = self._database.view(COMPANION, INDEX, [[AFTER, token_id] for token_id in done], reduce=False)
        except NoSuchView:
            return False
        return bool(self.look(dict.fromkeys(row["id"] for row in rows)))

    def look(self, ids: Iterable[str]) -> dict[str, str]:
        """Let those of these tokens go that wait for nothing any more; their new revisions."""
        revisions: dict[str, str] = {}
        left = list(ids)
        for start in range(0, len(left), _BATCH):
            self._look(left[start : start + _BATCH], revisions)
        return revisions

    def sweep(self) -> int:
        """Look at every token that waits; how many were let go."""
        try:
            rows, _ = self._database.view(COMPANION, INDEX, group=True, **all_of(AFTER))
        except NoSuchView:
            return 0
        states = self._states(row["key"][1] for row in rows)
        done = [parent for parent, state in states.items() if state is State.DONE]
        if not done:
            return 0
        rows, _ = self._database.view(COMPANION, INDEX, [[AFTER, parent] for parent in done], reduce=False)
        return len(self.look(dict.fromkeys(row["id"] for row in rows)))

    def _look(self, ids: list[str], revisions: dict[str, str]) -> None:
        for failures in range(_TRIES):
            docs = [doc for doc in self._database.docs(ids) if doc is not None and waits(doc)]
            states = self._states({name for doc in docs for name in awaited(doc)})
            free = [doc for doc in docs if all(states[name] is State.DONE for name in awaited(doc))]
            if not free:
                return
            answers = self._writer.write([lifecycle.ready(doc) for doc in free])
            revisions |= {doc["_id"]: rev for doc, rev in zip(free, answers, strict=True) if isinstance(rev, str)}
            ids = [doc["_id"] for doc, rev in zip(free, answers, strict=True) if not isinstance(rev, str)]
            if not ids:
                return
            time.sleep(_chance.uniform(0.0, 0.01 * failures))

    def _states(self, ids: Iterable[str]) -> dict[str, State | None]:
        names = list(ids)
        states: dict[str, State | None] = {}
        for start in range(0, len(names), _BATCH):
            part = names[start : start + _BATCH]
            docs = self._database.docs(part)
            states |= {name: state_of(doc) if doc else None for name, doc in zip(part, docs, strict=True)}
        return states


def waits(doc: Doc) -> bool:
    """Whether it is held for others, and not by a person."""
    return state_of(doc) is State.HELD and bool(awaited(doc))
