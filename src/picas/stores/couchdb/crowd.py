"""How many others claim from the same queue, and how far apart pilots should begin so that they seldom meet."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from picas.stores.couchdb.scripts import LOCKED

__all__ = ["Crowd"]

_chance = random.SystemRandom()

_ROOM = 16
"""Places to begin for each token that others hold."""
_WIDEST = 8192


class Crowd:
    """What a pilot knows of others from reading the queue, and from claims that it lost to them.

    ``reach`` is how far behind the head it may begin: nought when it is alone. ``mine`` are the tokens it holds.
    """

    def __init__(self) -> None:
        self.known = False
        self.of_top_priority = 0
        self.reach = 0
        self.mine = 0
        self._spread = 0

    def learn(self, top: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping[str, Any]]) -> None:
        """Take in how many tokens have the highest priority, and how many rows of each kind there are."""
        self.known = True
        self.of_top_priority = top[0]["value"] if top else 0
        locked = next((row["value"] for row in kinds if row["key"] == [LOCKED]), 0)
        self.reach = min(_WIDEST, max(self._spread, _ROOM * max(0, locked - self.mine)))

    def tried(self, claims: int, conflicts: int) -> None:
        """How claims went: the more were lost to others, the farther apart the next windows begin."""
        self.mine += claims - conflicts
        if conflicts * 4 > claims:
            self._spread = min(_WIDEST, max(2 * self._spread, 4 * claims, 64))
        elif not conflicts:
            self._spread = self._spread * 7 // 8
        self.reach = max(self.reach, self._spread)

    def skip(self, length: int | None, count: int) -> int:
        """A place to begin, at random, in a queue of so many tokens, which leaves room for ``count``."""
        room = self.reach if length is None else min(self.reach, length - count)
        return _chance.randint(0, max(0, room))
