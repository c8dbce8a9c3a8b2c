"""Who follows a pilot's tokens, and what it sent of them; how the pilot hears of it: by a notice on its connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from picas.stores.live import Tail, asking, dump_tails, still_asking, tails_of
from picas.stores.postgres.connection import Database, Sql

__all__ = ["CHANNEL", "Live"]

CHANNEL = "picas_follow"
"""Of all pools in a database; what is said on it is the name of a pilot, which is that of no other anywhere."""

_NOW = "extract(epoch FROM clock_timestamp())::float8"


class Live:
    """What running commands write, and who follows it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self._called: set[str] = set()

    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        """Have a token followed, and tell the pilot; False when there is none of that name."""

        def ask(sql: Sql) -> bool:
            row = sql.one(f"SELECT followers, {_NOW} FROM @pilots WHERE id = %s FOR UPDATE", pilot)
            if row is None:
                return False
            until, is_new = asking(row[0], token_id, row[1], seconds), token_id not in still_asking(*row)
            sql.run("UPDATE @pilots SET followers = %s::jsonb WHERE id = %s", json.dumps(until), pilot)
            if is_new:
                sql.run("SELECT pg_notify(%s, %s)", CHANNEL, pilot)
            return True

        return self._database.write(ask)

    def has_followers(self, pilot: str) -> bool:
        """Whether a notice came, or could not: after the connection was made anew that counts as one."""
        if self._database.address.pooled:
            return False
        return self._database.read(lambda sql: self._hear(sql.connection, pilot))

    def _hear(self, connection: psycopg.Connection[Any], pilot: str) -> bool:
        if connection is not self._connection:
            connection.add_notify_handler(lambda notice: self._called.add(notice.payload))
            connection.execute(f"LISTEN {CHANNEL}".encode())
            self._connection = connection
            return True
        connection.pgconn.consume_input()
        while (notice := connection.pgconn.notifies()) is not None:
            self._called.add(notice.extra.decode())
        came = pilot in self._called
        self._called.clear()
        return came

    def followed(self, pilot: str) -> frozenset[str]:
        """The tokens of a pilot that are followed now."""
        row = self._database.one(f"SELECT followers, {_NOW} FROM @pilots WHERE id = %s", pilot)
        return still_asking(*row) if row else frozenset()

    def send(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        """Replace what a pilot sent; the tokens that are followed."""
        change = f"UPDATE @pilots SET tails = %s WHERE id = %s RETURNING followers, {_NOW}"
        rows = self._database.write(lambda sql: sql.rows(change, dump_tails(tails) if tails else None, pilot))
        return still_asking(*rows[0]) if rows else frozenset()

    def tails(self, pilot: str) -> list[Tail]:
        """What a pilot sent last."""
        row = self._database.one("SELECT tails FROM @pilots WHERE id = %s", pilot)
        return tails_of(row[0] if row else None)
