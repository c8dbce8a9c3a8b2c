"""A connection to a pool: transactions in few round trips, what became of them when it broke, errors of our own.

A transaction whose COMMIT was sent and not answered is not simply repeated: its number is looked up
(``pg_xact_status``), and only what did not take place is done again.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import pq

from picas.errors import PicasError, StoreFailure, StoreUnavailable
from picas.stores.postgres.address import Address
from picas.stores.postgres.messages import translate

__all__ = ["Database", "Sql", "Unsettled", "connect"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds until a server that does not answer is given up: longer than it waits for a lock itself, and so short that
a beat to which no answer comes can be repeated before the lease is over."""

_CONNECT = 5
_LOCK_TIMEOUT = 20
_TRIES = 6
_UNDECIDED = 3.0
"""Seconds for which the end of a transaction that is still under way is awaited."""

_SETTINGS = f"""SET lock_timeout = '{_LOCK_TIMEOUT}s'; SET statement_timeout = '{PATIENCE - 5:.0f}s';
    SET idle_in_transaction_session_timeout = '60s'; SET jit = off; SET client_min_messages = error"""
_AT_ONCE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_chance = random.SystemRandom()

# What the driver warns of (that a broken connection could not be left tidily) is raised as an error as well.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Unsettled(StoreUnavailable):
    """The connection broke while a transaction was committed, and what became of it cannot be asked yet.

    ``number`` is that of the transaction, ``outcome`` what its work returned.
    """

    def __init__(self, error: PicasError, number: str, outcome: Any) -> None:
        super().__init__(error.message, hint=error.hint)
        self.number = number
        self.outcome = outcome


class _Connection(psycopg.Connection[Any]):
    """A connection that does not wait for ever; for `patience` seconds, or for as long as it takes when None."""

    patience: float | None = PATIENCE

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        until = time.monotonic() + self.patience
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.OperationalError as error:
            if time.monotonic() < until:
                raise
            # Leaving its pipeline would mean to wait once more.
            self.close()
            raise psycopg.OperationalError(f"no answer within {self.patience:.0f} s") from error


class Sql:
    """One transaction. Statements are sent as they are run, and answered when their rows are asked for.

    ``@`` before a name in a statement stands for the schema of the pool.
    """

    def __init__(self, connection: _Connection, names: _Names) -> None:
        self.connection = connection
        self.number: str | None = None
        self.committing = False
        self.outcome: Any = None
        self.wakes = False
        """Set where tokens came to wait: waiting pilots are told of it after the commit."""
        self._names = names

    def run(self, query: str, *values: Any) -> Any:
        """Send a statement; a cursor, from which its rows can be fetched."""
        return self.connection.cursor().execute(self._names[query], values or None)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a statement."""
        found: list[Any] = self.run(query, *values).fetchall()
        return found

    def one(self, query: str, *values: Any) -> Any:
        """The first row of a statement, None when there is none."""
        return self.run(query, *values).fetchone()

    def text(self, query: str) -> bytes:
        """A statement with the schema in it, for what the driver does itself (COPY)."""
        return self._names[query]

    def ask_number(self) -> Any:
        """Send the question for the transaction's number, before what writes is sent; `note_number` takes it."""
        return self.run("SELECT pg_current_xact_id_if_assigned()::text")

    def note_number(self, cursor: Any) -> None:
        """Remember the transaction's number; it has none when nothing was written or locked."""
        self.number = cursor.fetchone()[0]


class _Names(dict[str, bytes]):
    """Statements with the schema put in, made once each."""

    def __init__(self, schema: str) -> None:
        super().__init__()
        self._schema = schema

    def __missing__(self, query: str) -> bytes:
        made = self[query] = query.replace("@", f'"{self._schema}".').encode()
        return made


