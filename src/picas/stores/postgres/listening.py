"""Waiting for work: a connection of its own that listens while this pilot has none."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import psycopg

from picas.errors import StoreUnavailable
from picas.stores.postgres.address import Address
from picas.stores.postgres.connection import connect
from picas.stores.postgres.messages import translate

__all__ = ["Watcher"]

_LOOK_EVERY = 1.0
"""Seconds between looks where nothing can be listened to, and at most between two where it can."""
_SLICE = 0.5


class Watcher:
    """Tells of tokens that came to wait. Whoever has work needs no second connection, and keeps none.

    Behind a pooler that hands out connections by transaction, ``LISTEN`` reaches nobody: the pool's bell is looked at
    instead, a sequence that goes up with each notice.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._guard = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._bell = -1
        self._missed = False
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether what comes is noticed."""
        return self._connection is not None

    def start(self) -> None:
        """Notice from now on."""
        with self._guard:
            self._open()

    def stop(self) -> None:
        """Notice nothing more until it is started again; the next `wait` takes it that something came meanwhile."""
        with self._guard:
            if self._connection is not None:
                self._missed = True
                self._drop()

    def wait(self, seconds: float) -> bool:
        """Block until something came since it was started or last told, at most so long; whether it did."""
        until = time.monotonic() + seconds
        while True:
            with self._guard:
                if self._closed:
                    return False
                if self._missed and self._connection is None:
                    self._open()
                    self._missed = False  # not before: as long as the server is away, nothing has been told
                    return True
                if self._came(min(_SLICE, max(0.0, until - time.monotonic()))):
                    return True
            if time.monotonic() >= until:
                return False

    def close(self) -> None:
        """Stop for good; who waits is let go within half a second."""
        self._closed = True
        with self._guard:
            self._drop()

    def _came(self, seconds: float) -> bool:
        try:
            connection = self._open()
            if self._address.pooled:
                time.sleep(seconds)
                return self._rang(connection)
            told = list(connection.notifies(timeout=seconds, stop_after=1))
            return bool(told) and self._rang(connection)
        except psycopg.Error as error:
            self._drop()
            self._missed = True
            raise translate(error, self._address) from error

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            if self._closed:
                raise StoreUnavailable(f"pool {self._address.url} is closed")
            try:
                self._connection = connect(self._address)
                if not self._address.pooled:
                    self._connection.execute(f'LISTEN "picas_{self._address.schema}"'.encode())
                self._rang(self._connection)
            except psycopg.Error as error:
                self._drop()
                raise translate(error, self._address) from error
        return self._connection

    def _rang(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether the bell has rung since it was last looked at: several notices are one."""
        query = f'SELECT last_value + is_called::int FROM "{self._address.schema}".bell'.encode()
        ((now,),) = connection.execute(query).fetchall()
        before, self._bell = self._bell, now
        return bool(now != before)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
