"""F5: the fence is taken out of the stopped holder's code. If nothing came to harm then, the tests of F3 would be blind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.paused import ACTS, Scene

WRITES = [act for act in ACTS if act != "renews"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """A scene per write, with a holder that takes any claim in force for its own."""
    folder = tmp_path_factory.mktemp("unguarded")
    made = {act: Scene(folder / act, guarded=False) for act in WRITES}
    try:
        for scene in made.values():
            scene.stop()
        yield made
    finally:
        for scene in made.values():
            scene.close()


@pytest.mark.parametrize("act", WRITES)
def test_without_the_fence_every_write_does_harm(scenes: dict[str, Scene], act: str) -> None:
    scene = scenes[act]
    scene.meanwhile("runs")

    scene.resume(act)

    # The token that B runs, or its output, is no longer what B left: the harm that F3 would report.
    assert scene.stored() != scene.before
