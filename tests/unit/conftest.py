from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.pool import Pool, connect
from support.postgres_server import PostgresServer


@pytest.fixture(params=["memory", "sqlite", "couchdb", "postgres"])
def each_pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    """An empty pool, on every kind of store."""
    url = "memory:"
    login: dict[str, str] = {}
    if request.param == "sqlite":
        url = str(tmp_path / "each.db")
    elif request.param == "couchdb":
        server = request.getfixturevalue("couchdb_server")
        url, login = f"{server.url}/{server.database('each')}", {"username": server.admin, "password": server.password}
    elif request.param == "postgres":
        url = request.getfixturevalue("_postgres_database")
    with connect(url, create=True, **login) as pool:
        yield pool
        if url != "memory:":
            pool.store.drop()


@pytest.fixture(scope="session")
def _postgres_database(postgres_server: PostgresServer) -> str:
    return postgres_server.address(postgres_server.database("each"))
