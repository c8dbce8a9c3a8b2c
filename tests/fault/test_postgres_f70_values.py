"""F70 to F74: what one store takes, every store takes, and gives back the same; what one refuses, all refuse alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas.errors import InvalidToken
from picas.stores.base import TokenStore
from picas.stores.couchdb import CouchStore
from picas.stores.couchdb import read_address as couch_address
from picas.stores.memory import MemoryStore
from picas.stores.postgres import PostgresStore, read_address
from picas.stores.sqlite import SqliteStore
from picas.testing.values import JSON, told
from support.couchdb_server import CouchServer
from support.postgres_server import PostgresServer

ODD = st.sampled_from(
    ["\0", "\ud800", "\\u0000", "\\", "\t\n\r", "\x7f\u2028", 2**53, -(2**53), 2**53 - 1, 10**400, 1e308, 5e-324]
)
NUMBERS = st.sampled_from([float("inf"), float("nan"), -0.0, 1.0, 1e22, 1e-7, 123456789012345680.0, 0.1])
DEPTHS = st.sampled_from([98, 99, 100, 101, 900]).map(lambda depth: json.loads("[" * depth + "]" * depth))
FIELDS = st.dictionaries(st.text(st.characters(), max_size=8), JSON | ODD | NUMBERS, max_size=4)
TOKENS = FIELDS | st.fixed_dictionaries({"input": JSON | ODD | NUMBERS | DEPTHS})


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, couchdb_server: CouchServer
) -> Iterator[dict[str, TokenStore]]:
    couch = couch_address(
        f"{couchdb_server.url}/{couchdb_server.database('values')}",
        username=couchdb_server.admin,
        password=couchdb_server.password,
    )
    folder: Path = tmp_path_factory.mktemp("values")
    made: dict[str, TokenStore] = {
        "memory": MemoryStore(),
        "SQLite": SqliteStore.open(folder / "picas.db", create=True),
        "PostgreSQL": PostgresStore.open(
            read_address(postgres_server.address(postgres_server.database("values"))), create=True
        ),
        "CouchDB": CouchStore.open(couch, create=True),
    }
    yield made
    for store in made.values():
        store.close()


def _taken(stores: dict[str, TokenStore], doc: dict[str, Any]) -> bool:
    """Whether a document is taken; where it is refused, all stores refuse it in the same words."""
    try:
        stores["memory"].put([doc])
    except InvalidToken as error:
        why = error.message
    else:
        return True
    for name, store in stores.items():
        with pytest.raises(InvalidToken) as caught:
            store.put([doc])
        assert caught.value.message == why, name
    return False


@pytest.mark.parametrize("examples", [300, pytest.param(2_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_any_token_is_the_same_everywhere(stores: dict[str, TokenStore], examples: int) -> None:
    taken: list[dict[str, Any]] = []

    @given(fields=TOKENS)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(fields: dict[str, Any]) -> None:
        doc = {**fields, "_id": f"v{len(taken):05}"}
        if _taken(stores, doc):
            taken.append(doc)

    check()
    ids = [doc["_id"] for doc in taken]
    for store in list(stores.values())[1:]:
        for start in range(0, len(taken), 100):
            answers = store.put(taken[start : start + 100])
            assert all(isinstance(rev, str) for rev in answers), answers
    first = stores["memory"].get(ids)
    for name, store in stores.items():
        for one, other in zip(first, store.get(ids), strict=True):
            assert one is not None, name
            assert other is not None, (name, one)
            # As exactly as the store tells numbers apart, and but for the revision.
            assert told(store, {**other, "_rev": ""}) == told(store, {**one, "_rev": ""}), name
        store.delete([doc for doc in store.get(ids) if doc is not None])
    assert len(taken) > examples // 4
