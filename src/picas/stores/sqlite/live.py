"""Who follows a pilot's tokens, and what it sent of them. Time is the machine's own since boot, which nobody sets."""

from __future__ import annotations

from collections.abc import Sequence

from picas.stores.live import Tail, asking, dump_tails, still_asking, tails_of
from picas.stores.sqlite.connection import Database, Sql, monotonic

__all__ = ["Called", "follow", "followed", "forget", "send", "tails"]

_FOLLOWED = "SELECT token, until FROM followers WHERE pilot=?"


class Called:
    """Whether somebody may have begun to follow: looked up only when the file has been changed, by anybody."""

    def __init__(self) -> None:
        self._seen: int | None = None

    def look(self, db: Database, pilot: str) -> bool:
        """Whether the pilot is followed, if the file changed since the last look; else False."""
        version = db.one("PRAGMA data_version")[0]
        seen, self._seen = self._seen, version
        return seen != version and bool(followed(db, pilot))


def follow(sql: Sql, pilot: str, token_id: str, seconds: float) -> bool:
    """Have a token followed; False when there is no such pilot."""
    if not sql.execute("SELECT 1 FROM pilots WHERE id=?", (pilot,)).fetchone():
        return False
    now = monotonic()[1]
    until = asking(dict(sql.execute(_FOLLOWED, (pilot,)).fetchall()), token_id, now, seconds)
    sql.execute("DELETE FROM followers WHERE pilot=?", (pilot,))
    sql.executemany("INSERT INTO followers VALUES (?,?,?)", [(pilot, *item) for item in until.items()])
    return True


def followed(db: Database, pilot: str) -> frozenset[str]:
    """The tokens of a pilot that are followed now."""
    return still_asking(dict(db.rows(_FOLLOWED, pilot)), monotonic()[1])


def send(sql: Sql, pilot: str, tails: Sequence[Tail]) -> None:
    """Replace what a pilot sent; nothing is kept for one that has signed off."""
    sql.execute("DELETE FROM tails WHERE pilot=?", (pilot,))
    if tails:
        put = "INSERT INTO tails SELECT id, ? FROM pilots WHERE id=?"
        sql.execute(put, (dump_tails(tails), pilot))


def tails(db: Database, pilot: str) -> list[Tail]:
    """What a pilot sent last."""
    row = db.one("SELECT tails FROM tails WHERE pilot=?", pilot)
    return tails_of(row[0] if row else None)


def forget(sql: Sql, pilot: str) -> None:
    """Remove what there is of a pilot."""
    for table in ("followers", "tails"):
        sql.execute(f"DELETE FROM {table} WHERE pilot=?", (pilot,))
