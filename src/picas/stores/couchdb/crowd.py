"""How many others claim from the same queue, and how far apart pilots should begin so that they seldom meet."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Mapping, Sequence
from typing import Any

from picas.stores.couchdb.scripts import LOCKED
from picas.stores.steering import Pause

__all__ = ["Crowd"]

_chance = random.SystemRandom()

_ROOM = 16
"""Places to begin for each token that others hold."""
_WIDEST = 1 << 17

_BELIEVED = 10.0
"""Seconds for which the number of tokens that others hold is believed where there are others."""

_ALPHABETS = (string.digits, string.digits + "abcdef", string.digits + string.ascii_lowercase, string.printable[:94])
_DRAWS = 64


class Crowd:
    """What a pilot knows of others: from their records, from reading the queue, and from claims that it lost to them.

    ``reach`` is how far behind the head it may begin: nought when it is alone. ``mine`` are the tokens it holds,
    ``others`` how many the others hold or are about to claim, ``pilots`` how many there were when somebody last looked.
    ``pause`` is that of the pool, when it was last read.
    """

    def __init__(self) -> None:
        self.known = False
        self.of_top_priority = 0
        self.reach = 0
        self.mine = 0
        self.pilots = 1
        self.pause: Pause | None = None
        self.pause_read_at = float("-inf")
        self._locked = 0
        self._learned_at = 0.0
        self.others = 0
        self._spread = 0

    def learn(self, top: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping[str, Any]] | None, count: int) -> None:
        """Take in how many tokens have the highest priority, and, when that was asked, how many rows of each kind there
        are. ``count`` is how many this pilot claims; those that came at the same moment will want as many.
        """
        self.known = True
        self.of_top_priority = top[0]["value"] if top else 0
        if kinds is not None:
            self._locked = next((row["value"] for row in kinds if row["key"] == [LOCKED]), 0)
            self._learned_at = time.monotonic()
        self.others = max(self._locked - self.mine, (self.pilots - 1) * count)
        self.reach = min(_WIDEST, max(self._spread, _ROOM * self.others))

    def is_old(self) -> bool:
        """Whether it is time to count what others hold again."""
        return not self.reach or time.monotonic() - self._learned_at > _BELIEVED

    def share(self, count: int) -> int:
        """How many tokens are this pilot's part of the queue, when all claim so many; ``count`` when it is alone."""
        return self.of_top_priority * count // (self.others + count) if self.reach else self.of_top_priority

    def tried(self, claims: int, conflicts: int) -> None:
        """How claims went: the more were lost to others, the farther apart the next windows begin."""
        self.mine += claims - conflicts
        if conflicts * 4 > claims:
            self._spread = min(_WIDEST, max(2 * self._spread, 4 * claims, 64))
        elif not conflicts:
            self._spread = self._spread * 7 // 8
        self.reach = max(self.reach, self._spread)

    def between(self, low: str, high: str) -> str:
        """An id at random between two: as likely to be near any as ids of numbers or of chance are spread."""
        start = next((place for place, pair in enumerate(zip(low, high, strict=False)) if len(set(pair)) > 1), len(low))
        letters = next((known for known in _ALPHABETS if set(low[start:] + high[start:]) <= set(known)), _ALPHABETS[-1])
        for _ in range(_DRAWS):
            drawn = low[:start] + "".join(_chance.choices(letters, k=max(len(low), len(high)) - start))
            if low <= drawn <= high:
                return drawn
        return low

    def skip(self) -> int:
        """How many rows to pass over, at random, of a view that does not tell how long it is."""
        return _chance.randint(0, self.reach)
