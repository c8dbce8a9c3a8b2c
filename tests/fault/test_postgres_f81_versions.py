"""F81, F82: pools of other versions are brought up to date step by step, or refused; also when that is cut off."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from picas.errors import PicasError, StoreFailure, StoreUnavailable
from picas.lifecycle import State
from picas.stores.postgres import PostgresStore, read_address, schema
from picas.stores.postgres.connection import Database
from picas.testing.samples import claim_one, put, settle
from support import postgres_faults
from support.cli import Cli
from support.postgres_faults import nth, one_line
from support.postgres_proxy import lose_answer, refuse
from support.postgres_server import PostgresServer

_COLUMNS = """SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default, is_identity
    FROM information_schema.columns WHERE table_schema = 'picas' ORDER BY 1, ordinal_position"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'picas' ORDER BY 1, 2"
_CONSTRAINTS = """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'picas'::regnamespace ORDER BY 1, 2"""
_OPTIONS = """SELECT relname, relkind, reloptions::text FROM pg_class
    WHERE relnamespace = 'picas'::regnamespace ORDER BY 1"""
_STORAGE = """SELECT attrelid::regclass::text, attname, attstorage FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'picas'::regnamespace AND attnum > 0 AND relkind = 'r' ORDER BY 1, 2"""
_SEQUENCES = """SELECT sequencename, data_type::text, increment_by, cache_size FROM pg_sequences
    WHERE schemaname = 'picas' ORDER BY 1"""
_CATALOG = (_COLUMNS, _INDEXES, _CONSTRAINTS, _OPTIONS, _STORAGE, _SEQUENCES)


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    name = postgres_server.database("version")
    postgres_server.run(f"CREATE DATABASE {name}")
    return postgres_server.address(name)


def _catalog(server: PostgresServer, url: str) -> list[object]:
    name = url.rpartition("/")[2]
    found: list[object] = [server.run(query, name, rows=True) for query in _CATALOG]
    assert all(found)
    return found


def _migrate(url: str, to: int) -> None:
    database = Database(read_address(url))
    try:
        database.write(lambda sql: schema.migrate(sql, to=to), patience=None)
    finally:
        database.close()


def _set_version(server: PostgresServer, url: str, version: int) -> None:
    server.run(f"UPDATE picas.meta SET version = {version}", url.rpartition("/")[2])


def test_migrated_equals_fresh(postgres_server: PostgresServer, url: str) -> None:
    fresh = postgres_server.address(postgres_server.database("fresh"))
    PostgresStore.open(read_address(fresh), create=True).close()
    for number in range(len(schema.MIGRATIONS) + 1):
        _migrate(url, number)
        if number < len(schema.MIGRATIONS):
            with pytest.raises(StoreFailure, match="older picas"):
                PostgresStore.open(read_address(url))

    assert _catalog(postgres_server, url) == _catalog(postgres_server, fresh)
    store = PostgresStore.open(read_address(url))
    put(store, "a")
    settle(store, claim_one(store))
    assert store.count()[State.DONE] == 1
    store.close()


def test_a_pool_of_a_newer_version_is_refused(postgres_server: PostgresServer, url: str, tmp_path: Path) -> None:
    PostgresStore.open(read_address(url), create=True).close()
    _set_version(postgres_server, url, len(schema.MIGRATIONS) + 1)

    for create in (False, True):
        with pytest.raises(StoreFailure, match="newer picas"):
            PostgresStore.open(read_address(url), create=create)
    answer = Cli(tmp_path)("status", PICAS_POOL=url)
    assert answer.code == 4
    assert "upgrade picas" in answer.err


def test_a_pool_of_an_older_version_is_brought_up_to_date_by_init(
    postgres_server: PostgresServer, url: str, tmp_path: Path
) -> None:
    cli = Cli(tmp_path, PICAS_POOL=url)
    _migrate(url, 0)

    old = cli("status")
    made = cli("init")

    assert old.code == 4
    assert "picas init" in old.err
    assert made.code == 0, made
    assert cli("status").code == 0


def test_a_migration_that_is_cut_off_leaves_the_version_before(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    last = schema.MIGRATIONS[-1]
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], last + "; SELECT 1 / 0"))
    with pytest.raises(StoreFailure):
        schema.create(read_address(url))
    monkeypatch.undo()

    store = PostgresStore.open(read_address(url), create=True)
    put(store, "a")
    assert store.check() == []
    store.close()


def test_the_nth_trip_of_making_a_pool_fails(postgres_server: PostgresServer) -> None:
    """For every N; the server is away from then on."""
    with postgres_faults.scene(postgres_server) as scene:
        number = 0
        while True:
            number += 1
            address = read_address(f"{scene.url()}&schema=n{number}")
            scene.proxy.plan(nth(refuse(lose_answer()), number))
            seen = len(scene.proxy.seen)
            try:
                schema.create(address)
            except StoreUnavailable as error:
                one_line(error, scene)
            trips = len(scene.proxy.seen) - seen
            scene.heal()
            schema.create(address)
            store = PostgresStore.open(address)
            # Whatever came of the first try, the second makes a whole pool.
            put(store, "a")
            assert store.check() == []
            store.close()
            if trips < number:
                break


def test_two_that_make_a_pool_at_once(postgres_server: PostgresServer) -> None:
    """The database is missing as well."""
    address = read_address(postgres_server.address(postgres_server.database("at_once")))
    errors: list[PicasError] = []
    made: list[int] = []
    barrier = threading.Barrier(4)

    def create(number: int) -> None:
        barrier.wait()
        try:
            store = PostgresStore.open(address, create=True)
            put(store, f"t{number}")
            store.close()
            made.append(number)
        except PicasError as error:
            errors.append(error)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (errors, len(made)) == ([], 4)
    store = PostgresStore.open(address)
    # One pool was made, and it has what each of them put in.
    assert store.count()[State.TODO] == 4
    store.close()
