"""Bug 1 of the old client: two pilots ran the same token. Here they race for tokens over the servers' own protocols."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from classic.desk import Desk, ended
from picas.clients import CouchDB
from picas.documents import Document, Task
from picas.iterators import TaskViewIterator
from picas.lifecycle import State, state_of
from picas.testing.samples import Background, eventually


class OldReader(CouchDB):
    """Reads as the old client did: a row of the view first, and then the document as it is by that time."""

    def get_single_from_view(self, view: str, window_size: int = 1, **view_params: Any) -> Document:
        rows = self.view(view, limit=window_size, **view_params).rows
        row = random.choice(rows)
        self.between(row.id)
        return self.get(row.id)

    def between(self, token_id: str) -> None:
        """What others do in between."""


@pytest.fixture
def pool(couchdb_pool: dict[str, str]) -> dict[str, str]:
    """A pool on CouchDB, without tokens."""
    CouchDB(**couchdb_pool, create=True).db.close()
    return couchdb_pool


def add(client: CouchDB, *names: str) -> None:
    assert all(client.save_documents([Task({"_id": name, "type": "token"}) for name in names]))


@pytest.mark.parametrize("finished", [False, True])
def test_bug_1_a_token_that_another_took_between_the_look_and_the_read_is_left_to_it(
    pool: dict[str, str], finished: bool
) -> None:
    ours, theirs = OldReader(**pool), CouchDB(**pool)
    add(theirs, "a", "b")

    def take(token_id: str) -> None:
        ours.between = lambda _: None  # type: ignore[method-assign]
        task = Task(theirs.get(token_id)).lock()
        theirs.save(task.done() if finished else task)
        taken.append(task)

    taken: list[Task] = []
    ours.between = take  # type: ignore[method-assign]
    claimed = [task.id for task in TaskViewIterator(ours, "todo")]
    assert sorted([*claimed, *(task.id for task in taken)]) == ["a", "b"]
    assert theirs.get(taken[0].id).value == taken[0].value
    assert state_of(theirs.get(claimed[0]).value) is State.LOCKED
    ours.db.close()
    theirs.db.close()


def test_bug_1_pilots_that_read_in_the_old_way_race_for_tokens(pool: dict[str, str]) -> None:
    client = OldReader(**pool)
    names = [f"t{number:02}" for number in range(40)]
    add(client, *names)

    def pilot() -> list[str]:
        mine = client.copy()
        try:
            return [task.id for task in TaskViewIterator(mine, "todo")]
        finally:
            mine.db.close()

    claimed = [name for one in [Background(pilot) for _ in range(4)] for name in one.result()]
    assert sorted(claimed) == names
    client.db.close()


def test_bug_1_plain_pilots_in_processes_of_their_own_run_each_token_once(desk: Desk) -> None:
    names = [f"t{number:03}" for number in range(200)]
    desk.add(**{name: {} for name in names})
    gate = desk.folder / "gate"
    running = [desk.start("plain_pilot.py", str(gate)) for _ in range(8)]
    eventually(lambda: desk.lines("ready") == ["ready"] * 8, 60)
    gate.touch()
    for process in running:
        ended(process)
    ran = [line.split() for line in desk.lines("ran")]
    assert Counter(name for _, name, _ in ran) == Counter(names)
    assert len({pid for _, _, pid in ran}) > 1, "one pilot alone is no race"
    assert desk.overview() == {"done": 200}
    assert all(doc["fence"] == 1 for doc in desk.docs("done").values())
