"""The contract on a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from picas.stores.postgres import PostgresStore, read_address
from picas.testing.contract import *  # noqa: F403
from picas.testing.contract import Reopen
from support.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.address(postgres_server.database("contract"))


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    postgres = PostgresStore.open(read_address(database), create=True)
    yield postgres
    postgres.drop()


@pytest.fixture
def reopen(store: PostgresStore, database: str) -> Iterator[Reopen]:
    opened: list[PostgresStore] = []

    def another() -> PostgresStore:
        opened.append(PostgresStore.open(read_address(database)))
        return opened[-1]

    yield another
    for handle in opened:
        handle.close()
