"""A pool in PostgreSQL behind a proxy that does harm: the scene of tests of faults, and the verbs that they try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg

from picas.errors import PicasError
from picas.lifecycle import Doc, State, state_of
from picas.stores.postgres import PostgresStore, connection, read_address
from support.postgres_proxy import Fault, PostgresProxy, Rule, Trip
from support.postgres_server import PostgresServer

__all__ = [
    "Scene",
    "nth",
    "nth_commit",
    "one_line",
    "scene",
    "shorten",
]

T = TypeVar("T")

_EMPTY = """DELETE FROM picas.tokens; DELETE FROM picas.waits; DELETE FROM picas.tallies; DELETE FROM picas.files;
    DELETE FROM picas.chunks; DELETE FROM picas.pilots; DELETE FROM picas.designs"""
"""Faster than TRUNCATE, where there is next to nothing."""


class Scene:
    """A pool, a proxy before its server, and handles: ``direct`` on the server, those of `open` on the proxy."""

    def __init__(self, server: PostgresServer, proxy: PostgresProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.database = server.database("fault")
        self.direct = PostgresStore.open(read_address(self.url(direct=True)), create=True)
        self._first = PostgresStore.open(read_address(self.url()))
        self._first.close()
        self._handles: list[PostgresStore] = []
        self._admin = psycopg.connect(self.url(direct=True), autocommit=True)

    def url(self, *, direct: bool = False, **login: str) -> str:
        """The address of the pool, on the proxy or on the server itself."""
        address = self.server.address(self.database, query="sslmode=disable", **login)
        parts = urlsplit(address)
        login_part = parts.netloc.rpartition("@")[0]
        return address if direct else address.replace(parts.netloc, f"{login_part}@{self.place}")

    @property
    def place(self) -> str:
        """Host and port of the proxy."""
        return f"127.0.0.1:{self.proxy.port}"

    def open(self) -> PostgresStore:
        """A new handle through the proxy, which is not connected yet."""
        handle = self._first.twin()
        self._handles.append(handle)
        return handle

    def heal(self) -> None:
        """No more faults."""
        self.proxy.plan(None)
        self.proxy.accept()

    def fresh(self) -> Scene:
        """This scene for another test: no faults, no tokens, pilots, views, or handles of others."""
        self.heal()
        self._end_handles()
        self._admin.execute(_EMPTY)
        return self

    def doc(self, token_id: str) -> Doc:
        """A token as it is stored; it must be there."""
        found = self.direct.get([token_id])[0]
        assert found is not None, f"{token_id} is gone"
        return found

    def docs(self) -> list[Doc]:
        """All tokens as they are stored."""
        return self.direct.page(None, limit=10_000).docs

    def held_by(self, pilot: str) -> set[str]:
        """The tokens that are locked in a pilot's name."""
        locked = [doc for doc in self.docs() if state_of(doc) is State.LOCKED]
        return {doc["_id"] for doc in locked if doc["claim"]["pilot"] == pilot}

    def assert_sound(self) -> None:
        """The pool's own check finds nothing but files that were begun, and its counts are right."""
        assert self.direct.check() == []

    def close(self) -> None:
        """Close all handles."""
        self.heal()
        self._end_handles()
        self.direct.close()
        self._admin.close()

    def _end_handles(self) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()


@contextmanager
def scene(server: PostgresServer) -> Iterator[Scene]:
    """A scene that is cleaned up after; there are no faults at first."""
    parts = urlsplit(server.url)
    with PostgresProxy(parts.hostname or "", parts.port or 5432) as proxy:
        made = Scene(server, proxy)
        try:
            yield made
        finally:
            made.close()


def shorten(monkeypatch: Any, seconds: float) -> None:
    """Have the store wait for an answer no longer than this."""
    monkeypatch.setattr(connection, "PATIENCE", seconds)
    monkeypatch.setattr(connection._Connection, "patience", seconds)


def nth(fault: Fault, number: int = 1, *, ever: bool = False) -> Rule:
    """The n-th trip meets the fault; with ``ever`` all trips after it too."""
    return lambda trip: fault if trip.number == number or (ever and trip.number > number) else None


def nth_commit(fault: Fault, number: int = 1, behind: Fault | None = None) -> Rule:
    """The n-th trip that commits meets the fault; those after it the one ``behind``."""
    seen = 0

    def rule(trip: Trip) -> Fault | None:
        nonlocal seen
        if seen >= number:
            return behind
        seen += trip.commits
        return fault if seen == number else None

    return rule


def one_line(error: PicasError, scene: Scene) -> PicasError:
    """An error as a person sees it: one line that says which pool, and no password in it."""
    password = urlsplit(scene.server.url).password
    assert error.message
    assert "\n" not in error.message + error.hint, error.message
    assert password is None or password not in error.message + error.hint
    assert f"{scene.place}/{scene.database}" in error.message, error.message
    return error
