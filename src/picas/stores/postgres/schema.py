"""The tables of a pool, as numbered migrations; ``meta`` says how many were applied.

A token is its JSON document (``doc``, with ``_id`` and ``_rev``), kept to the letter: ``json``, not ``jsonb``, which
writes numbers anew (1e22 becomes an integer of 23 digits, -0.0 loses its sign). Every other column is derived from it,
for the indexes; waiting tokens have an index of their own, which stays as small as the queue.

``waits`` has a row for each id that a held token waits for. ``tallies`` has a row for what each transaction changed in
the number of tokens by state; their sum is the count, and pilots add rows together now and then. A file of up to 1 MiB
lies in ``files.data``, a larger one in ``chunks``; a file without ``token`` is being written. While the pool is paused
``meta`` says so. ``followers`` of a pilot says until when which of its tokens is followed, ``tails`` is what it sent of
them: columns, since who has been given rights to a table has them to its new columns.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg
from psycopg.sql import SQL, Identifier

from picas.errors import NoPool, StoreFailure
from picas.stores.postgres.address import Address
from picas.stores.postgres.connection import Database, Sql, connect
from picas.stores.postgres.messages import translate

__all__ = ["MIGRATIONS", "check_version", "create", "drop", "grant", "migrate"]

_LEAST_SERVER = 140000

_VACUUM = """autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 50000, autovacuum_analyze_scale_factor = 0.05"""

MIGRATIONS = (
    f"""
    CREATE TABLE @tokens (
        id         text COLLATE "C" PRIMARY KEY,
        seq        bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
        rev        text COLLATE "C" NOT NULL,
        state      smallint NOT NULL,
        rank       bigint NOT NULL,
        not_before double precision,
        pilot      text COLLATE "C",
        requires   text COLLATE "C",
        doc        json NOT NULL
    ) WITH ({_VACUUM});
    CREATE INDEX tokens_todo ON @tokens (rank, seq) WHERE state = 1;
    CREATE INDEX tokens_others ON @tokens (state, rank, seq) WHERE state > 1;
    CREATE INDEX tokens_by_pilot ON @tokens (pilot) WHERE pilot IS NOT NULL;
    CREATE TABLE @waits (
        needs text COLLATE "C" NOT NULL,
        id    text COLLATE "C" NOT NULL,
        PRIMARY KEY (needs, id)
    );
    CREATE INDEX waits_by_id ON @waits (id);
    CREATE TABLE @tallies (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        counts bigint[] NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
    CREATE TABLE @files (
        file    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        token   text COLLATE "C",
        name    text COLLATE "C" NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        data    bytea
    );
    ALTER TABLE @files ALTER COLUMN data SET STORAGE EXTERNAL;
    CREATE UNIQUE INDEX files_by_token ON @files (token, name);
    CREATE TABLE @chunks (
        file   bigint NOT NULL,
        number integer NOT NULL,
        data   bytea NOT NULL,
        PRIMARY KEY (file, number)
    );
    ALTER TABLE @chunks ALTER COLUMN data SET STORAGE EXTERNAL;
    CREATE TABLE @pilots (
        id      text COLLATE "C" PRIMARY KEY,
        record  json NOT NULL,
        beat_at timestamptz NOT NULL,
        orders  text NOT NULL DEFAULT ''
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
    CREATE TABLE @designs (
        name     text COLLATE "C" PRIMARY KEY,
        selector json
    );
    CREATE SEQUENCE @bell CACHE 1;
    """,
    "ALTER TABLE @meta ADD COLUMN pause json",
    """
    ALTER TABLE @pilots ADD COLUMN followers jsonb NOT NULL DEFAULT '{}', ADD COLUMN tails text;
    """,
)

_VERBS = "SELECT, INSERT, UPDATE, DELETE"
_RIGHTS = (
    ("USAGE", "SCHEMA {schema}"),
    (_VERBS, "{schema}.tokens, {schema}.waits, {schema}.tallies, {schema}.files, {schema}.chunks, {schema}.pilots"),
    ("SELECT", "{schema}.meta, {schema}.designs"),
    ("UPDATE (pause)", "{schema}.meta"),
    ("USAGE, SELECT", "SEQUENCE {schema}.bell"),
)
"""What pilots and people need who add and work tokens, but not to change views, nor to drop the pool."""


def check_version(database: Database) -> None:
    """NoPool when there is no pool at the address, StoreFailure when it is of another version of picas."""
    (version,) = database.one("SELECT version FROM @meta")
    known = len(MIGRATIONS)
    if version > known:
        raise StoreFailure(
            f"pool {database.address.url} was made by a newer picas (schema {version}, this one knows {known})",
            hint="upgrade picas",
        )
    if version < known:
        raise StoreFailure(
            f"pool {database.address.url} is of an older picas (schema {version}, this one needs {known})",
            hint="whoever made it brings it up to date by `picas init`",
        )


def create(address: Address) -> None:
    """Make the pool, or bring it up to date; the database too when it is missing and this user may make one."""
    try:
        _check_server(address)
    except NoPool:
        if not _make_database(address):
            raise
    database = Database(address)
    try:
        database.write(migrate, patience=None)
    finally:
        database.close()


def migrate(sql: Sql, *, to: int = len(MIGRATIONS)) -> None:
    """Apply the migrations that are missing, up to a number; within one transaction."""
    schema = sql.text("@").decode().rstrip(".")
    sql.rows("SELECT pg_advisory_xact_lock(%s)", _LOCK)
    sql.run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    sql.run("CREATE TABLE IF NOT EXISTS @meta (version integer NOT NULL)")
    row = sql.one("SELECT version FROM @meta")
    if row is None:
        sql.run("INSERT INTO @meta (version) VALUES (0)")
    for number in range(row[0] if row else 0, to):
        for statement in MIGRATIONS[number].split(";"):
            if statement.strip():
                sql.run(statement)
        sql.run("UPDATE @meta SET version = %s", number + 1)


def grant(database: Database, role: str) -> None:
    """Let a role add, work and change tokens."""
    schema = Identifier(database.address.schema)

    def give(sql: Sql) -> None:
        for verbs, what in _RIGHTS:
            objects = SQL(what).format(schema=schema)
            sql.connection.execute(SQL("GRANT {} ON {} TO {}").format(SQL(verbs), objects, Identifier(role)))

    database.write(give)


def drop(database: Database) -> None:
    """Delete the pool with everything in it; the database stays."""
    schema = Identifier(database.address.schema)
    database.write(lambda sql: sql.connection.execute(SQL("DROP SCHEMA {} CASCADE").format(schema)), patience=None)


_LOCK = 0x50694361
"""Of the advisory lock under which tables are made."""


def _check_server(address: Address) -> None:
    database = Database(address)
    try:
        version, encoding = database.one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
        )
    finally:
        database.close()
    if version < _LEAST_SERVER:
        raise StoreFailure(f"the server of {address.url} is PostgreSQL {version // 10000}", hint="14 is the oldest")
    if encoding != "UTF8":
        raise StoreFailure(
            f"database {address.options['dbname']!r} is in {encoding}, which cannot hold all text",
            hint="make one by: createdb -T template0 -E UTF8 NAME",
        )


def _make_database(address: Address) -> bool:
    """Make the database; False where that is not allowed."""
    name = address.options["dbname"]
    make = SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name))
    try:
        with connect(replace(address, options={**address.options, "dbname": "postgres"})) as connection:
            connection.execute(make)
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return True
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.Error as error:
        raise translate(error, address) from error
    return True
