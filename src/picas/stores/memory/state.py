"""The state that all handles on one pool in memory share, and the steps that change it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken, NoSuchView, UsageError
from picas.lifecycle import Doc, State
from picas.selectors import Selector, matches
from picas.stores.base import Claim, PilotRecord, Settlement, lost
from picas.stores.live import Tail
from picas.stores.memory.rows import File, Row, check, content, listed
from picas.stores.steering import Pause
from picas.tokens import Requirements
from picas.views import MONITOR, Design, View, no_handwritten

__all__ = ["Pool"]


class Pool:
    """What the handles on one pool share. Every method is called within `step`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self.sequence = 0
        self._undo: list[tuple[str, Row | None]] = []
        self.clear()

    def clear(self) -> None:
        self.rows: dict[str, Row] = {}
        self.pilots: dict[str, tuple[PilotRecord, float]] = {}
        self.followers: dict[str, dict[str, float]] = {}
        self.tails: dict[str, list[Tail]] = {}
        self.designs = {MONITOR.name: MONITOR}
        self.pause: Pause | None = None
        self._dependents: dict[str, dict[str, None]] = {}
        self.sequence += 1

    @contextmanager
    def step(self) -> Iterator[None]:
        """Alone, all or nothing; whoever waits for a change is told of it."""
        with self.changed:
            self._undo, before = [], self.sequence
            try:
                yield
            except BaseException:
                for token_id, row in reversed(self._undo):
                    self._restore(token_id, row)
                raise
            if self.sequence != before:
                self.changed.notify_all()

    def add(self, doc: Doc, *, as_given: bool = False) -> str | Conflict:
        new = {**doc} if as_given else lifecycle.put(doc)
        token_id = tokens.check_id(doc.get("_id")) if as_given else tokens.check(new)
        check(new)
        if "_rev" in doc or token_id in self.rows:
            return Conflict(f"token {token_id} exists already", hint="read it, and update it")
        return self._write_free(new).revision

    def change(self, doc: Doc) -> str | Conflict:
        token_id = tokens.check_id(doc.get("_id"))
        check(doc)
        row = self.rows.get(token_id)
        if row is None or row.revision != doc.get("_rev"):
            return Conflict(f"token {token_id} has been changed or deleted meanwhile", hint="read it again")
        return self._write_free(doc).revision

    def remove(self, doc: Doc) -> bool:
        row = self.rows.get(doc.get("_id", ""))
        if row is None or row.revision != doc.get("_rev"):
            return False
        self._replace(row.doc["_id"], None)
        return True

    def settle(self, settlement: Settlement) -> Doc | Conflict | InvalidToken:
        try:
            return self._settle(settlement)
        except InvalidToken as refused:
            return refused

    def _settle(self, settlement: Settlement) -> Doc | Conflict:
        token_id, fence = settlement.doc["_id"], lifecycle.fence_of(settlement.doc)
        row = self.rows.get(token_id)
        if row is None or not lifecycle.is_same_claim(row.doc, settlement.doc):
            return lost(token_id, fence, row.doc if row else {})
        files = {tokens.check_attachment_name(name): content(one) for name, one in settlement.attachments.items()}
        new = {**lifecycle.settle(row.doc, settlement.outcome, self.clock()), "_id": token_id}
        check(new)
        return self.write(new, files).copy()

    def claim(self, wish: Claim) -> list[Doc]:
        if self.pause is not None:
            return []
        now = self.clock()
        fitting = (row for row in self.waiting_in(wish.view) if row.not_before <= now and _fits(row.doc, wish.offer))
        chosen = _apart(heapq.nsmallest(wish.count, fitting, key=lambda row: row.rank), wish.suspects)
        return [self.write(lifecycle.claim(row.doc, wish.claimant, now)).copy() for row in chosen]

    def select(self, view: View | None, where: Selector | None) -> Iterator[Row]:
        """The rows of a view, or all, that match; in order of age."""
        no_handwritten(view)
        conditions = [where, self._design(view.design).selector if view else None]
        asked = [condition for condition in conditions if condition is not None]
        for row in self.rows.values():
            if (view is None or row.state is view.state) and all(matches(one, row.doc) for one in asked):
                yield row

    def waiting_in(self, view: View) -> Iterator[Row]:
        if view.state is not State.TODO:
            raise UsageError(f"nothing can be claimed from view {view}", hint="claim from a todo view")
        return self.select(view, None)

    def held_by(self, pilot: str) -> list[Row]:
        locked = (row for row in self.rows.values() if row.state is State.LOCKED)
        held = (row for row in locked if lifecycle.holds(row.doc, lifecycle.fence_of(row.doc)))
        return [row for row in held if row.doc["claim"].get("pilot") == pilot]

    def heard(self, record: PilotRecord) -> str:
        """Note a pilot's beat; the orders left for it."""
        known = self.pilots.get(record.id)
        orders = known[0].orders if known else ""
        self.pilots[record.id] = replace(record, orders=orders), self.clock()
        return orders

    def write(self, doc: Doc, files: Mapping[str, tuple[str, bytes]] | None = None) -> Row:
        """Store a document in a new revision, with the attachments it lists and these files, and let dependents go."""
        token_id: str = doc["_id"]
        old = self.rows.get(token_id)
        generation = old.generation + 1 if old else 1
        kept = listed(doc, old, generation)
        kept |= {name: File.new(*content, generation) for name, content in (files or {}).items()}
        self.sequence += 1
        row = Row.new(doc, sequence=self.sequence, old=old, files=kept)
        self._replace(token_id, row)
        if row.state is State.DONE:
            self._release(token_id)
        return row

    def _write_free(self, doc: Doc) -> Row:
        return self.write(lifecycle.ready(doc) if self._is_released(doc) else doc)

    def _replace(self, token_id: str, row: Row | None) -> None:
        self._undo.append((token_id, self.rows.get(token_id)))
        self.sequence += 1
        self._restore(token_id, row)
        for name in lifecycle.awaited(row.doc) if row and row.state is State.HELD else ():
            self._dependents.setdefault(name, {})[token_id] = None

    def _restore(self, token_id: str, row: Row | None) -> None:
        if row is None:
            self.rows.pop(token_id, None)
        else:
            self.rows[token_id] = row

    def _release(self, token_id: str) -> None:
        for dependent in list(self._dependents.get(token_id, ())):
            row = self.rows.get(dependent)
            if row is None or row.state is not State.HELD:
                del self._dependents[token_id][dependent]
            elif self._is_released(row.doc):
                self.write(lifecycle.ready(row.doc))

    def _is_released(self, doc: Doc) -> bool:
        if lifecycle.state_of(doc) is not State.HELD or not (names := lifecycle.awaited(doc)):
            return False
        return all(name in self.rows and self.rows[name].state is State.DONE for name in names)

    def _design(self, name: str) -> Design:
        if name not in self.designs:
            raise NoSuchView(f"no design document named {name!r}", hint=f"there are {', '.join(self.designs)}")
        return self.designs[name]


def _apart(chosen: list[Row], suspects: bool) -> list[Row]:
    """The rows before the first suspect; that one alone when it comes first."""
    place = next((place for place, row in enumerate(chosen) if lifecycle.is_suspect(row.doc)), len(chosen))
    return chosen[: place or (1 if suspects else 0)]


def _fits(doc: Doc, offer: Requirements | None) -> bool:
    if offer is None:
        return True
    try:
        return tokens.requirements(doc).within(offer)
    except InvalidToken:
        return False
