from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.couchdb_server import CouchServer
from support.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "couchdb", "postgres"])
def picas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a folder with an empty pool, which is a file there or a database on a server."""
    environ = {}
    if request.param == "couchdb":
        server: CouchServer = request.getfixturevalue("couchdb_server")
        environ = {"PICAS_POOL": server.address(server.database("e2e"))}
    elif request.param == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        environ = {"PICAS_POOL": postgres.address(postgres.database("e2e"))}
    cli = Cli(tmp_path, **environ)
    cli.ok("init")
    yield cli
    if environ:
        cli("pool", "drop", "--yes")


@pytest.fixture
def picas_here(tmp_path: Path) -> Cli:
    """The command line, in a folder with an empty pool in a file."""
    cli = Cli(tmp_path)
    assert cli.inside("init").code == 0
    return cli
