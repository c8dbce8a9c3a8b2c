"""Who follows a pilot's tokens, and what it sent of them: two ``_local/`` documents beside the pilot's record.

The first is written by who follows, the second by the pilot alone. Of two who write the first at once one may be undone
by the other, since nothing is checked in the writing; whoever follows asks again every few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from picas.stores.couchdb.database import Database
from picas.stores.couchdb.pilots import Pilots
from picas.stores.live import Tail, asking, dump_tails, still_asking, tails_of

__all__ = ["Live"]

# Not of the kind of pilots' records, which are all read at every look for silent ones.
_FOLLOWERS, _TAILS = "_local/picas-live:followers:", "_local/picas-live:tails:"


class Live:
    """What running commands write, and who follows it; time is the server's."""

    def __init__(self, database: Database, now: Callable[[], float], pilots: Pilots) -> None:
        self._database = database
        self._pilots = pilots
        self._now = now

    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        """Have a token followed; False when there is no such pilot."""
        if not self._pilots.is_known(pilot):
            return False
        until = asking(self._until(pilot), token_id, self._now(), seconds)
        self._pilots.write(f"{_FOLLOWERS}{pilot}", {"until": until})
        return True

    def has_followers(self, pilot: str) -> bool:
        """Always False: a pilot that works listens to no changes, and nobody can tell it of one."""
        del pilot
        return False

    def followed(self, pilot: str) -> frozenset[str]:
        """The tokens of a pilot that are followed now."""
        return still_asking(self._until(pilot), self._now())

    def send(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        """Replace what a pilot sent; the tokens that are followed."""
        if tails:
            self._pilots.write(f"{_TAILS}{pilot}", {"tails": json.loads(dump_tails(tails))})
        else:
            self._remove(f"{_TAILS}{pilot}")
        return self.followed(pilot)

    def tails(self, pilot: str) -> list[Tail]:
        """What a pilot sent last."""
        return tails_of(json.dumps((self._database.doc(f"{_TAILS}{pilot}") or {}).get("tails", [])))

    def forget(self, pilot: str) -> None:
        """Remove what there is of a pilot."""
        for kind in (_FOLLOWERS, _TAILS):
            self._remove(f"{kind}{pilot}")

    def _until(self, pilot: str) -> dict[str, float]:
        return dict((self._database.doc(f"{_FOLLOWERS}{pilot}") or {}).get("until", {}))

    def _remove(self, doc_id: str) -> None:
        doc = self._database.doc(doc_id)
        if doc is not None:
            self._database.remove(doc_id, doc.get("_rev"))
