"""Pilot records and leases. Silence is measured on the machine's own clock since boot, which nobody sets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from picas.lifecycle import fence_of, holds, is_cancelled
from picas.stores.base import Beat, PilotRecord
from picas.stores.derived import read
from picas.stores.sqlite.connection import Database, Sql, monotonic

__all__ = ["beat", "listed"]

_BEAT = """INSERT INTO pilots (id, record, beat_at, boot) VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE
           SET record=excluded.record, beat_at=excluded.beat_at, boot=excluded.boot RETURNING orders"""


def beat(sql: Sql, record: PilotRecord) -> Beat:
    """Renew the lease; what the pilot holds, what of that is cancelled, and its orders."""
    boot, now = monotonic()
    (orders,) = sql.execute(_BEAT, (record.id, _dumped(record), now, boot)).fetchone()
    found = sql.execute("SELECT doc FROM tokens WHERE pilot=?", (record.id,)).fetchall()
    docs = [read(text) for (text,) in found]
    held = {doc["_id"]: doc for doc in docs if holds(doc, fence_of(doc))}
    return Beat(
        held={token_id: fence_of(doc) for token_id, doc in held.items()},
        cancelled=frozenset(token_id for token_id, doc in held.items() if is_cancelled(doc)),
        orders=orders,
    )


def listed(db: Database) -> list[PilotRecord]:
    """All records, with how long each pilot has been silent."""
    boot, now = monotonic()
    found = db.rows("SELECT record, orders, boot, beat_at FROM pilots ORDER BY id")
    return [_record(json.loads(text), orders, now - at if made == boot else None) for text, orders, made, at in found]


def _record(fields: Mapping[str, Any], orders: str, silent: float | None) -> PilotRecord:
    known = {field.name for field in dataclasses.fields(PilotRecord)}
    kept = {name: value for name, value in fields.items() if name in known and name != "watched"}
    kept |= {"orders": orders, "silent": silent if silent is not None else float("inf")}
    return PilotRecord(**kept)


def _dumped(record: PilotRecord) -> str:
    fields = dataclasses.asdict(record)
    del fields["orders"], fields["silent"], fields["watched"]
    return json.dumps(fields)
