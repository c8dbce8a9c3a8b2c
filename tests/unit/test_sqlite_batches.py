"""Batches of results in SQLite, which are read and written together though each is judged by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from picas.errors import ClaimLost, InvalidToken
from picas.lifecycle import Edit, Outcome, State
from picas.stores.base import Attachment, Settlement
from picas.stores.sqlite import SqliteStore
from picas.testing.samples import DONE, claim, found, ids, put, state
from picas.tokens import MAX_BYTES


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_that_comes_to_wait_in_the_step_in_which_what_it_waits_for_is_done(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    store = SqliteStore.open(tmp_path / "p.db", create=True)
    put(store, "a", "b")
    a, b = claim(store, 2)
    waits = Edit(changes={"lock": -1, "after": ["a"]})
    steps = [Settlement(doc=a, outcome=DONE), Settlement(doc=b, outcome=waits)]
    answers = store.exchange([steps[place] for place in order]).settled
    assert answers[order.index(1)] == found(store, "b")
    assert ids(claim(store)) == ["b"]
    store.close()


def test_a_bad_one_among_good_ones_changes_nothing_of_them(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "p.db", create=True)
    put(store, "a", "b", "c")
    a, b, c = claim(store, 3)
    large = Outcome(changes={"output": "x" * MAX_BYTES})
    file = {"f": Attachment(data=b"file")}
    steps = [
        Settlement(doc=a, outcome=DONE, attachments=file),
        Settlement(doc=b, outcome=large, attachments=file),
        Settlement(doc=c, outcome=large),
        Settlement(doc=a, outcome=DONE),
    ]
    answers = store.exchange(steps).settled
    assert [type(answer) for answer in answers] == [dict, InvalidToken, InvalidToken, ClaimLost]
    assert answers[0] == found(store, "a")
    assert [state(store, name) for name in "abc"] == [State.DONE, State.LOCKED, State.LOCKED]
    assert store.check() == []
    store.close()
