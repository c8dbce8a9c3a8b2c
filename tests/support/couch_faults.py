"""A pool in CouchDB behind a proxy that does harm: the scene of tests of faults, and what they all ask of it."""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from picas.errors import PicasError
from picas.lifecycle import Doc, State, state_of
from picas.stores.couchdb import CouchStore, database, read_address, transport, writer
from picas.stores.couchdb.transport import Http
from support.couchdb_server import CouchServer
from support.fault_proxy import Exchange, Fault, FaultProxy, Reply, Rule, Stop

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Accepting",
    "Deferred",
    "Scene",
    "accepted",
    "end",
    "half",
    "half_of_chunks",
    "hasten",
    "on",
    "one_line",
    "refuse_once",
    "scene",
    "shorten",
    "slices",
    "stall",
    "swallow",
    "told",
    "within",
]

T = TypeVar("T")

NEVER = re.compile("_changes")
"""What the thread that waits for work asks, at times of its own: it is not counted."""


class Scene:
    """A database, a proxy before its server, and handles: ``direct`` on the server, those of `open` on the proxy."""

    def __init__(self, server: CouchServer, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.database = server.database("fault")
        self.direct = self._opened(server.url, create=True)
        self._first = self._opened(proxy.url)
        self._handles: list[CouchStore] = []

    def open(self, **access: Any) -> CouchStore:
        """A new handle through the proxy; one for other credentials or parameters asks the server first."""
        handle = self._opened(self.proxy.url, **access) if access else self._first.twin()
        self._handles.append(handle)
        return handle

    def url(self, server: str | None = None, query: str = "") -> str:
        """The address of the pool on the proxy or another server, without credentials."""
        return f"{server or self.proxy.url}/{self.database}{query}"

    def heal(self) -> None:
        """No more faults."""
        self.proxy.plan(None)
        self.proxy.accept()

    def empty(self) -> None:
        """Delete every token, and what comes up under one that two servers had changed at once."""
        while docs := self.docs():
            self.direct.delete(docs)

    def fresh(self) -> Scene:
        """This scene for another test: no faults, no tokens, and no handles or threads of others."""
        self.heal()
        for handle in [self.direct, *self._handles]:
            end(handle)
        self._handles.clear()
        self.direct = self.direct.twin()
        self.empty()
        return self

    def doc(self, token_id: str) -> Doc:
        """A token as it is stored; it must be there."""
        found = self.direct.get([token_id])[0]
        assert found is not None, f"{token_id} is gone"
        return found

    def docs(self) -> list[Doc]:
        """All tokens as they are stored."""
        return self.direct.page(None, limit=10_000).docs

    def states(self) -> dict[State | None, int]:
        """How many tokens are in each state that one is in, by the documents themselves."""
        found = [state_of(doc) for doc in self.docs()]
        return {state: found.count(state) for state in set(found)}

    def held_by(self, pilot: str) -> set[str]:
        """The tokens that are locked in a pilot's name."""
        locked = [doc for doc in self.docs() if state_of(doc) is State.LOCKED]
        return {doc["_id"] for doc in locked if doc["claim"]["pilot"] == pilot}

    def close(self) -> None:
        """Close all handles."""
        self.heal()
        for handle in [self.direct, self._first, *self._handles]:
            end(handle)

    def _opened(self, server: str, *, create: bool = False, query: str = "", **login: Any) -> CouchStore:
        access = {"username": self.server.admin, "password": self.server.password, **login}
        return CouchStore.open(read_address(self.url(server, query), **access), create=create)


def end(handle: CouchStore) -> None:
    """Close a handle and see its thread end: the requests of one that goes on would be taken for another's."""
    listener = handle._watcher._listener
    handle.close()
    while listener is not None and listener.thread.is_alive():
        listener.end()
        listener.thread.join(0.02)


@contextmanager
def scene(server: CouchServer) -> Iterator[Scene]:
    """A scene that is cleaned up after; there are no faults at first."""
    parts = urlsplit(server.url)
    with FaultProxy(parts.hostname or "", parts.port or 80) as proxy:
        made = Scene(server, proxy)
        try:
            yield made
        finally:
            made.close()


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the store pause for no time worth mentioning between its tries."""
    monkeypatch.setattr(transport, "_PAUSE", 0.005)
    monkeypatch.setattr(writer, "_PAUSE", 0.005)


def shorten(monkeypatch: pytest.MonkeyPatch, *, read: float, connect: float, view: float | None = None) -> None:
    """Have the store wait for an answer no longer than this."""
    monkeypatch.setattr(transport, "READ", read)
    monkeypatch.setattr(transport, "CONNECT", connect)
    monkeypatch.setitem(Http.request.__kwdefaults__, "read", read)
    monkeypatch.setattr(database, "VIEW_SECONDS", view or read)


def on(pattern: str, fault: Fault, *, nth: int = 1, ever: bool = False) -> Rule:
    """The n-th request whose method and path match meets the fault; with ``ever`` all requests after it too."""
    seen = 0

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal seen
        if ever and seen >= nth:
            return fault
        if NEVER.search(path) or not re.search(pattern, f"{method} {path}"):
            return None
        seen += 1
        return fault if seen == nth else None

    return rule


def one_line(error: PicasError, scene: Scene) -> PicasError:
    """An error as a person sees it: one line that says where, and no secrets, in itself or in what led to it."""
    told: BaseException | None = error
    while told is not None:
        assert scene.server.password is None or scene.server.password not in f"{told!r} {told}"
        assert isinstance(told, PicasError) or told.__cause__ is None, repr(told)
        told = told.__cause__
    assert error.message
    assert "\n" not in error.message + error.hint, error.message
    assert scene.proxy.url.partition("//")[2] in error.message or scene.server.url in error.message, error.message
    return error


class _RefuseOnce(Fault):
    def answer(self, exchange: Exchange) -> Reply:
        exchange.proxy.refuse()
        exchange.proxy.accept()
        raise Stop(resets=True)


def refuse_once() -> Fault:
    """All open connections end; new ones are accepted."""
    return _RefuseOnce()


class _Half(Fault):
    def send(self, exchange: Exchange, reply: Reply) -> None:
        exchange.client.sendall(reply.head() + reply.body[: len(reply.body) // 2])
        raise Stop(resets=False)


def half() -> Fault:
    """The upstream server executes the request; half of the reply's body arrives, and no more."""
    return _Half()


class _Slices(Fault):
    def send(self, exchange: Exchange, reply: Reply) -> None:
        for byte in reply.head() + reply.body:
            exchange.client.sendall(bytes([byte]))


def slices() -> Fault:
    """The reply comes byte by byte, each in a packet of its own."""
    return _Slices()


@dataclass(frozen=True)
class _Chunked(Fault):
    """Half of the body, in pieces whose end is never said."""

    def send(self, exchange: Exchange, reply: Reply) -> None:
        kept = [f"{name}: {value}\r\n" for name, value in reply.headers]
        head = f"HTTP/1.1 {reply.status} OK\r\n{''.join(kept)}Transfer-Encoding: chunked\r\n\r\n"
        half = reply.body[: len(reply.body) // 2]
        exchange.client.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(half), half))
        raise Stop(resets=False)