class Database:
    """One pool, over one connection, which is made when it is needed and made anew when it broke."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.outages = 0
        """How often the server was out of reach: whoever watches pilots for silence starts anew after each."""
        self._names = _Names(address.schema)
        self._connection: _Connection | None = None
        self._pid = os.getpid()
        self._offset = 0.0

    def now(self) -> float:
        """The server's time, by this machine's clock since the server was last asked."""
        self._connected()
        return time.monotonic() + self._offset

    def set_clock(self, server: float, sent: float) -> None:
        """Note the server's time, as it was told to a question that was sent at ``sent`` (of `time.monotonic`)."""
        self._offset = server - (sent + time.monotonic()) / 2

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and os.getpid() == self._pid:
            with suppress(psycopg.Error):
                connection.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query, which changes nothing."""
        return self.read(lambda sql: sql.rows(query, *values))

    def one(self, query: str, *values: Any) -> Any:
        """The first row of a query, None when there is none."""
        return self.read(lambda sql: sql.one(query, *values))

    def read(self, work: Callable[[Sql], T]) -> T:
        """Do what changes nothing and needs no transaction; anew when the connection turns out to be broken."""
        until = time.monotonic() + PATIENCE
        for last in (False, True):
            connection = self._connected()
            try:
                return work(Sql(connection, self._names))
            except psycopg.Error as error:
                is_broken = self._clear(connection, error)
                if last or not is_broken or time.monotonic() > until:
                    raise translate(error, self.address) from error
        raise AssertionError

    def write(self, work: Callable[[Sql], T], *, patience: float | None = PATIENCE, pipelined: bool = True) -> T:
        """Carry out a transaction, durable when this returns; anew when it was in the way of others, or was cut off.

        ``work`` may so be called several times. `Unsettled` when it cannot be known yet whether it took place.
        With ``patience`` None it may take as long as it takes; COPY goes only without ``pipelined``.
        """
        until = time.monotonic() + PATIENCE
        for left in range(_TRIES - 1, -1, -1):
            sql = Sql(self._connected(), self._names)
            try:
                return self._carry_out(sql, work, patience, pipelined=pipelined)
            except psycopg.Error as error:
                problem = translate(error, self.address)
                is_broken = self._clear(sql.connection, error)
                if is_broken and sql.committing and sql.number:
                    if self._took_place(sql, problem):
                        outcome: T = sql.outcome
                        return outcome
                elif not (is_broken or isinstance(error, _AT_ONCE)):
                    raise problem from error
                if not left or time.monotonic() > until:
                    raise problem from error
                if not is_broken:
                    time.sleep(_chance.uniform(0.0, 0.2 / left))
            except BaseException:
                self._clear(sql.connection, None)
                raise
        raise AssertionError

    def took_place(self, number: str) -> bool | None:
        """Whether a transaction was committed; None while that is open. One that is stuck is ended."""
        until = time.monotonic() + _UNDECIDED
        while True:
            (status,) = self.one("SELECT pg_xact_status(%s::xid8)", number)
            if status != "in progress":
                return bool(status == "committed")
            # Its connection is ours, and gone on this side: the server only does not know yet.
            stuck = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid::text = %s"
            self.rows(stuck, str(int(number) % (1 << 32)))
            if time.monotonic() > until:
                return None
            time.sleep(0.05)

    def _took_place(self, sql: Sql, problem: PicasError) -> bool:
        assert sql.number is not None
        try:
            answer = self.took_place(sql.number)
        except PicasError:
            answer = None
        if answer is None:
            raise Unsettled(problem, sql.number, sql.outcome) from problem
        return answer

    def _carry_out(self, sql: Sql, work: Callable[[Sql], T], patience: float | None, *, pipelined: bool) -> T:
        connection = sql.connection
        with connection.pipeline() if pipelined else nullcontext():
            sql.run("BEGIN")
            if patience is None:
                sql.run("SET LOCAL statement_timeout = 0")
                connection.patience = None
            outcome = sql.outcome = work(sql)
            if sql.number is None:
                sql.note_number(sql.ask_number())
            sql.committing = True
            sql.run("COMMIT")
        connection.patience = PATIENCE
        if sql.wakes:
            # Apart from the transaction: a notice within one makes commits wait for each other, disk and all.
            with suppress(psycopg.Error):
                sql.run("SELECT pg_notify(%s, ''), nextval('@bell')", f"picas_{self.address.schema}")
        return outcome

    def _connected(self) -> _Connection:
        if os.getpid() != self._pid:
            raise StoreFailure(f"pool {self.address.url} was opened before a fork", hint="open it anew in the child")
        if self._connection is None:
            sent = time.monotonic()
            try:
                self._connection = connect(self.address)
                told = self._connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
            except psycopg.Error as error:
                self.outages += 1
                self.close()
                raise translate(error, self.address) from error
            self.set_clock(told[0][0], sent)
        return self._connection

    def _clear(self, connection: _Connection, error: BaseException | None) -> bool:
        """Leave the connection fit for the next transaction, or none at all; whether it was broken."""
        connection.patience = PATIENCE
        idle = pq.TransactionStatus.IDLE
        with suppress(psycopg.Error):
            if not connection.closed and connection.info.transaction_status in _OPEN:
                connection.execute("ROLLBACK")
        if not connection.closed and connection.info.transaction_status == idle:
            return False
        if isinstance(error, psycopg.Error):
            self.outages += 1
        self.close()
        return True


_OPEN = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)


def connect(address: Address) -> _Connection:
    """A new connection, each statement of which is a transaction unless one is begun. Raises what the driver does."""
    limits = {"connect_timeout": _CONNECT, "tcp_user_timeout": int(PATIENCE * 1000)}
    alive = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
    secret = {} if address.password is None else {"password": address.password}
    connection: _Connection = _Connection.connect(
        autocommit=True,
        prepare_threshold=None if address.pooled else 5,
        application_name="picas",
        client_encoding="utf8",
        **{**limits, **alive, **address.options, **secret},  # type: ignore[arg-type]
    )
    if not address.pooled:
        connection.execute(_SETTINGS)
    return connection
