"""The contract on a database over CouchDB's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from picas.pool import connect
from picas.stores.couchdb import CouchStore, read_address
from picas.testing.contract import *  # noqa: F403
from picas.testing.contract import Reopen
from support.couchdb_server import CouchServer

_CHARACTERS = "it mixes up ids and names with characters beyond U+2027"
_DIFFERENCES = {
    r"TestIds::test_an_id_comes_back_exactly['\\U0001f469": _CHARACTERS,
    r"TestIds::test_an_id_comes_back_exactly['\\u2028": _CHARACTERS,
    "TestIds::test_no_two_of_them_are_one": _CHARACTERS,
    "exactly[odd names]": "it loses a field that is named __proto__",
    "settlement[odd names]": "it loses a field that is named __proto__",
}
"""Where the server from npm differs from CouchDB, and how."""


@pytest.fixture(autouse=True)
def same_as_couchdb(request: pytest.FixtureRequest, couchdb_server: CouchServer) -> None:
    """Skip what CouchDB does and the server from npm does not."""
    if couchdb_server.flavour == "pouchdb":
        for name, difference in _DIFFERENCES.items():
            if name in request.node.nodeid:
                pytest.skip(f"pouchdb-server differs: {difference}")


@pytest.fixture
def pool(couchdb_server: CouchServer) -> dict[str, str | None]:
    url = f"{couchdb_server.url}/{couchdb_server.database('contract')}"
    return {"url": url, "username": couchdb_server.admin, "password": couchdb_server.password}


@pytest.fixture
def store(pool: dict[str, str]) -> Iterator[CouchStore]:
    couch = CouchStore.open(read_address(**pool), create=True)
    yield couch
    couch.drop()


@pytest.fixture
def reopen(store: CouchStore, pool: dict[str, str]) -> Reopen:
    return lambda: CouchStore.open(read_address(**pool))


def test_a_name_and_a_password_in_the_address_are_used(couchdb_server: CouchServer) -> None:
    with connect(couchdb_server.address(couchdb_server.database("address")), create=True) as pool:
        pool.add([{"_id": "t1"}])
        assert pool.store.get(["t1"])[0] is not None
        pool.store.drop()


def test_credentials_that_are_given_beside_an_address_go_before_those_in_it() -> None:
    address = read_address("https://ann:a%40b@host/db")
    assert (address.username, address.password) == ("ann", "a@b")
    address = read_address("https://ann:secret@host/db", username="bob", password="other")
    assert (address.username, address.password) == ("bob", "other")
    assert "secret" not in repr(address) + address.server + address.shown