def half_of_chunks() -> Fault:
    """As `half`, of a reply whose length is not said beforehand, as CouchDB sends rows."""
    return _Chunked()


@dataclass(frozen=True)
class _Told(Fault):
    status: int

    def answer(self, exchange: Exchange) -> Reply:
        return replace(exchange.forward(), status=self.status)


def told(status: int) -> Fault:
    """The upstream server executes the request and its reply arrives, but with another status."""
    return _Told(status)


class _Swallow(Fault):
    def answer(self, exchange: Exchange) -> Reply:
        exchange.forward()
        exchange.wait(math.inf)
        raise Stop(resets=True)


def swallow() -> Fault:
    """The upstream server executes the request; no answer ever comes."""
    return _Swallow()


@dataclass(frozen=True)
class _Stall(Fault):
    after_bytes: int

    def send(self, exchange: Exchange, reply: Reply) -> None:
        exchange.client.sendall(reply.head() + reply.body[: self.after_bytes])
        exchange.wait(math.inf)


def stall(after_bytes: int) -> Fault:
    """So much of the reply's body arrives, and then nothing more, not even an end."""
    return _Stall(after_bytes)


class Deferred(Fault):
    """The client's connection is reset; the upstream server gets the request later, when `release` says so."""

    def __init__(self) -> None:
        self._held: Exchange | None = None

    def answer(self, exchange: Exchange) -> Reply:
        self._held = exchange
        raise Stop(resets=True)

    def release(self) -> Fault:
        """A fault for another request: the deferred one is carried out just before it."""
        return _Behind(self)

    def carry_out(self) -> None:
        """Have the upstream server carry it out now."""
        if self._held is not None:
            held, self._held = self._held, None
            held.forward()


@dataclass(frozen=True)
class _Behind(Fault):
    before: Deferred

    def answer(self, exchange: Exchange) -> Reply:
        self.before.carry_out()
        return exchange.forward()


class Accepting(Fault):
    """A ``_bulk_docs`` as several servers of a cluster take it, each of which has not heard of the others' yet.

    When as many have come as there are parties, every document is accepted, though others are of the same revision;
    which of them wins in the end is chance. Nobody is answered before all have been accepted.
    """

    def __init__(self, parties: int, chance: random.Random) -> None:
        self._barrier = threading.Barrier(parties, timeout=20.0)
        self._chance = chance
        self._lock = threading.Lock()

    def answer(self, exchange: Exchange) -> Reply:
        self._barrier.wait()
        with self._lock:
            docs = [accepted(doc, self._chance) for doc in json.loads(exchange.request.body)["docs"]]
        body = json.dumps({"new_edits": False, "docs": docs}).encode()
        reply = replace(exchange, request=replace(exchange.request, body=body)).forward()
        self._barrier.wait()
        rows = [{"ok": True, "id": doc["_id"], "rev": doc["_rev"]} for doc in docs]
        return replace(reply, body=json.dumps(rows).encode())


def accepted(doc: Doc, chance: random.Random) -> Doc:
    """A document in a new revision, with its history, to be written with ``new_edits: false``."""
    number, _, parent = doc["_rev"].partition("-")
    new = f"{chance.getrandbits(128):032x}"
    start = int(number) + 1
    return {**doc, "_rev": f"{start}-{new}", "_revisions": {"start": start, "ids": [new, parent]}}


def within(seconds: float, act: Callable[[], T]) -> T:
    """Do it, and fail when it takes longer."""
    begun = time.monotonic()
    try:
        return act()
    finally:
        took = time.monotonic() - begun
        assert took <= seconds, f"took {took:.2f} s, not {seconds}"
