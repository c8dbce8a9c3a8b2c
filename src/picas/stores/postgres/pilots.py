"""Pilot records and leases, by the server's clock; and the observer's own, where server and pilots lost each other."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from picas.lifecycle import fence_of, holds, is_cancelled
from picas.stores.base import Beat, PilotRecord
from picas.stores.derived import read
from picas.stores.postgres import rows
from picas.stores.postgres.connection import Database, Sql

__all__ = ["Pilots"]

_BEAT = """INSERT INTO @pilots (id, record, beat_at) VALUES (%s, %s::json, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET record = excluded.record, beat_at = excluded.beat_at
    RETURNING orders, extract(epoch FROM beat_at)::float8"""
_LISTED = """SELECT record::text, orders, extract(epoch FROM beat_at)::text,
    greatest(0, extract(epoch FROM clock_timestamp() - beat_at))::float8 FROM @pilots ORDER BY id"""
_NOT_STORED = ("orders", "silent", "watched")


class Pilots:
    """The pilots of a pool.

    ``silent`` is by the server's clock. ``watched`` is for how long this handle has itself seen a record unchanged
    while the server answered: after an outage, or a step of the server's clock, nobody counts as silent before the
    pilots had a lease's time to be heard.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, tuple[str, float]] = {}
        self._outages = 0

    def beat(self, record: PilotRecord) -> Beat:
        """Renew the lease; what the pilot holds, what of that is cancelled, and its orders."""
        fields = dataclasses.asdict(record)
        for name in _NOT_STORED:
            del fields[name]

        def renew(sql: Sql) -> tuple[str, list[Any]]:
            sent = time.monotonic()
            told = sql.run(_BEAT, record.id, json.dumps(fields))
            mine = sql.run("SELECT doc::text FROM @tokens WHERE pilot = %s", record.id)
            orders, now = told.fetchone()
            self._database.set_clock(now, sent)
            rows.fold(sql)
            return orders, mine.fetchall()

        orders, found = self._database.write(renew)
        docs = [read(text) for (text,) in found]
        held = {doc["_id"]: doc for doc in docs if holds(doc, fence_of(doc))}
        return Beat(
            held={token_id: fence_of(doc) for token_id, doc in held.items()},
            cancelled=frozenset(token_id for token_id, doc in held.items() if is_cancelled(doc)),
            orders=orders,
        )

    def listed(self) -> list[PilotRecord]:
        """All records, by id."""
        found = self._database.rows(_LISTED)
        at = time.monotonic()
        if self._database.outages != self._outages:
            self._outages = self._database.outages
            self._seen.clear()
        records = [self._record(json.loads(text), orders, beat, silent, at) for text, orders, beat, silent in found]
        self._seen = {record.id: self._seen[record.id] for record in records}
        return records

    def order(self, pilot: str, orders: str) -> bool:
        """Leave orders for a pilot; whether it is known."""
        change = "UPDATE @pilots SET orders = %s WHERE id = %s RETURNING 1"
        return bool(self._database.write(lambda sql: sql.rows(change, orders, pilot)))

    def forget(self, pilot: str) -> None:
        """Remove a pilot's record."""
        self._database.write(lambda sql: sql.rows("DELETE FROM @pilots WHERE id = %s RETURNING 1", pilot))

    def _record(self, fields: Mapping[str, Any], orders: str, beat: str, silent: float, at: float) -> PilotRecord:
        pilot = fields["id"]
        known = self._seen.get(pilot)
        if known is None or known[0] != beat:
            known = self._seen[pilot] = (beat, at)
        names = {field.name for field in dataclasses.fields(PilotRecord)}
        kept = {name: value for name, value in fields.items() if name in names}
        return PilotRecord(**{**kept, "orders": orders, "silent": silent, "watched": at - known[1]})
