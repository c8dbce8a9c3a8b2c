"""F30: the password is wrong, somebody is not known, nothing is there, or the rights are missing."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from picas.errors import NoPool, PicasError, StoreFailure
from picas.lifecycle import State
from picas.stores.postgres import PostgresStore, read_address, schema
from picas.stores.postgres.connection import Database
from picas.testing.samples import TODO, claim, put, settle
from support import postgres_faults
from support.cli import Cli
from support.postgres_faults import Scene
from support.postgres_server import PostgresServer
from support.verbs import DESIGN, record

WRONG = "wrong-canary"


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene) -> Scene:
    return place.fresh()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def role(place: Scene) -> Iterator[tuple[str, str]]:
    """Name and password of a role that may log in, and nothing else."""
    name, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(8)
    place.server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    yield name, password
    place.server.run(f"DROP OWNED BY {name}; DROP ROLE {name}", place.database)


def _status(cli: Cli, scene: Scene, url: str, **environ: str) -> Any:
    answer = cli("status", PICAS_POOL=url, **environ)
    lines = answer.err.splitlines()
    assert 1 <= len(lines) <= 2, answer.err  # what is wrong, and a hint
    password = urlsplit(scene.server.url).password or "none"
    assert not {WRONG, password} & set(answer.err.split())
    return answer


def test_a_wrong_password_is_tried_at_most_twice(scene: Scene, cli: Cli) -> None:
    seen = len(scene.proxy.seen)
    answer = _status(cli, scene, scene.url(user="postgres", password=WRONG))

    assert answer.code == 3
    assert "the password is wrong" in answer.err
    assert "PICAS_PASSWORD" in answer.err
    assert 1 <= sum(trip.starts for trip in scene.proxy.seen[seen:]) <= 2


def test_no_password(scene: Scene, cli: Cli) -> None:
    answer = _status(cli, scene, f"postgresql://postgres@{scene.place}/{scene.database}?sslmode=disable")

    assert answer.code == 3
    assert "the password is wrong" in answer.err


def test_an_unknown_user(scene: Scene, cli: Cli) -> None:
    """A server tells nobody who asks which users it knows."""
    answer = _status(cli, scene, scene.url(user="nobody_at_all", password=WRONG))

    assert answer.code == 3
    assert "nobody_at_all" in answer.err


def test_an_unknown_database(scene: Scene, cli: Cli) -> None:
    answer = _status(cli, scene, scene.url().replace(scene.database, "no_such_database"))

    assert answer.code == 3
    assert "no database 'no_such_database'" in answer.err


def test_a_database_without_a_pool(scene: Scene, cli: Cli) -> None:
    answer = _status(cli, scene, scene.url().replace(scene.database, "postgres"))

    assert answer.code == 3
    assert "no pool" in answer.err
    assert "picas init" in answer.err


def test_a_schema_without_a_pool(scene: Scene, cli: Cli) -> None:
    answer = _status(cli, scene, scene.url() + "&schema=other")

    assert answer.code == 3
    assert "no pool" in answer.err


def test_nothing_listens(scene: Scene, cli: Cli) -> None:
    scene.proxy.refuse()
    answer = _status(cli, scene, scene.url())

    assert answer.code == 4
    assert "out of reach" in answer.err


# Rights


def _store(scene: Scene, role: tuple[str, str]) -> PostgresStore:
    return PostgresStore.open(read_address(scene.url(user=role[0], password=role[1])))


def _names_role(error: PicasError, role: tuple[str, str], what: str) -> None:
    assert isinstance(error, StoreFailure), repr(error)
    assert role[0] in error.message
    assert what in error.message
    assert "picas pool create --grant" in error.hint


def test_a_role_without_rights(scene: Scene, cli: Cli, role: tuple[str, str]) -> None:
    with pytest.raises(StoreFailure) as caught:
        _store(scene, role)

    _names_role(caught.value, role, "schema picas")
    answer = _status(cli, scene, scene.url(user=role[0], password=role[1]))
    assert answer.code == 4
    assert role[0] in answer.err


def test_a_role_that_may_only_read(scene: Scene, role: tuple[str, str]) -> None:
    put(scene.direct, "a")
    scene.server.run(f"GRANT USAGE ON SCHEMA picas TO {role[0]}", scene.database)
    scene.server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA picas TO {role[0]}", scene.database)
    store = _store(scene, role)
    assert store.count()[State.TODO] == 1
    assert store.page(TODO).docs == scene.docs()

    writes: list[Callable[[], object]] = [
        lambda: put(store, "b"),
        lambda: store.load([{"_id": "b"}]),
        lambda: claim(store),
        lambda: store.beat(record()),
        lambda: store.delete(scene.docs()),
        lambda: store.put_attachment("a", "x", io.BytesIO(b"x")),
    ]
    for write in writes:
        with pytest.raises(StoreFailure) as caught:
            write()
        _names_role(caught.value, role, "permission denied for")

    # Nothing was changed, and what may be read can still be read.
    assert [doc["_rev"][:2] for doc in store.page(TODO).docs] == ["1-"]
    store.close()


def test_a_role_that_was_given_rights_can_work(scene: Scene, role: tuple[str, str]) -> None:
    database = Database(read_address(scene.url(direct=True)))
    schema.grant(database, role[0])
    database.close()
    store = _store(scene, role)

    put(store, "a", "b")
    assert store.load([{"_id": "c"}]).added == 1
    store.beat(record())
    (doc,) = claim(store)
    assert isinstance(settle(store, doc), dict)
    store.put_attachment("b", "x", io.BytesIO(b"x"))
    assert b"".join(store.get_attachment("b", "x")) == b"x"
    assert store.delete_attachment("b", "x")
    assert store.order(record().id, "drain")
    assert [pilot.id for pilot in store.pilots()] == [record().id]
    store.forget(record().id)
    assert store.count()[State.DONE] == 1
    assert store.wait(0.0) is False
    put(scene.direct, "d")
    assert store.wait(5.0)
    assert store.check() == []

    with pytest.raises(StoreFailure) as installing:
        store.install(DESIGN)
    _names_role(installing.value, role, "designs")
    with pytest.raises(StoreFailure) as dropping:
        store.drop()
    assert "must be owner" in dropping.value.message
    # The pool is as it was.
    assert scene.direct.count()[State.TODO] == 3
    assert scene.direct.delete([scene.doc("c")]) == [True]
    store.close()


def test_the_database_is_dropped_under_a_pilot(postgres_server: PostgresServer) -> None:
    with postgres_faults.scene(postgres_server) as scene:
        store = scene.open()
        put(store, "a")
        scene.server.run("DROP SCHEMA picas CASCADE", scene.database)

        with pytest.raises(NoPool, match="no pool"):
            store.count()
        with pytest.raises(NoPool, match="no pool"):
            claim(store)
        scene.direct.close()
