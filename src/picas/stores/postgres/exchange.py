"""Settling what is finished and claiming what is next: one transaction, of two round trips as a rule.

On the first trip go the results, each in place of the very revision that was claimed, and the question for what waits;
on the second the claims, the files of the results, and the commit. A result whose token was changed meanwhile is
applied to what is stored now, as long as its claim is in force.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from picas import lifecycle
from picas.errors import Conflict, InvalidToken, StoreUnavailable
from picas.lifecycle import Doc, Outcome, Reason, State, fence_of, is_same_claim
from picas.selectors import Selector, matches, to_postgres
from picas.stores.base import Claim, Exchange, Settlement, lost
from picas.stores.derived import STATES, chosen, fits, next_rev, read, settled, state_number
from picas.stores.postgres import files, rows
from picas.stores.postgres.connection import Database, Sql, Unsettled
from picas.stores.postgres.rows import Tally
from picas.views import View

__all__ = ["Exchanger"]

Answer = Doc | Conflict | InvalidToken
_Key = tuple[str, int, object]

_UNBEGUN = Outcome(reason=Reason.STOPPED, give_back=True)
_DONE, _LOCKED, _TODO = STATES[State.DONE], STATES[State.LOCKED], STATES[State.TODO]

_HEAD = (-(1 << 62), -1)
_SLOW = 0.01
"""Seconds of looking at the head of the queue that are too many."""
_RATIO, _LONGEST = 20, 5.0
"""A look at the head takes a twentieth of the time at most; and it is looked at that often at least."""
_LEAST = 32
"""Tokens that are looked at at least where not all of them need fit."""


@dataclass(frozen=True)
class _Outcome:
    """What a transaction came to: an answer for each settlement, in order, and what was claimed."""

    answers: Sequence[Answer]
    claimed: Sequence[Doc]


class Exchanger:
    """Carries out exchanges. After StoreUnavailable the same call goes on where this one ended.

    Until then is remembered what a transaction came to whose end is not known: results by claim, and claims.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._number: str | None = None
        self._accepted: dict[_Key, Answer] = {}
        self._ahead: list[Doc] = []
        self._before: tuple[dict[_Key, Answer], list[Doc]] = ({}, [])
        self._heads: dict[View, _Head] = {}

    def exchange(self, settlements: Sequence[Settlement], wish: Claim | None, selector: Selector | None) -> Exchange:
        """`TokenStore.exchange`; ``selector`` is that of the view claimed from."""
        self._recall()
        known, ahead = dict(self._accepted), list(self._ahead)
        answers = [known.pop(_key(one.doc), None) for one in settlements]
        wanted = wish.count if wish else 0
        left = [one for one, answer in zip(settlements, answers, strict=True) if answer is None]
        unbegun = [Settlement(doc=doc, outcome=_UNBEGUN) for doc in ahead[wanted:]]
        rest = _beside(ahead, wish) if wish else None
        head = self._heads.setdefault(wish.view, _Head()) if wish else _Head()

        def carry_out(sql: Sql) -> _Outcome:
            now = self._database.now()
            return _carry_out(sql, [*left, *unbegun], _Queue(sql, rest, selector, head, now), now)

        try:
            done = self._database.write(carry_out)
        except Unsettled as error:
            made: _Outcome = error.outcome
            self._number = error.number
            self._before = (dict(self._accepted), list(self._ahead))
            for one, answer in zip(left, made.answers, strict=False):
                self._accepted.setdefault(_key(one.doc), answer)
            self._ahead = [*ahead, *made.claimed]
            raise
        self._accepted, self._ahead = {}, []
        new = iter(done.answers)
        return Exchange(
            settled=[next(new) if answer is None else answer for answer in answers],
            claimed=[*ahead[:wanted], *done.claimed],
        )

    def give_back(self) -> None:
        """Put back what was claimed in a step that failed, if anything."""
        if self._number is not None or self._ahead:
            self.exchange([], None, None)

    def _recall(self) -> None:
        """Find out about a step whose end was not known, and forget what it came to if it did not take place."""
        if self._number is not None:
            took_place = self._database.took_place(self._number)
            if took_place is None:
                url = self._database.address.url
                raise StoreUnavailable(f"pool {url} does not know yet what became of a write", hint="try again")
            if not took_place:
                self._accepted, self._ahead = self._before
            self._number = None
        if self._ahead:
            # What was claimed, and is not ours any more, went to somebody else since.
            ids = [doc["_id"] for doc in self._ahead]
            found = self._database.rows("SELECT id, doc::text FROM @tokens WHERE id = ANY(%s)", ids)
            stored = {token_id: read(text) for token_id, text in found}
            self._ahead = [doc for doc in self._ahead if is_same_claim(stored.get(doc["_id"], {}), doc)]


