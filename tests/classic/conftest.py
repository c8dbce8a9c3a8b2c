"""Pools that the classic API runs on, and database objects shaped like its client."""

from __future__ import annotations

import importlib
import random
import signal
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from classic.desk import Desk
from picas import clients
from picas.clients import Client, CouchDB
from picas.documents import Document
from picas.errors import Conflict
from picas.stores import open_store
from picas.stores.base import TokenStore
from picas.stores.duck import couchdb_error
from support.couchdb_server import CouchServer


class RevisionDB:
    """A database object of somebody else's: it knows documents by revision, and its one view is what is todo.

    ``before_save`` is called before each save, to put another pilot's or a person's doings in between.
    """

    def __init__(self, **tokens: dict[str, Any]) -> None:
        self.docs = {name: {"_id": name, "_rev": "1", "lock": 0, "done": 0, **doc} for name, doc in tokens.items()}
        self.saves = 0
        self.before_save: Callable[[Document], None] = lambda doc: None
        self.conflict: Callable[[], Exception] = lambda: Conflict("somebody was first")

    def get_single_from_view(self, view: str, window_size: int = 1, **params: Any) -> Document:
        todo = [doc for doc in self.docs.values() if not doc["lock"] and not doc["done"]]
        return Document(deepcopy(random.choice(todo[:window_size])))

    def get(self, idx: str) -> Document:
        if idx not in self.docs:
            raise ValueError(idx)
        return Document(deepcopy(self.docs[idx]))

    def save(self, doc: Document) -> Document:
        self.before_save(doc)
        self.saves += 1
        if doc.id in self.docs and self.docs[doc.id]["_rev"] != doc.value.get("_rev"):
            raise self.conflict()
        doc["_rev"] = str(int(doc.value.get("_rev", "0")) + 1)
        self.docs[doc.id] = deepcopy(doc.value)
        return doc

    def change(self, idx: str, **fields: Any) -> None:
        """What somebody else does."""
        doc = self.docs[idx]
        doc.update(fields, _rev=str(int(doc["_rev"]) + 1))

    def copy(self) -> RevisionDB:
        return self


@pytest.fixture
def revision_db() -> type[RevisionDB]:
    return RevisionDB


@pytest.fixture(params=["memory", "sqlite", "couchdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TokenStore]:
    if request.param == "couchdb":
        opened = request.getfixturevalue("couch_store")
        yield opened
        return
    url = "memory:" if request.param == "memory" else str(tmp_path / "pool.db")
    opened = open_store(url, create=True)
    yield opened
    opened.close()


@pytest.fixture
def couch_store(couchdb_server: CouchServer, couchdb_pool: dict[str, str]) -> Iterator[TokenStore]:
    """A pool in a database of its own on the server of the tests, with the views of a pool."""
    url = f"{couchdb_pool['url']}/{couchdb_pool['db']}"
    opened = open_store(url, create=True, username=couchdb_pool["username"], password=couchdb_pool["password"])
    yield opened
    opened.close()


@pytest.fixture
def couchdb_pool(couchdb_server: CouchServer) -> Iterator[dict[str, str]]:
    """What programs give to `CouchDB` for a database that is still to be made, and is deleted after the test."""
    name = couchdb_server.database("classic")
    access = {"username": couchdb_server.admin, "password": couchdb_server.password}
    yield {"url": couchdb_server.url, "db": name, **access}
    couchdb_server.request("DELETE", f"/{name}")


@pytest.fixture
def client(store: TokenStore) -> Client:
    return Client(store)


@pytest.fixture(params=["sqlite", "couchdb"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    """An empty pool with its views."""
    if request.param == "couchdb":
        pool = request.getfixturevalue("couchdb_pool")
    else:
        pool = {"url": str(tmp_path / "pool.db"), "db": "any", "username": "", "password": ""}
    CouchDB(**pool, create=True).db.close()
    return Desk(tmp_path, pool)


@pytest.fixture
def couchdb_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for the ``couchdb`` package, with the two errors that programs catch."""
    package = tmp_path / "site" / "couchdb"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "http.py").write_text(
        "class HTTPError(Exception): pass\n"
        "class ResourceNotFound(HTTPError): pass\n"
        "class ResourceConflict(HTTPError): pass\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    _forget_couchdb()
    yield importlib.import_module("couchdb.http")
    _forget_couchdb()


@pytest.fixture
def no_couchdb_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    _forget_couchdb()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    yield
    _forget_couchdb()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Actors set signal handlers for the whole process; the next test has those it had."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _forget_couchdb() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "couchdb"]:
        del sys.modules[name]
    couchdb_error.cache_clear()
    clients._twofold.cache_clear()
