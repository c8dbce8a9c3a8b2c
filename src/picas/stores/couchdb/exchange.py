"""Settling and claiming in one write; and what is known of a step whose answer did not arrive.

Rows of a ``_bulk_docs`` succeed or conflict each for itself. A settlement that conflicts is read again and, as long as
its claim is in force, applied to what is stored now; a claim that conflicts was somebody else's, and others are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from picas import lifecycle
from picas.errors import Conflict, InvalidToken, PicasError, StoreUnavailable
from picas.lifecycle import Doc, Outcome, Reason, State, fence_of, holds, state_of
from picas.stores.base import Claim, Exchange, Settlement, lost
from picas.stores.couchdb.bodies import result, stored_form
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.queue import Queue
from picas.stores.couchdb.writer import Writer, was_stored

__all__ = ["Exchanger"]

_ROUNDS = 40
"""Writes within one exchange: as many times a token may change, or be claimed by others, while it is tried."""

_UNBEGUN = Outcome(reason=Reason.STOPPED, give_back=True)

_Key = tuple[str, int, object]
Answer = Doc | Conflict | InvalidToken


@dataclass
class _Memory:
    """What a step that failed had reached: results accepted, results and claims that were sent."""

    accepted: dict[_Key, Doc] = field(default_factory=dict)
    sent: dict[_Key, Doc] = field(default_factory=dict)
    claims: dict[_Key, Doc] = field(default_factory=dict)


@dataclass
class _Step:
    """One exchange on its way: the answers so far, what is still to be settled, and what has been claimed."""

    settlements: Sequence[Settlement]
    answers: list[Answer | None]
    claimed: list[Doc] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    accepted: dict[_Key, Doc] = field(default_factory=dict)

    @property
    def open(self) -> list[int]:
        return [place for place, answer in enumerate(self.answers) if answer is None]

    def next_places(self) -> list[int]:
        """Settlements that can be tried together: one for each token."""
        first: dict[str, int] = {}
        for place in self.open:
            first.setdefault(self.settlements[place].doc["_id"], place)
        return list(first.values())


class Exchanger:
    """Carries out exchanges on a database. ``release`` is told the ids of tokens that are done; whether it let any go.

    With ``crowded`` (a cluster that keeps several copies) two pilots may both be told that a claim succeeded: what was
    claimed, and what is to be settled, is read back with its conflicts.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        now: Callable[[], float],
        release: Callable[[Sequence[str]], bool],
        *,
        crowded: bool = False,
    ) -> None:
        self._database = database
        self._writer = Writer(database)
        self._queue = queue
        self._now = now
        self._release = release
        self._crowded = crowded
        self._memory = _Memory()

    def exchange(self, settlements: Sequence[Settlement], wish: Claim | None) -> Exchange:
        """`TokenStore.exchange`. After StoreUnavailable the same call goes on where this one ended."""
        ahead = self._claims_sent()
        wanted = wish.count if wish else 0
        unbegun = [Settlement(doc=doc, outcome=_UNBEGUN) for doc in ahead[wanted:]]
        step = _Step([*settlements, *unbegun], [None] * (len(settlements) + len(unbegun)), ahead[:wanted])
        try:
            self._carry_out(step, wish)
        except PicasError:
            self._memory.accepted |= step.accepted
            self._memory.claims |= {_key(doc): doc for doc in [*step.claimed, *ahead]}
            raise
        self._memory = _Memory()
        self._queue.settled(len(step.settlements))
        settled = [answer for answer in step.answers[: len(settlements)] if answer is not None]
        return Exchange(settled=settled, claimed=step.claimed)

    def give_back(self) -> None:
        """Put back what was claimed in a step that failed, if anything."""
        if self._memory.claims:
            self.exchange([], None)

    def _carry_out(self, step: _Step, wish: Claim | None) -> None:
        current: dict[str, Doc | None] = {}
        if self._crowded and step.settlements:
            current = self._read(step, range(len(step.settlements)))
        # What goes back to the queue by its settlement is to be found there by the claim.
        waits = any(_goes_back(one) for one in step.settlements)
        if waits:
            self._queue.forget()
        for _ in range(_ROUNDS):
            results = self._results(step, step.next_places(), current)
            tries = [] if waits and results else self._candidates(wish, step)
            waits = False
            # A token that waits is held by nobody: its settlement is answered when the claim is written, not with it.
            claimed = {doc["_id"] for doc in tries}
            results = [(place, doc) for place, doc in results if doc["_id"] not in claimed]
            if results or tries:
                self._write(step, results, tries)
            if step.done and self._release(step.done):
                self._queue.forget()
            step.done = []
            if not (results or tries or step.open):
                break
            if step.open:
                current |= self._read(step, step.open)
            if not step.open and (wish is None or self._queue.enough(len(step.claimed), wish.count)):
                break
        for place in step.open:
            raise StoreUnavailable(f"token {step.settlements[place].doc['_id']} does not stop changing")

    def _results(self, step: _Step, places: Sequence[int], current: dict[str, Doc | None]) -> list[tuple[int, Doc]]:
        """The documents to write for settlements; those whose claim is over are answered here."""
        results = []
        for place in places:
            settlement = step.settlements[place]
            base = current.get(settlement.doc["_id"], settlement.doc)
            answer = self._result(settlement, base)
            if isinstance(answer, _New):
                results.append((place, answer.doc))
            else:
                step.answers[place] = answer
                if isinstance(answer, dict):
                    # Also for the next call, should this step fail too.
                    step.accepted[_key(settlement.doc)] = answer
                if isinstance(answer, dict) and state_of(answer) is State.DONE:
                    step.done.append(answer["_id"])
        return results

    def _result(self, settlement: Settlement, base: Doc | None) -> Answer | _New:
        fence, pilot = fence_of(settlement.doc), (settlement.doc.get("claim") or {}).get("pilot")
        key = (settlement.doc["_id"], fence, pilot)
        if key in self._memory.accepted:
            return self._memory.accepted.pop(key)
        if base is None or not holds(base, fence, pilot):
            sent = self._memory.sent.get(key)
            rev = was_stored(self._database, sent, base) if sent else None
            if sent and rev:
                return stored_form(sent, rev)
            if sent and base and _has_attempt(base, fence, pilot):
                return base
            return lost(settlement.doc["_id"], fence, base or {})
        try:
            return _New(result(base, settlement, self._now()))
        except InvalidToken as refused:
            return refused

    def _candidates(self, wish: Claim | None, step: _Step) -> list[Doc]:
        if wish is None or self._queue.enough(len(step.claimed), wish.count):
            return []
        now = self._now()
        mine = {doc["_id"] for doc in step.claimed}
        found = self._queue.candidates(wish, wish.count - len(step.claimed), now)
        if step.claimed and any(lifecycle.is_suspect(doc) for doc in [*step.claimed, *found]):
            return []  # Claimed alone.
        return [lifecycle.claim(doc, wish.claimant, now) for doc in found if doc["_id"] not in mine]

    def _write(self, step: _Step, results: list[tuple[int, Doc]], tries: list[Doc]) -> None:
        docs = [doc for _, doc in results]
        try:
            answers = self._writer.write([*docs, *tries])
        except PicasError:
            self._memory.sent |= {_key(step.settlements[place].doc): doc for place, doc in results}
            self._memory.claims |= {_key(doc): doc for doc in tries}
            raise
        for (place, doc), rev in zip(results, answers, strict=False):
            if isinstance(rev, str):
                self._accept(step, place, stored_form(doc, rev))
            elif isinstance(rev, InvalidToken):
                step.answers[place] = rev
        claims = zip(tries, answers[len(docs) :], strict=True)
        won = [stored_form(doc, rev) for doc, rev in claims if isinstance(rev, str)]
        self._queue.tried(len(tries), len(tries) - len(won))
        step.claimed += self._undisputed(won) if self._crowded and won else won

    def _accept(self, step: _Step, place: int, doc: Doc) -> None:
        step.answers[place] = doc
        step.accepted[_key(step.settlements[place].doc)] = doc
        if state_of(doc) is State.DONE:
            step.done.append(doc["_id"])

    def _read(self, step: _Step, places: Sequence[int] | range) -> dict[str, Doc | None]:
        ids = list(dict.fromkeys(step.settlements[place].doc["_id"] for place in places))
        return dict(zip(ids, self._database.docs(ids), strict=True))

    def _claims_sent(self) -> list[Doc]:
        """Claims of a step that failed which turn out to be in force."""
        claims, self._memory.claims = self._memory.claims, {}
        try:
            stored = self._database.docs([token_id for token_id, _, _ in claims])
        except PicasError:
            self._memory.claims = claims
            raise
        return [doc for (_, fence, pilot), doc in zip(claims, stored, strict=True) if doc and holds(doc, fence, pilot)]

    def _undisputed(self, won: list[Doc]) -> list[Doc]:
        """Those of our claims that stand when all copies have been asked; ours of the others is taken back."""
        stored = self._database.docs([doc["_id"] for doc in won], conflicts="true")
        kept: list[Doc] = []
        disputed: list[Doc] = []
        for mine, now in zip(won, stored, strict=True):
            stands = now is not None and holds(now, fence_of(mine), mine["claim"]["pilot"])
            (kept if stands else disputed).append(mine)
        if disputed:
            self._writer.write([{"_id": doc["_id"], "_rev": doc["_rev"], "_deleted": True} for doc in disputed])
        return kept


@dataclass(frozen=True)
class _New:
    """A document to be written."""

    doc: Doc


def _key(doc: Doc) -> _Key:
    claim: Any = doc.get("claim") or {}
    return doc["_id"], fence_of(doc), claim.get("pilot")


def _has_attempt(doc: Doc, fence: int, pilot: object) -> bool:
    """Whether the result of a claim is written in the token, and not merely that its pilot fell silent."""
    attempts = doc.get("attempts")
    known = [one for one in attempts if isinstance(one, dict)] if isinstance(attempts, list) else []
    mine = [one for one in known if (one.get("fence"), one.get("pilot")) == (fence, pilot)]
    return any(one.get("reason") != Reason.LOST for one in mine)


def _goes_back(settlement: Settlement) -> bool:
    """Whether a settlement leads back to the queue, as far as it tells."""
    outcome = settlement.outcome
    if isinstance(outcome, Outcome):
        return outcome.give_back or lifecycle.is_retried(settlement.doc, outcome)
    return outcome.changes.get("lock") == 0
