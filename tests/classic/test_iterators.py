"""The PiCaS contract of the iterators, over stores and over other database objects."""

from __future__ import annotations

import inspect
import threading
import time
from typing import Any

import pytest

from picas.clients import Client
from picas.documents import Document, Task
from picas.errors import Unsupported, UsageError
from picas.iterators import EndlessViewIterator, PrioritizedViewIterator, TaskViewIterator, ViewIterator
from picas.lifecycle import State, state_of
from picas.selectors import parse
from picas.testing.samples import Background, eventually
from picas.views import Design


def add(client: Client, *names: str, **fields: Any) -> None:
    assert all(client.save_documents([Task({"_id": name, "type": "token", **fields}) for name in names]))


class TestTaskViewIterator:
    def test_gives_tasks_locked_and_saved_until_the_view_is_empty(self, client: Client) -> None:
        add(client, "a", "b")
        iterator = TaskViewIterator(client, "todo")
        assert iter(iterator) is iterator
        tasks = list(iterator)
        assert all(isinstance(task, Task) for task in tasks)
        assert sorted(task.id for task in tasks) == ["a", "b"]
        for task in tasks:
            assert task["lock"] > 0
            assert client.get(task.id).value == task.value
            assert task["claim"]["pilot"] == client.pilot
        assert iterator.is_stopped()

    def test_the_batch_job_is_noted(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("DIRACJOBID", "GLITE_WMS_JOBID", "CREAM_JOBID", "PBS_JOBID", "SLURM_ARRAY_JOB_ID"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SLURM_JOB_ID", "77")
        add(client, "a")
        assert next(TaskViewIterator(client, "todo"))["slurm_job_id"] == "77"

    def test_a_design_document_is_claimed_from(self, client: Client) -> None:
        client.db.install(Design("MultiCore", parse({"cores": {"$gte": 2}})))
        add(client, "a", cores=1)
        add(client, "b", "c", cores=4)
        assert next(TaskViewIterator(client, "todo", design_doc="MultiCore")).id == "b"
        assert next(TaskViewIterator(client, "MultiCore/todo")).id == "c"
        assert not list(TaskViewIterator(client, "todo", design_doc="MultiCore"))

    def test_a_missing_design_document_is_no_empty_view(self, client: Client, couchdb_package: Any) -> None:
        with pytest.raises(couchdb_package.ResourceNotFound) as caught:
            next(TaskViewIterator(client, "todo", design_doc="NoSuch"))
        assert isinstance(caught.value, UsageError)

    @pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
    def test_view_parameters_that_a_claim_cannot_honour_are_refused(self, client: Client) -> None:
        with pytest.raises(Unsupported):
            next(TaskViewIterator(client, "todo", startkey="b"))

    def test_stop_reset_and_reconnect(self, client: Client) -> None:
        add(client, "a", "b")
        iterator = TaskViewIterator(client, "todo")
        iterator.stop()
        assert not list(iterator)
        iterator.reset()
        assert not iterator.is_stopped()
        other = client.copy()
        iterator.reconnect(other)
        assert next(iterator).id == "a"
        assert iterator.database is other
        other.db.close()

    def test_claim_task_of_an_empty_view_is_an_index_error(self, client: Client) -> None:
        with pytest.raises(IndexError):
            TaskViewIterator(client, "todo").claim_task()

    def test_over_any_database_object(self, revision_db: Any) -> None:
        db = revision_db(a={}, b={})
        tasks = {task.id: task for task in TaskViewIterator(db, "view")}
        assert {name: task.value for name, task in tasks.items()} == db.docs
        assert all(task["lock"] > 0 for task in tasks.values())

    def test_over_one_that_has_no_revisions_and_whose_documents_lack_fields(self) -> None:
        """As in tests of programs: a dict of documents, which leave it when they are saved."""

        class Shelf:
            def __init__(self) -> None:
                self.docs = {name: {"_id": name, "_rev": "1", "lock": 0} for name in "ab"}
                self.saved: dict[str, Any] = {}

            def get_single_from_view(self, view: str, **view_params: Any) -> Document:
                if not self.docs:
                    raise IndexError
                return Document(next(iter(self.docs.values())))

            def get(self, idx: str) -> Document:
                return Document(self.docs[idx])

            def save(self, doc: Document) -> Document:
                doc["_rev"] = "new"
                self.saved[doc.id] = doc.value
                self.docs.pop(doc.id)
                return doc

            def copy(self) -> Any:
                return self

        shelf = Shelf()
        for task in TaskViewIterator(shelf, "view"):
            assert task["lock"] > 0
            assert shelf.saved[task.id] is task.value
        assert list(shelf.saved) == ["a", "b"]

    def test_a_subclass_that_reads_in_its_own_way_is_asked(self, client: Client) -> None:
        class Mine(Client):
            def get_single_from_view(self, view: str, window_size: int = 1, **view_params: Any) -> Document:
                if view == "mine" and state_of(self.get("b").value) is State.TODO:
                    return self.get("b")
                raise IndexError

        add(client, "a", "b")
        assert [task.id for task in TaskViewIterator(Mine(client.db), "mine")] == ["b"]
        assert state_of(client.get("b").value) is State.LOCKED


def test_bug_1_pilots_side_by_side_never_have_the_same_token(client: Client) -> None:
    add(client, *(f"t{number:03}" for number in range(100)))

    def pilot() -> list[str]:
        mine = client.copy()
        try:
            return [task.id for task in TaskViewIterator(mine, "todo")]
        finally:
            mine.db.close()

    pilots = [Background(pilot) for _ in range(4)]
    claimed = [name for one in pilots for name in one.result()]
    assert sorted(claimed) == [f"t{number:03}" for number in range(100)]


def test_each_is_its_own_iterator_with_the_arguments_of_picas(revision_db: Any) -> None:
    db = revision_db(a={})
    plain = TaskViewIterator(db, "todo", design_doc="Mine")
    for iterator in (plain, PrioritizedViewIterator(db, "high", "low"), EndlessViewIterator(plain, 1, None, limit=3)):
        assert iter(iterator) is iterator
        assert not iterator.is_stopped()
        iterator.stop()
        with pytest.raises(StopIteration):
            next(iterator)
        iterator.reset()
        assert not iterator.is_stopped()
    found = {name: one.default for name, one in inspect.signature(EndlessViewIterator).parameters.items()}
    assert (found["sleep_sec"], found["stop_callback"]) == (10, None)


class TestPrioritizedViewIterator:
    def test_takes_from_the_second_view_when_the_first_is_empty(self, client: Client) -> None:
        client.db.install(Design("Urgent", parse({"urgent": True})))
        add(client, "a", "b")
        add(client, "z", urgent=True)
        iterator = PrioritizedViewIterator(client, "Urgent/todo", "todo")
        assert [task.id for task in iterator] == ["z", "a", "b"]

    def test_over_any_database_object(self, revision_db: Any) -> None:
        assert len(list(PrioritizedViewIterator(revision_db(a={}, b={}), "high", "low"))) == 2


class TestEndlessViewIterator:
    def test_ends_when_the_callback_says_so(self, revision_db: Any) -> None:
        db = revision_db(a={}, b={}, c={})
        iterator = EndlessViewIterator(TaskViewIterator(db, "view"), stop_callback=lambda n: db.saves == n, n=2)
        assert len(list(iterator)) == 2
        assert iterator.is_stopped()
        assert iterator.iterator.is_stopped()

    def test_waits_while_the_view_is_empty(self, revision_db: Any) -> None:
        asked = iter([False, False, False, True])
        iterator = EndlessViewIterator(
            TaskViewIterator(revision_db(), "view"), sleep_sec=0, stop_callback=lambda: next(asked)
        )
        assert not list(iterator)
        assert next(asked, None) is None

    def test_new_work_is_found_at_once_on_a_store(self, client: Client) -> None:
        iterator = EndlessViewIterator(TaskViewIterator(client, "todo"), sleep_sec=60)
        begun = threading.Event()
        iterator.stop_callback = begun.set  # asked before each try; gives None, which is no
        added: list[float] = []

        def add_later() -> None:
            other = client.copy()
            assert begun.wait(10)
            add(other, "a")
            added.append(time.monotonic())
            other.db.close()

        adding = Background(add_later)
        assert next(iterator).id == "a"
        adding.result()
        assert time.monotonic() - added[0] < 5

    @pytest.mark.parametrize("kind", ["store", "duck"])
    def test_stop_ends_the_wait(self, kind: str, client: Client, revision_db: Any) -> None:
        database = client if kind == "store" else revision_db()
        iterator = EndlessViewIterator(TaskViewIterator(database, "todo"), sleep_sec=60)
        timer = threading.Timer(0.05, iterator.stop)
        timer.start()
        start = time.monotonic()
        assert not list(iterator)
        assert time.monotonic() - start < 10
        timer.join()

    def test_a_time_to_stop_ends_the_wait(self, revision_db: Any) -> None:
        iterator = EndlessViewIterator(TaskViewIterator(revision_db(), "todo"), sleep_sec=60)
        iterator.stop_at = time.monotonic() + 0.05
        assert not list(iterator)

    def test_reset_and_reconnect_reach_the_iterator_within(self, revision_db: Any) -> None:
        db, other = revision_db(a={}), revision_db(b={})
        iterator = EndlessViewIterator(TaskViewIterator(db, "todo"))
        iterator.stop()
        iterator.reset()
        iterator.reconnect(other)
        assert not iterator.iterator.is_stopped()
        assert iterator.claim_task().id == "b"


def test_a_subclass_says_where_the_next_token_comes_from() -> None:
    class Three(ViewIterator):
        left = 3

        def claim_task(self) -> Task:
            if not self.left:
                raise IndexError
            self.left -= 1
            return Task({"_id": str(self.left)})

    assert [task.id for task in Three()] == ["2", "1", "0"]
    with pytest.raises(NotImplementedError):
        next(ViewIterator())


def test_a_contended_claim_ends_when_the_iterator_is_stopped(revision_db: Any) -> None:
    db = revision_db(a={})
    db.before_save = lambda doc: db.change("a")
    iterator = TaskViewIterator(db, "todo")
    pilot = Background(lambda: list(iterator))
    eventually(lambda: db.saves > 12)
    iterator.stop()
    assert pilot.result() == []
