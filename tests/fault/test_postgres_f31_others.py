"""F31 and beside it: the server's disk is full; somebody else has a transaction open, or a lock."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from picas.errors import StoreUnavailable
from picas.lifecycle import Doc, State, state_of
from picas.stores.postgres import PostgresStore, connection, read_address
from picas.testing.samples import claim, put
from support import postgres_faults, verbs
from support import postgres_server as servers
from support.pilots import insist
from support.postgres_faults import Scene
from support.postgres_server import OwnServer, PostgresServer
from support.verbs import result, wish


@pytest.fixture
def scene(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


def _work_through(scene: Scene, number: int, batch: int, parts: int) -> list[float]:
    """Tokens claimed and settled in batches: milliseconds for each batch, on average, part by part."""
    scene.direct.load({"_id": f"t{place:06}"} for place in range(number))
    took: list[float] = []
    docs: list[Doc] = []
    while True:
        begun = time.monotonic()
        answer = scene.direct.exchange([result(doc) for doc in docs], wish(batch))
        took.append(1000 * (time.monotonic() - begun))
        assert all(isinstance(one, dict) for one in answer.settled)
        docs = answer.claimed
        if not docs:
            break
    size = max(1, len(took) // parts)
    return [sum(took[at : at + size]) / size for at in range(0, size * parts, size)]


@pytest.mark.parametrize("number", [2_000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_long_transaction_of_somebody_else(scene: Scene, number: int) -> None:
    """F31: somebody else keeps a transaction open. Claims go on at their pace."""
    with psycopg.connect(scene.url(direct=True)) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM picas.tokens")
        held = _work_through(scene, number, 50, 5)
        told = ", ".join(f"{each:.1f}" for each in held)
        print(f"{number} tokens in batches of 50 beside a snapshot, ms a batch by fifths: {told}")
        # All goes on, whatever cannot be vacuumed meanwhile.
        assert scene.direct.count()[State.DONE] == number
        assert other.execute("SELECT count(*) FROM picas.tokens").fetchone() == (0,)
    scene.assert_sound()


@pytest.mark.parametrize(
    "seconds", [pytest.param(0.5, id="short"), pytest.param(None, id="as it is", marks=pytest.mark.soak)]
)
def test_somebody_else_keeps_the_table_locked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, seconds: float | None
) -> None:
    if seconds is not None:
        short = connection._SETTINGS.replace(f"'{connection._LOCK_TIMEOUT}s'", f"'{seconds}s'")
        monkeypatch.setattr(connection, "_SETTINGS", short)
    put(scene.direct, "a", "b")
    store = scene.open()
    before = scene.docs()
    with psycopg.connect(scene.url(direct=True)) as other:
        other.execute("LOCK TABLE picas.tokens IN ACCESS EXCLUSIVE MODE")
        for act in (lambda: claim(store), lambda: put(store, "c"), lambda: store.get(["a"])):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="lock") as caught:
                act()
            assert time.monotonic() - begun < (seconds or connection._LOCK_TIMEOUT) + 2.0
            postgres_faults.one_line(caught.value, scene)
    # Nothing was changed, and everything goes on.
    assert scene.docs() == before
    assert len(claim(store, 2)) == 2


# A full disk


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OwnServer, Path]]:
    """A server whose data lies on a small disk, and a file on it to be grown and deleted."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = Path(tempfile.mkdtemp(prefix="disk-"))  # a server's socket has a short name, or none
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=112m,mode=0777", "picas", str(disk)], check=False)
    if mounted.returncode:
        disk.rmdir()
        pytest.skip("a small disk cannot be mounted here")
    try:
        settings = "max_wal_size = 32MB\nmin_wal_size = 32MB\nwal_level = minimal\nmax_wal_senders = 0\n"
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        server = OwnServer(servers.find_programs(), settings=settings)
        try:
            yield server, disk / "filler"
        finally:
            server.close()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        disk.rmdir()


def _fill(path: Path) -> None:
    """Use up the disk."""
    try:
        with path.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 14, 1 << 10):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
    except OSError:
        return


def test_the_servers_disk_is_full(full: tuple[OwnServer, Path]) -> None:
    """F31: the server's disk is full. Nothing is lost, and work goes on when there is room."""
    server, filler = full
    store = PostgresStore.open(read_address(server.address(server.database("full"))), create=True)
    put(store, *[f"t{number:03}" for number in range(200)])
    docs = claim(store, 100, pilot=verbs.PILOT)
    _fill(filler)
    failures: list[StoreUnavailable] = []
    added: list[str] = []
    for number in range(60):
        try:
            put(store, f"u{number}", input="x" * 1_000_000)
            added.append(f"u{number}")
        except StoreUnavailable as error:
            failures.append(error)
            break
    assert failures, "the disk is not full"
    assert "disk is full" in failures[0].message or "out of reach" in failures[0].message, failures[0]
    print(f"{len(added)} tokens of 1 MB fitted; then: {failures[0]}")

    filler.unlink()
    answer, _ = insist(lambda: store.exchange([result(doc) for doc in docs], wish(200)), _wait_a_little, 100)

    # What was acknowledged is there, nothing else is, and all goes on.
    assert [state_of(one) for one in answer.settled if isinstance(one, dict)] == [State.DONE] * 100
    stored = {doc["_id"] for doc in store.page(None, limit=1000).docs}
    assert {*added, *(f"t{number:03}" for number in range(200))} == stored
    assert store.check() == []
    store.close()


def _wait_a_little() -> None:
    time.sleep(0.1)
