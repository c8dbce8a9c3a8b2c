"""F3: a pilot is stopped for longer than its lease, and goes on when another has its token. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from picas.lifecycle import State, state_of
from support.paused import ACTS, SITUATIONS, Scene

COMBINATIONS = list(product(SITUATIONS, ACTS))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Scene]]:
    """A scene per combination, each with its own pool and its own stopped process; their leases end together."""
    folder = tmp_path_factory.mktemp("paused")
    made = {combination: Scene(folder / "-".join(combination)) for combination in COMBINATIONS}
    try:
        for scene in made.values():
            scene.stop()
        yield made
    finally:
        for scene in made.values():
            scene.close()


@pytest.mark.parametrize(("situation", "act"), COMBINATIONS)
def test_a_stopped_holder_changes_nothing(scenes: dict[tuple[str, str], Scene], situation: str, act: str) -> None:
    scene = scenes[situation, act]
    scene.meanwhile(situation)

    told = scene.resume(act)

    if act == "renews":
        assert told == []
    else:
        assert told["error"] == "ClaimLost"
        assert "claim 1 is over" in told["message"]
    # Neither the token nor one of its files changed by a byte, and B, if it still runs, can finish it.
    assert scene.stored() == scene.before
    if situation == "runs":
        scene.settle_by_b()
    expected = State.ERROR if situation == "failed" else State.DONE
    assert state_of(scene.doc()) is expected
    assert scene.stored()[1]["result"] == b"of B"
    assert scene.problems() == []