def _beside(ahead: Sequence[Doc], wish: Claim) -> Claim:
    """The rest of a claim of which some was granted already: a token that one more loss would end stays alone."""
    is_alone = any(lifecycle.is_suspect(doc) for doc in ahead)
    count = 0 if is_alone else max(0, wish.count - len(ahead))
    return replace(wish, count=count, suspects=wish.suspects and not ahead)


def _carry_out(sql: Sql, settlements: Sequence[Settlement], queue: _Queue, now: float) -> _Outcome:
    answers: list[Answer | None] = [None] * len(settlements)
    results, later = _results(settlements, now)
    revs = [settlements[place].doc["_rev"] for place in results]
    sent = rows.write(sql, list(results.values()), revs=revs) if results else None
    done = [doc["_id"] for doc in results.values() if state_number(doc) == _DONE]
    waiting = sql.run("SELECT 1 FROM @waits WHERE needs = ANY(%s) LIMIT 1", done) if done else None
    # What goes back to the queue by its settlement is to be found there by the claim.
    if not later:
        queue.ask()
    number = sql.ask_number()
    written = {row[0] for row in sent.fetchall()} if sent else set()
    stored = {place: doc for place, doc in results.items() if doc["_id"] in written}
    tally = rows.changed([_LOCKED] * len(stored), [state_number(doc) for doc in stored.values()])
    for place, doc in stored.items():
        answers[place] = doc
    if waiting is not None and waiting.fetchall():
        rows.release_dependents(sql, [token_id for token_id in done if token_id in written])
    files.add(sql, [(doc["_id"], settlements[place].attachments) for place, doc in stored.items()])
    for place in sorted({*later, *results} - stored.keys()):
        answers[place] = _settle(sql, settlements[place], tally, now)
    claimed = queue.claim()
    tally.update(rows.changed([_TODO] * len(claimed), [_LOCKED] * len(claimed)))
    rows.note(sql, tally)
    sql.note_number(number)
    return _Outcome([answer for answer in answers if answer is not None], claimed)


def _results(settlements: Sequence[Settlement], now: float) -> tuple[dict[int, Doc], list[int]]:
    """The documents that can be written at once, in place of the revisions that were claimed, by the settlement's
    place; and the places of those that must be looked at first.
    """
    results: dict[int, Doc] = {}
    later: list[int] = []
    seen: set[str] = set()
    for place, settlement in enumerate(settlements):
        doc = settlement.doc
        is_first = doc["_id"] not in seen
        seen.add(doc["_id"])
        if not (is_first and isinstance(doc.get("_rev"), str) and is_same_claim(doc, doc)) or "_attachments" in doc:
            later.append(place)
            continue
        try:
            new = settled(settlement, doc, now)
        except InvalidToken:
            later.append(place)
            continue
        if "_attachments" in new or state_number(new) == _TODO:
            later.append(place)
        else:
            results[place] = files.with_stubs(rows.rewritten(new), settlement.attachments)
    return results, later


def _settle(sql: Sql, settlement: Settlement, tally: Tally, now: float) -> Answer:
    """Apply one outcome to the document as it is stored, if the claim is still in force."""
    token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
    row = sql.one("SELECT doc::text FROM @tokens WHERE id = %s FOR UPDATE", token_id)
    current = read(row[0]) if row else {}
    if not is_same_claim(current, settlement.doc):
        return lost(token_id, fence, current)
    try:
        new = files.take_inline(sql, settled(settlement, current, now))
    except InvalidToken as error:
        return error
    for name in settlement.attachments.keys() & new.get("_attachments", {}).keys():
        files.drop(sql, token_id, name)
    new = files.with_stubs(rows.rewritten(new), settlement.attachments)
    files.add(sql, [(token_id, settlement.attachments)])
    rows.write(sql, [new])
    tally[_LOCKED] -= 1
    tally[state_number(new)] += 1
    sql.wakes |= state_number(new) == _TODO
    revs: dict[str, str] = {}
    rows.follow(sql, [(_LOCKED, new)], revs)
    return {**new, "_rev": revs.get(token_id, new["_rev"])}


