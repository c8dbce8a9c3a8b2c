"""F5: the fence is taken out of the stopped holder's code. If nothing came to harm then, F3 would be blind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from support.paused import ACTS, Scene

WRITES = [act for act in ACTS if act != "renews"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, bool], Scene]]:
    """Scenes with the fence and without, in which nothing but the fence tells the two claims apart."""
    folder = tmp_path_factory.mktemp("fence")
    cases = product(WRITES, (True, False))
    made = {
        (act, guarded): Scene(folder / f"{act}-{guarded}", guarded=guarded, namesake=True) for act, guarded in cases
    }
    try:
        for scene in made.values():
            scene.stop()
        yield made
    finally:
        for scene in made.values():
            scene.close()


@pytest.mark.parametrize("act", WRITES)
def test_without_the_fence_every_write_does_harm(scenes: dict[tuple[str, bool], Scene], act: str) -> None:
    """F5: the fence is taken out. Every write of a stopped holder does harm, so that F3 is no blind test."""
    scene = scenes[act, False]
    scene.meanwhile("runs")

    scene.resume(act)

    # The token that the later claim is on, or its output, is no longer what it was: the harm that F3 would report.
    assert scene.stored() != scene.before


@pytest.mark.parametrize("act", WRITES)
def test_with_the_fence_none_does(scenes: dict[tuple[str, bool], Scene], act: str) -> None:
    scene = scenes[act, True]
    scene.meanwhile("runs")

    assert scene.resume(act)["error"] == "ClaimLost"

    # The token and its files are as the later claim left them, to the byte.
    assert scene.stored() == scene.before
