"""Adding any number of documents at once: copied into a temporary table, then added, in one transaction.

Nothing of the pool is locked before all documents have come, so that slow input keeps no pilot waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count, islice
from typing import TypeVar

from picas.errors import InvalidToken, StoreError, StoreUnavailable
from picas.lifecycle import Doc, State
from picas.stores.base import Loaded
from picas.stores.derived import STATES, columns, new_document, read
from picas.stores.postgres import rows
from picas.stores.postgres.connection import Database, Sql

__all__ = ["load"]

T = TypeVar("T")

_NAMES = "id, rev, state, rank, not_before, pilot, requires, doc"
_STAGE = """CREATE TEMP TABLE picas_staged (number bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000),
    id text COLLATE "C", rev text COLLATE "C", state smallint, rank bigint, not_before double precision,
    pilot text COLLATE "C", requires text COLLATE "C", doc json)"""
_COPY = f"COPY picas_staged ({_NAMES}) FROM STDIN"
_TWICE = "SELECT id FROM picas_staged GROUP BY id HAVING count(*) > 1 LIMIT 1"
_ADD = f"""INSERT INTO @tokens ({_NAMES}) SELECT {_NAMES} FROM picas_staged ORDER BY number
    ON CONFLICT (id) DO NOTHING"""
_COUNTS = "SELECT t.state, count(*) FROM picas_staged s JOIN @tokens t USING (id, rev) GROUP BY t.state"
_OF_STATE = "SELECT t.doc::text FROM picas_staged s JOIN @tokens t USING (id, rev) WHERE t.state = %s"
_BATCH = 20_000
_CHUNK = 500


def load(db: Database, docs: Iterable[Doc]) -> tuple[Loaded, list[str], list[str]]:
    """Add all documents or, when one is refused or the iterator raises, none.

    Also the ids of those that came to wait for others, and of those that came as done.
    """
    loader = _Loader(db, docs)
    try:
        return loader.load()
    finally:
        loader.clear()


class _Loader:
    """One load. All its transactions are on one connection, which alone sees its temporary table."""

    def __init__(self, db: Database, docs: Iterable[Doc]) -> None:
        self._db = db
        self._docs = iter(docs)
        self._connection: object = None
        self._staged = 0

    def load(self) -> tuple[Loaded, list[str], list[str]]:
        if self._db.address.pooled:
            # Two transactions may be on two connections.
            return self._write(self._all)
        while self._write(lambda sql: self._stage(sql, _BATCH)):
            pass
        return self._write(self._add)

    def clear(self) -> None:
        """Drop what was staged."""
        with suppress(StoreError):
            self._db.write(lambda sql: sql.run("DROP TABLE IF EXISTS pg_temp.picas_staged"))

    def _write(self, work: Callable[[Sql], T]) -> T:
        tries = count()

        def once(sql: Sql) -> T:
            # Documents that were taken from the iterator do not come again.
            if next(tries) or (self._connection or sql.connection) is not sql.connection:
                raise StoreUnavailable(
                    f"pool {self._db.address.url} was out of reach while tokens were added",
                    hint="try again; none was added",
                )
            return work(sql)

        return self._db.write(once, patience=None, pipelined=False)

    def _stage(self, sql: Sql, limit: int | None) -> int:
        """Take so many documents; how many there were."""
        if self._connection is None:
            sql.run("DROP TABLE IF EXISTS pg_temp.picas_staged")
            sql.run(_STAGE)
            self._connection = sql.connection
        before = self._staged
        with sql.connection.cursor().copy(sql.text(_COPY)) as out:
            lines = self._lines(limit)
            while part := "".join(islice(lines, _CHUNK)):
                out.write(part)
        return self._staged - before

    def _all(self, sql: Sql) -> tuple[Loaded, list[str], list[str]]:
        self._stage(sql, None)
        return self._add(sql)

    def _lines(self, limit: int | None) -> Iterator[str]:
        for doc in islice(self._docs, limit):
            self._staged += 1
            yield _line(doc)

    def _add(self, sql: Sql) -> tuple[Loaded, list[str], list[str]]:
        sql.run("ANALYZE pg_temp.picas_staged")
        twice = sql.one(_TWICE)
        if twice:
            raise InvalidToken(f"id {twice[0]!r} stands twice in the input")
        added = sql.run(_ADD).rowcount
        counts = rows.Tally(dict(sql.rows(_COUNTS)))
        rows.note(sql, counts)
        held = [read(text) for (text,) in sql.rows(_OF_STATE, _HELD)] if counts[_HELD] else []
        for start in range(0, len(held), _CHUNK):
            rows.start_waiting(sql, held[start : start + _CHUNK])
        done = [read(text)["_id"] for (text,) in sql.rows(_OF_STATE, _DONE)] if counts[_DONE] else []
        for start in range(0, len(done), _CHUNK):
            rows.release_dependents(sql, done[start : start + _CHUNK])
        return Loaded(added=added, existing=self._staged - added), [doc["_id"] for doc in held], done


def _line(doc: Doc) -> str:
    """A document as a line of COPY's text format, in which a backslash begins what is not itself."""
    if "_attachments" in doc:
        raise InvalidToken(f"token {doc.get('_id')}: attachments are added one by one, not with the tokens")
    new, text = new_document(doc if "_rev" not in doc else {name: doc[name] for name in doc if name != "_rev"})
    state, rank, not_before, pilot, requires = columns(new)
    return "\t".join(
        (
            _text(new["_id"]),
            new["_rev"],
            str(state),
            str(rank),
            r"\N" if not_before is None else repr(not_before),
            r"\N" if pilot is None else _text(pilot),
            r"\N" if requires is None else _text(requires),
            text.replace("\\", r"\\") + "\n",
        )
    )


def _text(value: str) -> str:
    return value.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


_HELD, _DONE = STATES[State.HELD], STATES[State.DONE]