class _Head:
    """Where to begin to look for work: at the head of the queue, as a rule.

    While somebody keeps a transaction open, what was claimed since cannot be cleared away, and each look at the head
    has to step over all of it. When that takes long, looks begin where the last one found something, for a while.
    """

    def __init__(self) -> None:
        self._after = _HEAD
        self._until = 0.0

    def after(self) -> tuple[int, int]:
        """The place behind which to look."""
        return self._after if time.monotonic() < self._until else _HEAD

    def learn(self, seconds: float, first: tuple[int, int]) -> None:
        """Take in how long a look at the head took, and where it found the first token."""
        if seconds > _SLOW:
            self._after = (first[0], first[1] - 1)
            self._until = time.monotonic() + min(_LONGEST, _RATIO * seconds)

    def forget(self) -> None:
        """Look at the head next."""
        self._until = 0.0


class _Queue:
    """What waits in a view, and the claim of some of it: rows that others are about to claim are passed over."""

    def __init__(self, sql: Sql, wish: Claim | None, selector: Selector | None, head: _Head, now: float) -> None:
        self._sql = sql
        self._wish = wish if wish and wish.count > 0 else None
        self._now = now
        self._selector = selector
        condition, self._values, self._exact = to_postgres(selector) if selector else ("true", [], True)
        self._query = f"""SELECT rank, seq, requires, doc::text FROM @tokens WHERE state = 1
            AND (not_before IS NULL OR not_before <= %s) AND (requires IS NULL OR requires <> ALL(%s::text[]))
            AND (rank, seq) > (%s, %s) AND {condition} AND NOT EXISTS (SELECT FROM @meta WHERE pause IS NOT NULL)
            ORDER BY rank, seq LIMIT %s FOR UPDATE SKIP LOCKED"""
        self._unfit: set[str] = set()
        self._head = head
        self._begun = self._after = head.after()
        self._asked: Any = None
        self._limit = 0

    def ask(self) -> None:
        """Send the question; `claim` takes the answer."""
        if self._wish is not None:
            self._limit = self._wish.count if self._exact else max(_LEAST, self._wish.count)
            values = [self._now, list(self._unfit), *self._after, *self._values, self._limit]
            self._asked = self._sql.run(self._query, *values)

    def claim(self) -> list[Doc]:
        """Lock the next tokens that fit the offer, in order of priority, then age."""
        if self._wish is None:
            return []
        news = []
        for doc in self._candidates(self._wish):
            new = lifecycle.claim(doc, self._wish.claimant, self._now)
            new["_rev"] = next_rev(doc["_rev"])
            news.append(new)
        if news:
            rows.write(self._sql, news)
        return news

    def _candidates(self, wish: Claim) -> list[Doc]:
        """As many as are wanted; where some that were found do not fit, the next are asked for."""
        kept: dict[tuple[int, int], tuple[None, str | None, str]] = {}
        while True:
            found = self._answer()
            for rank, seq, requires, text in found:
                if not fits(requires, wish.offer):
                    self._unfit |= {requires} if requires else set()
                elif self._exact or self._selector is None or matches(self._selector, read(text)):
                    kept[rank, seq] = (None, requires, text)
            best = [doc for _, doc in chosen([kept[place] for place in sorted(kept)], wish)]
            if len(best) >= wish.count or len(best) < len(kept):
                return best
            if len(found) >= self._limit:
                self._after = found[-1][:2]
            elif self._begun != _HEAD:
                # What there is may lie before the place where this look began.
                self._head.forget()
                self._begun = self._after = _HEAD
            else:
                return best

    def _answer(self) -> list[Any]:
        if self._asked is None:
            self.ask()
        begun = time.monotonic()
        found: list[Any] = self._asked.fetchall()
        self._asked = None
        if found and self._after == _HEAD:
            self._head.learn(time.monotonic() - begun, found[0][:2])
        return found


def _key(doc: Doc) -> _Key:
    claim = doc.get("claim")
    return doc["_id"], fence_of(doc), claim.get("pilot") if isinstance(claim, Mapping) else None
