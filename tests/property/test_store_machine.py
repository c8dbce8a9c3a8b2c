"""Each store against the model: no token lost, none owned twice, none settled twice."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from picas.stores.base import TokenStore
from picas.stores.couchdb import Address, CouchStore, read_address
from picas.stores.memory import MemoryStore
from picas.stores.postgres import PostgresStore
from picas.stores.postgres import read_address as read_postgres
from picas.stores.sqlite import SqliteStore
from picas.testing.machine import store_machine
from support.couchdb_server import CouchServer
from support.postgres_server import PostgresServer

ENOUGH = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def in_memory_again(store: TokenStore) -> TokenStore:
    other = store.twin()
    store.close()
    return other


def test_memory_agrees_with_the_model() -> None:
    machine = store_machine(MemoryStore, in_memory_again)
    run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=40, **ENOUGH))


def test_sqlite_agrees_with_the_model(tmp_path: Path) -> None:
    paths = (tmp_path / f"pool{number}.db" for number in itertools.count())
    opened: list[Path] = []

    def new() -> SqliteStore:
        opened.append(next(paths))
        return SqliteStore.open(opened[-1], create=True)

    def again(store: TokenStore) -> SqliteStore:
        store.close()
        return SqliteStore.open(opened[-1])

    run_state_machine_as_test(
        store_machine(new, again), settings=settings(max_examples=40, stateful_step_count=30, **ENOUGH)
    )


def test_couchdb_agrees_with_the_model(couchdb_server: CouchServer) -> None:
    opened: list[Address] = []

    def new() -> CouchStore:
        url = f"{couchdb_server.url}/{couchdb_server.database('machine')}"
        opened.append(read_address(url, username=couchdb_server.admin, password=couchdb_server.password))
        return CouchStore.open(opened[-1], create=True)

    def again(store: TokenStore) -> CouchStore:
        store.close()
        return CouchStore.open(opened[-1])

    run_state_machine_as_test(
        store_machine(new, again), settings=settings(max_examples=15, stateful_step_count=20, **ENOUGH)
    )


def test_postgres_agrees_with_the_model(postgres_server: PostgresServer) -> None:
    url = postgres_server.address(postgres_server.database("machine"))
    opened: list[str] = []

    def new() -> PostgresStore:
        opened.append(f"{url}?schema=s{len(opened)}")
        return PostgresStore.open(read_postgres(opened[-1]), create=True)

    def again(store: TokenStore) -> PostgresStore:
        store.close()
        return PostgresStore.open(read_postgres(opened[-1]))

    run_state_machine_as_test(
        store_machine(new, again), settings=settings(max_examples=40, stateful_step_count=30, **ENOUGH)
    )


class Forgetful(MemoryStore):
    """A store with a fault: whatever was ever claimed may be settled, again and again."""

    def exchange(self, settlements, claim=None):
        for settlement in settlements:
            (stored,) = self.get([settlement.doc["_id"]])
            if stored:
                self.update([{**stored, **{name: settlement.doc[name] for name in ("lock", "done", "claim", "fence")}}])
        return super().exchange(settlements, claim)


def test_a_store_without_a_fence_is_found_out() -> None:
    machine = store_machine(Forgetful, in_memory_again)
    rules = settings(
        max_examples=300,
        stateful_step_count=30,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        **ENOUGH,
    )
    with pytest.raises(AssertionError, match="old fence"):
        run_state_machine_as_test(machine, settings=rules)
