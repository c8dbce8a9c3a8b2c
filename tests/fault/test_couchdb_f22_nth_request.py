"""F22: the N-th request of a verb fails, for every N, once or for good. Nothing is lost, doubled or half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from picas.stores.base import TokenStore
from support import couch_faults, faults
from support.couch_faults import Scene, on, one_line
from support.couchdb_server import CouchServer
from support.fault_proxy import Fault
from support.pilots import insist
from support.verbs import PILOT, VERBS, Verb

FAULTS: dict[str, tuple[Callable[[], Fault], Callable[[], Fault]]] = {
    "refused": (couch_faults.refuse_once, faults.refuse),
    "reset": (faults.reset_before, faults.reset_before),
    "503": (lambda: faults.status(503, b"<html>busy</html>", content_type="text/html"),) * 2,
    "cut": (couch_faults.half, couch_faults.half),
}
"""Each fault as it comes once, and as it stays."""


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    couch_faults.hasten(monkeypatch)
    return place.fresh()


def _clear(scene: Scene, verb: Verb) -> None:
    scene.fresh()
    if verb.verb in ("install", "uninstall"):
        scene.direct.uninstall("Large")
    if verb.verb in ("beat", "pilots", "order", "forget"):
        scene.direct.forget(PILOT)


@pytest.fixture(scope="module")
def requests() -> dict[str, int]:
    """How many requests each verb takes where nothing is wrong, as far as that is known."""
    return {}


def _requests_of(scene: Scene, verb: Verb) -> int:
    """How many requests it takes where nothing is wrong; that it does what it should is checked, too."""
    before, store = verb.before(scene), scene.open()
    seen = len(scene.proxy.seen)
    answer = verb.act(store, before)
    asked = [one for one in scene.proxy.seen[seen:] if "_changes" not in one.path]
    verb.check(scene, before, answer, False)
    _clear(scene, verb)
    return len(asked)


CASES = [(name, fault, ever) for name in VERBS for fault in FAULTS for ever in (False, True)]
FEW = {("reset", True), ("cut", False)}
"""Faults that show most of what there is to see; the others come in the long run, and so does the longest act."""
SOAK = {
    (name, fault, ever)
    for name, fault, ever in CASES
    if (fault, ever) not in FEW or (VERBS[name].reads and fault == "cut") or name == "settle and claim more"
}


QUIET = {"wait", "claim", "claim nothing", "settle and claim more"}
"""What fails after the tokens that there are have been claimed, in looking for more, need not be heard of."""


def _parameters(name: str, fault: str, ever: bool) -> Any:
    marks = pytest.mark.soak if (name, fault, ever) in SOAK else ()
    return pytest.param(name, fault, ever, marks=marks, id=f"{name}-{fault}-{'for good' if ever else 'once'}")


@pytest.mark.parametrize(("name", "fault", "ever"), [_parameters(*case) for case in CASES])
def test_the_nth_request_fails(scene: Scene, requests: dict[str, int], name: str, fault: str, ever: bool) -> None:
    verb, make = VERBS[name], FAULTS[fault][ever]
    _clear(scene, verb)
    if name not in requests:
        requests[name] = _requests_of(scene, verb)
    before = verb.before(scene)
    for number in range(1, requests[name] + 1):
        store = scene.open()
        scene.proxy.plan(on(".", make(), nth=number, ever=ever))

        answer, failures = insist(lambda: verb.act(store, before), scene.heal)  # noqa: B023 - called at once

        scene.heal()
        for error in failures:
            one_line(error, scene)
        assert failures or not ever or name in QUIET, f"nobody heard of the failure of request {number}"
        # Whether it failed and was repeated, or got through: the tokens and their files are as if it was done once.
        verb.check(scene, before, answer, bool(failures))
        if not verb.reads:
            _clear(scene, verb)
            before = verb.before(scene)


def test_no_verb_is_left_out() -> None:
    others = {"now", "twin", "close", "drop"}
    assert {verb.verb for verb in VERBS.values()} | others == TokenStore.__abstractmethods__
