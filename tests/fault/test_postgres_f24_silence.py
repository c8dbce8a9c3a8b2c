"""F24: an answer does not come, comes slowly, or byte by byte. No call outlasts its time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from picas.errors import StoreUnavailable
from support import postgres_faults, postgres_proxy
from support.pilots import insist
from support.postgres_faults import Scene, nth, one_line, shorten
from support.postgres_server import PostgresServer
from support.verbs import VERBS

PATIENCE = 0.5


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene) -> Scene:
    return place.fresh()


@pytest.mark.parametrize(
    "number", [pytest.param(4, marks=pytest.mark.soak), 6, pytest.param(7, marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("fault", [postgres_proxy.hang, postgres_proxy.stall], ids=["not sent", "not answered"])
@pytest.mark.parametrize("name", ["put", "settle and claim", "beat", "count"])
def test_a_server_that_says_nothing_is_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, fault: postgres_proxy.Fault, number: int
) -> None:
    """Connecting takes the first trips, the verb those after it."""
    shorten(monkeypatch, PATIENCE)
    verb = VERBS[name]
    before, store = verb.before(scene), scene.open()
    scene.proxy.plan(nth(fault(), number))
    begun = time.monotonic()

    def act() -> object:
        nonlocal begun
        begun = time.monotonic()
        try:
            return verb.act(store, before)
        except StoreUnavailable:
            assert time.monotonic() - begun < PATIENCE + 1.0
            raise

    answer, failures = insist(act, scene.heal)

    for error in failures:
        one_line(error, scene)
    assert all("no answer within" in error.message for error in failures)
    # Repeated, it counts once.
    verb.check(scene, before, answer, bool(failures))
    scene.assert_sound()


@pytest.mark.parametrize("name", ["put", "settle and claim", "get_attachment"])
def test_answers_that_come_byte_by_byte(scene: Scene, name: str) -> None:
    verb = VERBS[name]
    before, store = verb.before(scene), scene.open()
    if name == "get_attachment":
        scene.proxy.plan(lambda trip: postgres_proxy.delay(0.2) if trip.statements else None)
    else:
        scene.proxy.plan(lambda trip: postgres_proxy.slow(20_000) if trip.starts else None)

    answer = verb.act(store, before)

    verb.check(scene, before, answer, False)
