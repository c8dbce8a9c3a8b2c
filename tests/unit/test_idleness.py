"""The idle time of a pilot."""

from __future__ import annotations

from picas.lifecycle import State
from picas.pilot.idleness import Idleness
from picas.pool import Pool
from picas.stores.memory import MemoryStore
from picas.views import View


class Patient(MemoryStore):
    """A store that notes for how long it is waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return False


def test_beyond_its_patience_a_pilot_waits_for_a_token_in_slices() -> None:
    store = Patient()
    idleness = Idleness(Pool(store), View(State.TODO), 0.0)
    idleness.is_time_to_look()
    assert idleness.is_too_long()  # nothing is there; from now on its patience is over
    store.put([{"_id": "t1", "type": "token", "not_before": store.now() + 60}])
    idleness.claimed(0)
    idleness.is_time_to_look()

    assert not idleness.is_too_long()
    idleness.rest()

    # It does not spin until the token's pause is over.
    assert store.waits == [0.5]
