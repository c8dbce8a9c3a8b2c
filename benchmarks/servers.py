"""Where pools of a benchmark lie: a folder, or a server that a variable names or that is started for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.couchdb_server import CouchServer  # type: ignore[import-not-found]

__all__ = ["STORES", "Place", "couchdb_at", "place_of"]

STORES = ("sqlite", "postgres", "couchdb")
SETTINGS = "shared_buffers = 1GB\nmax_wal_size = 4GB\ncheckpoint_timeout = 15min"
"""Of a PostgreSQL that is started here, besides what it has by itself: what any guide to it says of memory and log."""

_TESTS = Path(__file__).resolve().parent.parent / "tests"


@dataclass(frozen=True)
class Place:
    """``url`` gives the address of a new pool of that name; ``requests`` how many the server has had, if it tells."""

    about: str
    url: Callable[[str], str]
    requests: Callable[[], int | None]


@contextmanager
def place_of(store: str, folder: Path) -> Iterator[Place]:
    """Where new pools of a store are made, for as long as it is used."""
    if store == "sqlite":
        yield Place("", lambda name: str(folder / f"{name}.db"), lambda: None)
    elif store == "postgres":
        yield from _postgres(folder)
    else:
        with couchdb_at("", folder) as server:
            about = f"{server.flavour} {server.version}"
            yield Place(about, lambda name: str(server.address(server.database(name))), lambda: _asked(server))


def _postgres(folder: Path) -> Iterator[Place]:
    sys.path.append(str(_TESTS))
    import support.postgres_server as postgres  # type: ignore[import-not-found]

    named = os.environ.get(postgres.VARIABLE)
    programs = None if named else postgres.find_programs()
    # Beside the folder: it is for us alone, and the server may run as another user.
    server = (
        postgres.PostgresServer(named)
        if named
        else postgres.OwnServer(programs, folder=folder.parent, settings=SETTINGS)
    )
    transactions = "SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname LIKE 'bench%'"
    try:
        yield Place(
            str(server.run("SELECT version()", rows=True)[0][0]).partition(" on ")[0],
            lambda name: str(server.address(server.database(f"bench_{name.replace('-', '_')}"))),
            lambda: int(server.run(transactions, rows=True)[0][0] or 0),
        )
    finally:
        server.close()


@contextmanager
def couchdb_at(url: str, folder: Path) -> Iterator[CouchServer]:
    """The server at an address, else the one that the tests would take."""
    sys.path.append(str(_TESTS))
    from support.couchdb_server import VARIABLE, Missing, get_server

    if url:
        os.environ[VARIABLE] = url
    try:
        server = get_server(folder)
    except Missing as problem:
        raise SystemExit(f"no server: {problem}") from None
    try:
        yield server
    finally:
        server.close()


def _asked(server: Any) -> int | None:
    answer = server.request("GET", "/_node/_local/_stats/couchdb/httpd/requests")
    return int(answer.json()["value"]) if answer.status == 200 else None
