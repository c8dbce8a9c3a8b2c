from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.couchdb_server import CouchServer


@pytest.fixture(params=["sqlite", "couchdb"])
def picas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a folder with an empty pool, which is a file there or a database on a server."""
    environ = {}
    if request.param == "couchdb":
        server: CouchServer = request.getfixturevalue("couchdb_server")
        environ = {"PICAS_POOL": server.address(server.database("e2e"))}
    cli = Cli(tmp_path, **environ)
    cli.ok("init")
    yield cli
    if request.param == "couchdb":
        cli("pool", "drop", "--yes")


@pytest.fixture
def picas_here(tmp_path: Path) -> Cli:
    """The command line, in a folder with an empty pool in a file."""
    cli = Cli(tmp_path)
    cli.ok("init")
    return cli
