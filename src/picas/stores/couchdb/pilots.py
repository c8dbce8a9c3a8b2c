"""Pilot records: ``_local/`` documents, which are no documents of the pool, wake nobody, and are not replicated.

A record is written by its pilot alone, the orders for it are in a record of their own: nothing is checked in the
writing of ``_local/`` documents, and the later of two writers would undo the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from picas.errors import NoSuchView
from picas.lifecycle import Doc, State, fence_of, holds, is_cancelled
from picas.stores.base import Beat, PilotRecord
from picas.stores.couchdb.crowd import Crowd
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.scripts import COMPANION, INDEX, LOCKED
from picas.stores.records import Watch, fields_of, record_of
from picas.stores.steering import Pause, pause_fields, pause_of
from picas.views import MONITOR

__all__ = ["Pilots"]

_KIND = "picas-pilot:"
_RECORD, _ORDERS = f"{_KIND}record:", f"{_KIND}orders:"
_PLACE = f"_local/{_RECORD}"
_REGISTER = "_local/picas-pilots"
_PAUSE = "_local/picas-pause"
_PAUSE_BELIEVED = 30.0
_PAGE = 500


class Pilots:
    """The pilots of a pool.

    ``silent`` is by the server's time, which a pilot writes into its record, ``watched`` by that of whoever looks.
    """

    def __init__(self, database: Database, now: Callable[[], float], crowd: Crowd) -> None:
        self._database = database
        self._crowd = crowd
        self._now = now
        self._beats = 0
        self._watch = Watch()
        self._listable: bool | None = None
        self._known: set[str] = set()

    def beat(self, record: PilotRecord) -> Beat:
        """Renew the lease; what the pilot holds, what of that is cancelled, and its orders."""
        self._beats += 1
        self.write(f"{_PLACE}{record.id}", {**fields_of(record), "at": self._now(), "beat": self._beats})
        if self._listable is None:
            known = self._database.local_docs(_KIND)
            self._listable = known is not None
            self._crowd.pilots = sum(_RECORD in doc["_id"] for doc in known or ())
        if not self._listable and record.id not in self._known:
            self._register(lambda ids: ids | {record.id})
            self._known.add(record.id)
        orders = f"_local/{_ORDERS}{record.id}"
        told = self._told([orders, _PAUSE])
        self._note_pause(told.get(_PAUSE, {}))
        held = {} if record.holding == 0 else dict(self._held(record.id))
        return Beat(
            held={token_id: fence for token_id, (fence, _) in held.items()},
            cancelled=frozenset(token_id for token_id, (_, cancelled) in held.items() if cancelled),
            orders=str(told.get(orders, {}).get("orders", "")),
        )

    def listed(self) -> list[PilotRecord]:
        """All records, by id."""
        found = self._database.local_docs(_KIND)
        known = {doc["_id"]: doc for doc in (found if found is not None else self._registered())}
        docs = {name[len(_PLACE) :]: doc for name, doc in known.items() if name.startswith(_PLACE)}
        beats = {pilot: (doc.get("beat"), doc.get("at")) for pilot, doc in docs.items()}
        watched = self._watch.look(beats, outages=self._database.http.outages, at=time.monotonic())
        now = self._now()
        records = []
        for pilot, doc in sorted(docs.items()):
            orders = known.get(f"_local/{_ORDERS}{pilot}", {}).get("orders", "")
            written = doc["at"] if isinstance(doc.get("at"), (int, float)) else 0.0
            records.append(record_of(doc, orders=orders, silent=max(0.0, now - written), watched=watched[pilot]))
        self._crowd.pilots = sum(record.alive for record in records)
        return records

    def order(self, pilot: str, orders: str) -> bool:
        """Leave orders for a pilot; whether it is known."""
        if not self.is_known(pilot):
            return False
        self.write(f"_local/{_ORDERS}{pilot}", {"orders": orders})
        return True

    def is_known(self, pilot: str) -> bool:
        """Whether there is a record of the pilot."""
        return self._database.doc(f"{_PLACE}{pilot}") is not None

    def forget(self, pilot: str) -> None:
        """Remove a pilot's record."""
        for kind in (_RECORD, _ORDERS):
            doc = self._database.doc(f"_local/{kind}{pilot}")
            if doc is not None:
                self._database.remove(doc["_id"], doc.get("_rev"))
        if self._listable is False:
            self._register(lambda ids: ids - {pilot})
            self._known.discard(pilot)

    def pause(self, pause: Pause | None) -> None:
        """Have claims find nothing, or again what there is."""
        self.write(_PAUSE, {"pause": pause_fields(pause) if pause else None})
        self.paused()

    def paused(self) -> Pause | None:
        """The pause in force, which all handles of this pilot obey from then on."""
        self._note_pause(self._database.doc(_PAUSE) or {})
        return self._crowd.pause

    def is_paused(self) -> bool:
        """Whether nothing is to be claimed, as far as is known: pilots ask with each beat, others now and then."""
        if time.monotonic() - self._crowd.pause_read_at > _PAUSE_BELIEVED:
            self.paused()
        return self._crowd.pause is not None

    def _held(self, pilot: str) -> Iterator[tuple[str, tuple[int, bool]]]:
        """The claims of a pilot that are in force: id, fence, and whether it is cancelled."""
        try:
            rows, _ = self._database.view(COMPANION, INDEX, key=[LOCKED, pilot], reduce=False)
        except NoSuchView:
            yield from self._held_of_all(pilot)
            return
        for row in rows:
            fence, cancelled = row["value"]
            yield row["id"], (fence if isinstance(fence, int) else 0, bool(cancelled))

    def _held_of_all(self, pilot: str) -> Iterator[tuple[str, tuple[int, bool]]]:
        """The same, where only the views of PiCaS are there."""
        rows, _ = self._database.view(MONITOR.name, str(State.LOCKED), include_docs=True)
        for doc in (row.get("doc") for row in rows):
            if doc and holds(doc, fence_of(doc), pilot):
                yield doc["_id"], (fence_of(doc), is_cancelled(doc))

    def _told(self, names: Sequence[str]) -> dict[str, Doc]:
        """Documents that others write for pilots to read."""
        if self._listable:
            return self._database.local_docs_named(names)
        return {name: doc for name in names if (doc := self._database.doc(name)) is not None}

    def _note_pause(self, doc: Mapping[str, Any]) -> None:
        self._crowd.pause = pause_of(doc.get("pause"))
        self._crowd.pause_read_at = time.monotonic()

    def write(self, doc_id: str, fields: Mapping[str, Any]) -> None:
        """Write a record, whatever is there; some servers want to be told its revision."""
        if self._database.put({**fields, "_id": doc_id}):
            return
        for _ in range(_PAGE):
            rev = (self._database.doc(doc_id) or {}).get("_rev")
            if self._database.put({**fields, "_id": doc_id, **({"_rev": rev} if rev else {})}):
                return

    def _registered(self) -> Iterator[dict[str, Any]]:
        """Records by the register that pilots keep where ``_local/`` documents cannot be listed."""
        for pilot in sorted((self._database.doc(_REGISTER) or {}).get("pilots", ())):
            for kind in (_RECORD, _ORDERS):
                doc = self._database.doc(f"_local/{kind}{pilot}")
                if doc is not None:
                    yield doc

    def _register(self, change: Callable[[set[str]], set[str]]) -> None:
        for _ in range(_PAGE):
            doc = self._database.doc(_REGISTER) or {"_id": _REGISTER, "pilots": []}
            if self._database.put({**doc, "pilots": sorted(change(set(doc["pilots"])))}):
                return
