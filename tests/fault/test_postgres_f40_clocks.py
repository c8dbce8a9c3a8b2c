"""F40, F41: clocks of pilots are wrong; the server's is the one that counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.lifecycle import State, fence_of, state_of
from picas.pool import Pool
from picas.testing.samples import claim, put
from support import postgres_faults
from support.pilots import until
from support.postgres_faults import Scene
from support.postgres_server import PostgresServer
from support.verbs import record

HOUR = 3600.0
ERRORS = {"-1 h": -HOUR, "-5 s": -5.0, "+5 s": 5.0, "+1 h": HOUR, "+10 y": 10 * 365.25 * 24 * HOUR}
LEASE = 1.0

_PILOT = """
import sys, time
error = float(sys.argv[3])
true_time = time.time
time.time = lambda: true_time() + error
from picas.pool import connect
from picas.stores.base import PilotRecord
from picas.testing.samples import claim
with connect(sys.argv[1], username="", password="") as pool:
    pilot = sys.argv[2]
    while True:
        pool.store.beat(PilotRecord(id=pilot, hostname="n", pid=1, started_at=time.time(), lease=float(sys.argv[4])))
        pool.recover()
        for doc in claim(pool.store, 1, pilot=pilot):
            print(doc["_id"], doc["fence"], doc["lock"], flush=True)
        time.sleep(0.05)
"""


@pytest.fixture
def scene(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


def test_pilots_whose_clocks_are_wrong(scene: Scene, tmp_path: Path) -> None:
    """F40: pilots' clocks are wrong by seconds to years. None is taken for dead, and the dead are found."""
    store = scene.direct
    number = 40
    put(store, *[f"t{place:02}" for place in range(number)])
    processes = []
    for name, error in ERRORS.items():
        out = (tmp_path / name).open("wb")
        argv = [sys.executable, "-c", _PILOT, scene.url(direct=True), name, str(error), str(LEASE)]
        with out:
            env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            processes.append(subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=env))
    try:
        until("all are claimed", lambda: store.count()[State.LOCKED] == number, 30.0)
        before = {doc["_id"]: doc["claim"]["pilot"] for doc in scene.docs()}
        begun = time.monotonic()
        until("two leases are over", lambda: time.monotonic() > begun + 2 * LEASE)
        # Nobody's tokens were given back, whatever his clock or that of whoever looks.
        assert {doc["_id"]: doc["claim"]["pilot"] for doc in scene.docs()} == before
        assert {fence_of(doc) for doc in scene.docs()} == {1}
        assert all(abs(doc["lock"] - store.now()) < 60 for doc in scene.docs())

        victim = "+1 h" if "+1 h" in before.values() else next(iter(before.values()))
        held = {name for name, pilot in before.items() if pilot == victim}
        place = list(ERRORS).index(victim)
        processes[place].kill()
        killed_at = time.monotonic()
        until("it is missed", lambda: all(fence_of(scene.doc(name)) == 2 for name in held), LEASE * 2 + 5)
        assert time.monotonic() - killed_at > LEASE * 0.9
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # Every claim was told to one pilot, once; what the dead one held was claimed by others, and nothing else was.
    told = [tuple(line.split()[:2]) for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sorted(told) == sorted({(name, "1") for name in before} | {(name, "2") for name in held})


@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["-1 h", "+1 h"])
def test_a_clock_that_steps(scene: Scene, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """F41: the clock of a pilot steps, or that of whoever looks for silent ones. Leases hold."""
    store, lease = scene.direct, 1.0
    put(store, "a", not_before=store.now() + 1000.0)
    put(store, "b")
    store.beat(record(lease=lease))
    claim(store, 1, pilot=record().id)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + step)
    other = scene.open()

    beat_at = time.monotonic()
    store.beat(record(lease=lease))
    assert not store.pilots()[0].lapsed
    assert Pool(other).recover() == []
    assert abs(store.now() - true_time()) < 5.0
    assert abs(other.now() - true_time()) < 5.0
    assert claim(store) == []
    # A pilot that does fall silent is missed after a lease, by the server's clock.
    until("it is missed", lambda: Pool(store).recover() == ["b"], 5.0)
    assert time.monotonic() - beat_at > lease
    assert state_of(scene.doc("b")) is State.TODO
