"""Pilot records and leases, by the server's clock; and the observer's own, where server and pilots lost each other."""

from __future__ import annotations

import json
import time
from typing import Any

from picas.stores.base import Beat, PilotRecord
from picas.stores.derived import read
from picas.stores.live import still_asking
from picas.stores.postgres import rows
from picas.stores.postgres.connection import Database, Sql
from picas.stores.records import Watch, beat_of, fields_of, record_of
from picas.stores.steering import Pause, pause_fields, pause_of

__all__ = ["Pilots"]

_BEAT = """INSERT INTO @pilots (id, record, beat_at) VALUES (%s, %s::json, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET record = excluded.record, beat_at = excluded.beat_at
    RETURNING orders, extract(epoch FROM beat_at)::float8, followers"""
_LISTED = """SELECT id, record::text, orders, extract(epoch FROM beat_at)::text,
    greatest(0, extract(epoch FROM clock_timestamp() - beat_at))::float8 FROM @pilots ORDER BY id"""


class Pilots:
    """The pilots of a pool.

    ``silent`` is by the server's clock, ``watched`` by that of whoever looks.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = Watch()

    def beat(self, record: PilotRecord) -> Beat:
        """Renew the lease; what the pilot holds, what of that is cancelled, and its orders."""

        def renew(sql: Sql) -> tuple[str, frozenset[str], list[Any]]:
            sent = time.monotonic()
            told = sql.run(_BEAT, record.id, json.dumps(fields_of(record)))
            mine = sql.run("SELECT doc::text FROM @tokens WHERE pilot = %s", record.id)
            orders, now, followers = told.fetchone()
            self._database.set_clock(now, sent)
            rows.fold(sql)
            return orders, still_asking(followers, now), mine.fetchall()

        orders, followed, found = self._database.write(renew)
        return beat_of((read(text) for (text,) in found), orders, followed)

    def listed(self) -> list[PilotRecord]:
        """All records, by id."""
        found = self._database.rows(_LISTED)
        beats = {pilot: beat for pilot, _, _, beat, _ in found}
        watched = self._watch.look(beats, outages=self._database.outages, at=time.monotonic())
        return [
            record_of(json.loads(text), orders=orders, silent=silent, watched=watched[pilot])
            for pilot, text, orders, _, silent in found
        ]

    def order(self, pilot: str, orders: str) -> bool:
        """Leave orders for a pilot; whether it is known."""
        change = "UPDATE @pilots SET orders = %s WHERE id = %s RETURNING 1"
        return bool(self._database.write(lambda sql: sql.rows(change, orders, pilot)))

    def forget(self, pilot: str) -> None:
        """Remove a pilot's record."""
        self._database.write(lambda sql: sql.rows("DELETE FROM @pilots WHERE id = %s RETURNING 1", pilot))

    def pause(self, pause: Pause | None) -> None:
        """Have claims find nothing, or again what there is, of which those who wait are told."""

        def note(sql: Sql) -> None:
            sql.rows(
                "UPDATE @meta SET pause = %s::json RETURNING 1", json.dumps(pause_fields(pause)) if pause else None
            )
            sql.wakes = pause is None

        self._database.write(note)

    def paused(self) -> Pause | None:
        """The pause in force."""
        (text,) = self._database.one("SELECT pause::text FROM @meta")
        return pause_of(json.loads(text)) if text else None
