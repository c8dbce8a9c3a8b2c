"""What the command line has for PostgreSQL alone."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from support.cli import Cli
from support.postgres_server import PostgresServer


@pytest.fixture
def owner(tmp_path: Path, postgres_server: PostgresServer) -> Cli:
    """The command line as the one who made the pool."""
    cli = Cli(tmp_path, PICAS_POOL=postgres_server.address(postgres_server.database("roles")))
    cli.ok("init")
    return cli


def test_a_role_is_given_rights_and_works(owner: Cli, tmp_path: Path, postgres_server: PostgresServer) -> None:
    role = f"pilot_{uuid.uuid4().hex[:8]}"
    postgres_server.run(f"CREATE ROLE {role} LOGIN PASSWORD 'abc'")
    address = owner.environ["PICAS_POOL"]
    database = address.rpartition("/")[2]
    other = tmp_path / "other"
    other.mkdir()
    pilot = Cli(other, PICAS_POOL=postgres_server.address(database, user=role, password="abc"))
    refused = pilot("add", "--", "true")
    assert refused.code == 4, refused
    assert f"role {role} has too few rights" in refused.err
    assert "picas pool create --grant" in refused.err

    assert f"role {role} may add, work and change tokens" in owner.ok("pool", "create", "--grant", role).err
    pilot.ok("add", "--range", "1-5", "--", "true {i}")
    pilot.ok("run", "--cores", "1")
    assert "5" in pilot.ok("status").out
    said = pilot.ok("doctor").out
    assert f"role {role} may add, work and change tokens" in said
    assert "superuser" in owner.ok("doctor").out
    dropped = pilot("pool", "drop", "--yes")
    assert dropped.code == 4, dropped
    assert pilot("view", "add", "wide", "--where", "cores>=4").code == 4
    owner.ok("pool", "drop", "--yes")
    postgres_server.run(f"DROP ROLE {role}")


def test_a_role_that_does_not_exist(owner: Cli) -> None:
    refused = owner("pool", "create", "--grant", "nobody_of_that_name")
    assert refused.code == 4
    assert 'role "nobody_of_that_name" does not exist' in refused.err
    assert "CREATE ROLE" in refused.err


def test_roles_are_of_postgres(picas_here: Cli) -> None:
    refused = picas_here("pool", "create", "--grant", "x")
    assert refused.code == 4
    assert "knows no roles" in refused.err


def test_no_server(tmp_path: Path) -> None:
    refused = Cli(tmp_path, PICAS_POOL="postgresql://me@127.0.0.1:1/db")("status")
    assert refused.code == 4
    assert "postgresql://me@127.0.0.1:1/db is out of reach" in refused.err
    assert len(refused.err.splitlines()) == 2
