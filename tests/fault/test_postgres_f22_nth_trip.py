"""F22: the N-th trip to the server fails, for every N, once or for good. Nothing is lost, doubled or half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from picas.stores.base import TokenStore
from support import postgres_faults, postgres_proxy
from support.pilots import insist
from support.postgres_faults import Scene, nth, one_line
from support.postgres_proxy import Fault
from support.postgres_server import PostgresServer
from support.verbs import VERBS

FAULTS: dict[str, Callable[[], Fault]] = {
    "reset": postgres_proxy.cut_before,
    "lost": postgres_proxy.lose_answer,
    "cut": lambda: postgres_proxy.cut_answer(7),
    "refused": postgres_proxy.refuse,
}
EVER = {"refused"}
"""A server that refuses goes on to."""
QUIET = {"wait", "claim", "claim nothing", "settle and claim more"}
"""What fails in looking for more, after all tokens that were there have been claimed, need not be heard of."""

LONG = {"put_attachment", "load", "settle and claim more", "get_attachment", "check"}
CLEANS = {"load"}
"""Verbs that clean up in a transaction of its own when all is done."""


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene) -> Scene:
    return place.fresh()


@pytest.fixture(scope="module")
def trips() -> dict[str, list[bool]]:
    """The trips that each verb takes where nothing is wrong, as far as that is known: whether its failure is told.

    What comes after the commit (waking pilots that wait, who also look by themselves) is not.
    """
    return {}


def _trips_of(scene: Scene, name: str) -> list[bool]:
    """Its trips where nothing is wrong, connecting included; that it does what it should is checked, too."""
    verb = VERBS[name]
    before, store = verb.before(scene), scene.open()
    scene.proxy.plan(None)
    seen = len(scene.proxy.seen)
    answer = verb.act(store, before)
    trips = scene.proxy.seen[seen:]
    commits = [place for place, trip in enumerate(trips) if trip.commits]
    last = commits[-2 if name in CLEANS else -1] if commits else len(trips)
    told = [name not in QUIET and place <= last for place in range(len(trips))]
    verb.check(scene, before, answer, False)
    scene.assert_sound()
    scene.fresh()
    return told


def _parameters(name: str, fault: str, ever: bool) -> Any:
    usual = ("reset",) if VERBS[name].reads else ("lost",) if name in LONG else ("lost", "refused")
    is_long = fault not in usual or (ever and fault not in EVER)
    marks = pytest.mark.soak if is_long else ()
    return pytest.param(name, fault, ever, marks=marks, id=f"{name}-{fault}-{'for good' if ever else 'once'}")


CASES = [
    (name, fault, ever) for name in VERBS for fault in FAULTS for ever in (False, True) if fault not in EVER or ever
]


@pytest.mark.parametrize(("name", "fault", "ever"), [_parameters(*case) for case in CASES])
def test_the_nth_trip_fails(scene: Scene, trips: dict[str, list[bool]], name: str, fault: str, ever: bool) -> None:
    verb = VERBS[name]
    if name not in trips:
        trips[name] = _trips_of(scene, name)
    before = verb.before(scene)
    for number, is_told in enumerate(trips[name], 1):
        store = scene.open()
        scene.proxy.plan(nth(FAULTS[fault](), number, ever=ever))

        answer, failures = insist(lambda: verb.act(store, before), scene.heal)  # noqa: B023 - called at once

        scene.heal()
        for error in failures:
            one_line(error, scene)
        assert failures or not (ever and is_told), f"nobody heard of the failure of trip {number}"
        # Whether it failed and was repeated, or got through: the tokens and their files are as if it was done once.
        verb.check(scene, before, answer, bool(failures))
        if not verb.reads:
            scene.fresh()
            before = verb.before(scene)


def test_no_verb_is_left_out() -> None:
    others = {"now", "twin", "close", "drop"}
    assert {verb.verb for verb in VERBS.values()} | others == TokenStore.__abstractmethods__
