"""The tokens that a pilot holds and has not finished: which of them wait, which are with the runners."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from picas import tokens
from picas.errors import InvalidToken
from picas.lifecycle import Doc, fence_of, is_suspect
from picas.pilot.slots import Amounts, Durations, Grant, RunLength, Slots, amounts_of, reserve
from picas.tokens import Requirements

__all__ = ["Holding", "Holdings"]

_LOOKED_AT = 64
"""Waiting tokens that are looked at for one that may go before the first."""
_PATIENCE = 5.0
"""Seconds after which a token that cannot begin here may go to another pilot."""
_ELSEWHERE = 60.0
"""Seconds for which a pilot that gave such a token back claims only what could begin at once."""


@dataclass(slots=True)
class Holding:
    """One claimed token: its document, the cores it takes, its work folder, and when it was claimed or sent.

    ``needs`` is what it takes, None of a *plain* token: one core, and nothing else that is shared out. ``limit`` are
    the seconds it may take by its own word, 0 when it does not say. One that went before another whose turn it was is
    ``expected`` to have ended by then.
    """

    number: int
    doc: Doc
    cores: int
    needs: Amounts | None = None
    limit: float = 0.0
    kind: str = ""
    folder: str | None = None
    sent: bool = False
    grant: Grant | None = None
    since: float = field(default_factory=lambda: time.monotonic())
    expected: float = float("inf")


class Holdings:
    """What a pilot holds, how it shares out its slots, and how much more it should claim.

    Plain tokens queue up at the runners. One that asks for more goes when all it asks for is free, and nothing is
    queued while such ones run. While the first in line cannot go, others may by the rule of `slots`.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._cores = int(slots.offer.cores)
        self._held: dict[int, Holding] = {}
        self._waiting: deque[int] = deque()
        self._next = 0
        self._plain_sent = 0
        self._asking_sent = 0
        self._load = 0
        self._length = RunLength()
        self._width = 1.0
        self._durations = Durations()
        self._modest_until = 0.0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._held.values()))

    @property
    def running(self) -> int:
        """How many are being run, at most."""
        return min(len(self._held) - len(self._waiting), self._cores)

    def add(self, doc: Doc) -> None:
        """Take in a claimed token, to be sent after those that came before."""
        holding = self._held[self._next] = Holding(self._next, doc, 1)
        if doc.get("requires"):
            self._read(holding)
        self._waiting.append(self._next)
        self._next += 1
        self._load += holding.cores
        self._width = 0.9 * self._width + 0.1 * holding.cores

    def next(self) -> Holding | None:
        """The token to send next, if one may go now."""
        if not self._waiting:
            return None
        first = self._held[self._waiting[0]]
        if first.needs is None:
            free = not self._asking_sent or self._slots.fits(_PLAIN, self._plain_sent)
            return first if free else None
        if self._slots.fits(first.needs, self._plain_sent):
            return first
        return self._before(first)

    def sent(self, holding: Holding) -> None:
        """Note that this one has gone to the runners, with what `grant` gave it."""
        if self._waiting[0] == holding.number:
            self._waiting.popleft()
        else:
            self._waiting.remove(holding.number)
        holding.sent = True
        holding.since = time.monotonic()
        if holding.needs is None:
            self._plain_sent += 1
        else:
            self._asking_sent += 1

    def grant(self, holding: Holding) -> Grant | None:
        """Take for a token what it needs; None for a plain one. It goes back when the token is dropped."""
        if holding.needs is not None and holding.grant is None:
            holding.grant = self._slots.take(holding.needs)
        return holding.grant

    def get(self, number: int) -> Holding | None:
        """The token with this number, if it is still held."""
        return self._held.get(number)

    def drop(self, number: int) -> Holding | None:
        """Take a token out, whatever became of it."""
        holding = self._held.pop(number, None)
        if holding is None:
            return None
        self._load -= holding.cores
        self.withdraw(holding)
        if not holding.sent:
            self._waiting.remove(number)
        elif holding.needs is None:
            self._plain_sent -= 1
        else:
            self._asking_sent -= 1
        return holding

    def withdraw(self, holding: Holding) -> None:
        """Take back what a token was granted."""
        if holding.grant is not None:
            self._slots.give(holding.grant)
            holding.grant = None

    def measured(self, holding: Holding, runtime: float) -> None:
        """Learn from one more run how long runs take."""
        self._length.measured(runtime)
        self._durations.measured(holding.kind, runtime)

    @property
    def may_take_suspects(self) -> bool:
        """Whether a suspect may be claimed: only when nothing else would be lost with it."""
        return not self._held

    @property
    def wanted(self) -> int:
        """How many tokens to claim now: none as long as half of what should be at hand is."""
        if len(self._held) == 1 and any(is_suspect(holding.doc) for holding in self._held.values()):
            return 0
        if self._is_blocked():
            room = int(self._slots.free(self._plain_sent)["cores"])
            return max(0, room + self._length.ahead(room) - (len(self._waiting) - 1)) if room else 0
        ahead = self._cores + self._length.ahead(self._cores)
        return max(1, int((ahead - self._load) / self._width)) if self._load < max(self._cores, ahead // 2) else 0

    @property
    def offer(self) -> Requirements:
        """What tokens to claim may need: all there is; only what is free when others wait for more already."""
        if not self._held or not (self._is_blocked() or time.monotonic() < self._modest_until):
            return self._slots.offer
        return self._slots.left(self._plain_sent)

    def stuck(self) -> list[Holding]:
        """Those that have waited long for what others have."""
        if not self._waiting:
            return []
        since = time.monotonic() - _PATIENCE
        return [holding for number in self._waiting if (holding := self._held[number]).since < since]

    def be_modest(self) -> None:
        """For a while, claim nothing that could not begin at once: such tokens were left to other pilots."""
        self._modest_until = time.monotonic() + _ELSEWHERE

    def lost(self, held: dict[str, int]) -> list[Holding]:
        """Those that, by the store's word, are not this pilot's any more."""
        return [holding for holding in self if held.get(holding.doc["_id"]) != fence_of(holding.doc)]

    def _read(self, holding: Holding) -> None:
        """What a token asks for. Never more than there is: that would wait for ever."""
        try:
            need = tokens.requirements(holding.doc)
        except InvalidToken:
            return
        needs = {name: min(amount, self._slots.total(name)) for name, amount in amounts_of(need).items()}
        needs = {name: amount for name, amount in needs.items() if amount}
        holding.kind = json.dumps(holding.doc["requires"], sort_keys=True)
        holding.limit = need.time
        holding.cores = int(needs["cores"])
        if needs != _PLAIN:
            holding.needs = needs

    def _is_blocked(self) -> bool:
        """Whether the first in line waits for what others have."""
        first = self._held[self._waiting[0]] if self._waiting else None
        return first is not None and first.needs is not None and not self._slots.fits(first.needs, self._plain_sent)

    def _before(self, first: Holding) -> Holding | None:
        """One that may go before the first in line, which cannot go yet."""
        free = self._slots.free(self._plain_sent)
        now = time.monotonic()
        if free["cores"] < 1 or self._is_late(now) or len(self._waiting) == 1:
            return None
        running = [(self._end(one, now), one.needs or _PLAIN) for one in self._held.values() if one.sent]
        reserved = reserve(first.needs or _PLAIN, free, running)
        refused = {first.kind}
        for number in list(self._waiting)[1:_LOOKED_AT]:
            one = self._held[number]
            if one.kind in refused:
                continue
            end = now + self._durations.most(one.kind, one.limit)
            if self._slots.fits(one.needs or _PLAIN, self._plain_sent) and reserved.admits(one.needs or _PLAIN, end):
                one.expected = end if end <= reserved.at else float("inf")
                return one
            refused.add(one.kind)
        return None

    def _is_late(self, now: float) -> bool:
        """Whether one that went before others has not ended when it was to."""
        return any(one.sent and now > one.expected for one in self._held.values())

    def _end(self, holding: Holding, now: float) -> float:
        """When a running token is expected to end. One of which nothing is known has as much before it as behind it."""
        end = holding.since + self._durations.most(holding.kind, holding.limit)
        return end if now < end < float("inf") else now + (now - holding.since)


_PLAIN: dict[str, float] = {"cores": 1.0}
