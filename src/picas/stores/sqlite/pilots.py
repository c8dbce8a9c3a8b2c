"""Pilot records and leases. Silence is measured on the machine's own clock since boot, which nobody sets."""

from __future__ import annotations

import json
import math

from picas.stores.base import Beat, PilotRecord
from picas.stores.derived import read
from picas.stores.records import beat_of, fields_of, record_of
from picas.stores.sqlite.connection import Database, Sql, monotonic
from picas.stores.steering import Pause, pause_fields, pause_of

__all__ = ["beat", "listed", "pause", "paused"]

_BEAT = """INSERT INTO pilots (id, record, beat_at, boot) VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE
           SET record=excluded.record, beat_at=excluded.beat_at, boot=excluded.boot RETURNING orders"""


def beat(sql: Sql, record: PilotRecord) -> Beat:
    """Renew the lease; what the pilot holds, what of that is cancelled, and its orders."""
    boot, now = monotonic()
    (orders,) = sql.execute(_BEAT, (record.id, json.dumps(fields_of(record)), now, boot)).fetchone()
    found = sql.execute("SELECT doc FROM tokens WHERE pilot=?", (record.id,)).fetchall()
    return beat_of((read(text) for (text,) in found), orders)


def listed(db: Database) -> list[PilotRecord]:
    """All records, with how long each pilot has been silent."""
    boot, now = monotonic()
    found = db.rows("SELECT record, orders, boot, beat_at FROM pilots ORDER BY id")
    return [
        record_of(json.loads(text), orders=orders, silent=now - at if made == boot else math.inf)
        for text, orders, made, at in found
    ]


def pause(sql: Sql, pause: Pause | None) -> None:
    """Have claims find nothing, or again what there is."""
    if pause is None:
        sql.execute("DELETE FROM meta WHERE name='pause'")
    else:
        sql.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('pause', ?)", (json.dumps(pause_fields(pause)),))


def paused(db: Database) -> Pause | None:
    """The pause in force."""
    row = db.one("SELECT value FROM meta WHERE name='pause'")
    return pause_of(json.loads(row[0])) if row else None
