"""The PiCaS contract of the actors, over stores and over other database objects."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from picas import actors
from picas.actors import AbstractRunActor, RunActor
from picas.clients import Client
from picas.documents import Document, Task
from picas.errors import StoreFailure
from picas.executers import execute
from picas.iterators import EndlessViewIterator, TaskViewIterator
from picas.lifecycle import State, reset, state_of
from picas.pilot import offspring
from picas.pool import Pool
from picas.stores import open_store
from picas.stores.base import TokenStore
from picas.testing.samples import all_pages, change, eventually

Work = Callable[[Task], object]


def close(task: Task, exit_code: int = 0) -> None:
    task["exit_code"] = exit_code
    task.done()


def is_written(pid_file: Path) -> bool:
    return pid_file.exists() and pid_file.read_text().endswith("\n")


def at_work_in_main() -> set[str]:
    """The names of the functions that the main thread is in."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return {one.f_code.co_name for one, _ in traceback.walk_stack(frame)}


class Actor(RunActor):
    """Does ``work`` with each token, and notes which hooks were called."""

    def __init__(self, db: Any, work: Work = close, **kwargs: Any) -> None:
        super().__init__(db, **kwargs)
        self.work = work
        self.calls: list[str] = []

    def prepare_env(self) -> None:  # type: ignore[override]
        self.calls.append("prepare_env")

    def prepare_run(self) -> None:  # type: ignore[override]
        self.calls.append("prepare_run")

    def process_task(self, task: Task) -> None:
        self.calls.append(f"process {task.id}")
        self.work(task)

    def cleanup_run(self) -> None:  # type: ignore[override]
        self.calls.append("cleanup_run")

    def cleanup_env(self) -> None:  # type: ignore[override]
        self.calls.append("cleanup_env")


def add(database: Any, *names: str, **fields: Any) -> None:
    for name in names:
        database.save(Document({"_id": name, "type": "token", "lock": 0, "done": 0, "scrub_count": 0, **fields}))


@pytest.fixture(params=["memory", "sqlite", "couchdb", "duck"])
def database(request: pytest.FixtureRequest, tmp_path: Path, revision_db: Any) -> Iterator[Any]:
    """Three tokens in each kind of database."""
    opened = revision_db() if request.param == "duck" else Client(store_of(request, tmp_path))
    add(opened, "a", "b", "c")
    yield opened
    if request.param != "duck":
        opened.db.close()


def store_of(request: pytest.FixtureRequest, folder: Path) -> TokenStore:
    if request.param == "couchdb":
        return request.getfixturevalue("couch_store")
    return open_store("memory:" if request.param == "memory" else str(folder / "actors.db"), create=True)


def states(database: Any) -> dict[str, State | None]:
    return {name: state_of(database.get(name).value) for name in "abc"}


class TestRun:
    def test_every_token_is_locked_processed_and_saved(self, database: Any) -> None:
        locks = []

        def work(task: Task) -> None:
            locks.append(task["lock"])
            assert actor.current_task is task
            close(task)

        actor = Actor(database, work)
        actor.run()
        assert states(database) == dict.fromkeys("abc", State.DONE)
        assert all(lock > 0 for lock in locks)
        assert actor.tasks_processed == 3
        assert actor.current_task is None

    def test_hooks_are_called_in_order(self, database: Any) -> None:
        actor = Actor(database)
        actor.run(max_tasks=1)
        assert actor.calls[:2] == ["prepare_env", "prepare_run"]
        assert actor.calls[2].startswith("process ")
        assert actor.calls[3:] == ["cleanup_run", "cleanup_env"]

    def test_arguments_and_attributes_are_those_of_picas(self, revision_db: Any) -> None:
        for kind in (AbstractRunActor, RunActor):
            names = ["db", "iterator", "view", "token_reset_values", "view_params"]
            assert list(inspect.signature(kind).parameters) == names
            assert inspect.signature(kind).parameters["view"].default == "todo"
        limits = ["max_token_time", "max_total_time", "max_tasks", "max_scrub", "stop_function", "stop_function_args"]
        found = {name: one.default for name, one in inspect.signature(RunActor.run).parameters.items()}
        assert list(found)[1:] == limits
        assert [found[name] for name in limits[:5]] == [None, None, None, 0, None]
        assert list(inspect.signature(AbstractRunActor.run).parameters)[1:] == ["max_token_time"]
        db = revision_db()
        actor = RunActor(db, view="mine", design_doc="Mine")
        assert (actor.db, actor.current_task, actor.subprocess, actor.tasks_processed) == (db, None, None, 0)
        assert (actor.iterator.view, actor.iterator.view_params) == ("mine", {"design_doc": "Mine"})
        iterator = TaskViewIterator(db, "other")
        assert RunActor(db, iterator).iterator is iterator

    def test_a_token_is_saved_before_cleanup_run(self, database: Any) -> None:
        actor = Actor(database)
        seen = []
        actor.cleanup_run = lambda: seen.append(database.get(actor.current_task.id)["done"])  # type: ignore[method-assign]
        actor.run()
        assert len(seen) == 3
        assert all(seen)

    def test_bug_10_what_is_logged_can_be_formatted(self, database: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The handler of the tests raises where others print that a message and its arguments do not fit."""
        with caplog.at_level(logging.DEBUG):
            Actor(database, lambda task: close(task, 1)).run(max_token_time=60, max_scrub=1, max_tasks=4)
        assert "Scrubbing token" in caplog.text

    def test_a_database_is_needed(self) -> None:
        with pytest.raises(ValueError, match="database"):
            RunActor(None)

    def test_the_abstract_actor_runs_too(self, database: Any) -> None:
        class Plain(AbstractRunActor):
            def process_task(self, task: Task) -> None:
                close(task)

        actor = Plain(database)
        actor.run(max_token_time=60)
        assert (actor.tasks_processed, actor.current_task) == (3, None)

    def test_process_task_is_to_be_written(self, database: Any) -> None:
        RunActor(database).run(max_tasks=1)
        assert list(states(database).values()).count(State.ERROR) == 1

    def test_an_exception_marks_the_token_and_the_pilot_goes_on(self, database: Any) -> None:
        def work(task: Task) -> None:
            if task.id == "a":
                raise RuntimeError("out of luck")
            close(task)

        Actor(database, work).run()
        token = Task(database.get("a"))
        assert (token["lock"], token["done"]) == (99, 99)
        (error,) = token.get_errors()
        assert "out of luck" in error["message"]
        assert "RuntimeError" in error["exception"]
        assert states(database) == {"a": State.ERROR, "b": State.DONE, "c": State.DONE}

    def test_a_program_that_fails_after_its_command_ended_well_has_a_failed_token(self, database: Any) -> None:
        def work(task: Task) -> None:
            close(task)
            raise OSError("the output cannot be read")

        Actor(database, work).run(max_tasks=1)
        assert list(states(database).values()).count(State.ERROR) == 1

    def test_a_token_that_the_program_leaves_open_stays_locked_and_is_nobodys(self, database: Any) -> None:
        Actor(database, lambda task: task.update({"exit_code": 0})).run()
        assert states(database) == dict.fromkeys("abc", State.LOCKED)
        assert "claim" not in database.get("a")

    def test_run_one_token_by_hand(self, database: Any) -> None:
        actor = Actor(database)
        actor._run(next(actor.iterator), None)
        assert actor.tasks_processed == 1
        assert list(states(database).values()).count(State.DONE) == 1

    def test_cleanup_env_is_called_when_a_hook_raises(self, database: Any) -> None:
        def fail() -> None:
            raise OSError("disk full")

        actor = Actor(database)
        actor.cleanup_run = fail  # type: ignore[assignment]
        with pytest.raises(OSError, match="disk full"):
            actor.run()
        assert actor.calls[-1] == "cleanup_env"

    def test_mutable_defaults_are_not_shared(self, database: Any) -> None:
        """Bug 10 of the old client."""
        first, second = RunActor(database), RunActor(database)
        assert first.token_reset_values == [0, 0]
        assert first.token_reset_values is not second.token_reset_values


class TestStopping:
    def test_max_tasks(self, database: Any) -> None:
        actor = Actor(database)
        actor.run(max_tasks=2)
        assert actor.tasks_processed == 2
        actor.run(max_tasks=1)
        assert actor.tasks_processed == 3

    def test_the_stop_function_sees_the_finished_task_which_stays_current(self, database: Any) -> None:
        seen = []

        def stop(actor: RunActor, wanted: int) -> bool:
            assert actor.current_task is not None
            seen.append(actor.current_task.id)
            return len(seen) == wanted

        actor = Actor(database)
        actor.run(stop_function=stop, actor=actor, wanted=2)
        assert actor.tasks_processed == 2
        assert actor.current_task is not None
        assert actor.current_task.id == seen[-1]

    def test_max_total_time(self, database: Any) -> None:
        actor = Actor(database)
        actor.run(max_total_time=0)
        assert actor.tasks_processed == 1

    @pytest.mark.parametrize("kind", ["store", "duck"])
    def test_max_total_time_ends_a_waiting_iterator(self, kind: str, client: Client, revision_db: Any) -> None:
        database = client if kind == "store" else revision_db()
        actor = Actor(database, iterator=EndlessViewIterator(TaskViewIterator(database, "todo"), sleep_sec=60))
        start = time.monotonic()
        actor.run(max_total_time=0.1)
        assert time.monotonic() - start < 30
        assert actor.tasks_processed == 0


class TestRetries:
    def test_a_failed_token_is_put_back_as_often_as_allowed(self, database: Any) -> None:
        actor = Actor(database, lambda task: close(task, 1))
        actor.run(max_scrub=2)
        assert actor.tasks_processed == 9
        assert states(database) == dict.fromkeys("abc", State.ERROR)
        assert {database.get(name)["scrub_count"] for name in "abc"} == {2}

    def test_without_max_scrub_it_is_an_error_at_once(self, database: Any) -> None:
        actor = Actor(database, lambda task: close(task, 1))
        actor.run()
        assert actor.tasks_processed == 3

    def test_an_exception_is_a_failure_too(self, database: Any) -> None:
        actor = Actor(database, lambda task: 1 / 0)
        actor.run(max_scrub=1)
        assert actor.tasks_processed == 6
        assert len(database.get("a")["error"]) == 2

    def test_the_stop_function_sees_it_scrubbed(self, database: Any) -> None:
        actor = Actor(database, lambda task: close(task, 1))
        seen = []
        actor.run(max_scrub=1, max_tasks=1, stop_function=lambda: seen.append(actor.current_task["lock"]))
        assert seen == [0]

    def test_a_superseded_failure_is_not_put_back(self, client: Client) -> None:
        add(client, "a")

        def work(task: Task) -> None:
            change(client.db, "a", lambda doc: {**doc, "lock": 7, "done": 8, "exit_code": 0})
            close(task, 1)

        Actor(client, work).run(max_scrub=3)
        assert (client.get("a")["lock"], client.get("a")["scrub_count"]) == (7, 0)


class TestSaving:
    def test_bug_2_a_result_is_saved_though_a_person_changed_the_token(self, client: Client) -> None:
        add(client, "a", colour="red", note="x")

        def work(task: Task) -> None:
            change(client.db, "a", lambda doc: {**doc, "priority": 9})
            task["output"] = "42"
            del task["note"]
            task.put_attachment("out.txt", "text")
            close(task)

        Actor(client, work).run()
        stored = client.get("a")
        assert (stored["output"], stored["priority"], stored["colour"]) == ("42", 9, "red")
        assert "note" not in stored
        assert state_of(stored.value) is State.DONE
        assert b"".join(client.db.get_attachment("a", "out.txt")) == b"text"

    def test_bug_2_a_superseded_result_is_said_and_the_pilot_goes_on(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(client, "a", "b")

        def work(task: Task) -> None:
            task["output"] = "42"
            if task.id == "a" and "reset" not in caplog.text:
                logging.getLogger("picas.test").warning("reset")
                change(client.db, "a", reset)
            close(task)

        actor = Actor(client, work)
        actor.run(max_tasks=1)
        assert state_of(client.get("a").value) is State.TODO
        assert "output" not in client.get("a")
        assert "Result of token a superseded" in caplog.text
        actor.run()
        assert actor.tasks_processed == 3
        assert client.get("a")["output"] == "42"

    def test_a_result_that_cannot_be_stored_is_an_error_of_the_token(self, client: Client) -> None:
        add(client, "a")
        Actor(client, lambda task: task.update({"output": float("nan")})).run()
        token = Task(client.get("a"))
        assert token.has_error()
        assert "cannot be stored" in token.get_errors()[0]["message"]

    def test_it_is_an_error_of_one_too_that_was_done_before_and_put_back(self, client: Client) -> None:
        assert client.save(Task({"_id": "a", "type": "token", "exit_code": 0, "scrub_count": 1}))
        Actor(client, lambda task: task.update({"output": float("nan")})).run()
        assert state_of(client.get("a").value) is State.ERROR

    def test_what_the_program_saved_by_itself_is_no_conflict(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(client, "a")

        def work(task: Task) -> None:
            close(task)
            client.save(task)
            task["output"] = "42"

        Actor(client, work).run()
        assert client.get("a")["output"] == "42"
        assert "superseded" not in caplog.text

    def test_an_attachment_that_the_program_removed_is_gone(self, client: Client) -> None:
        doc = Task({"_id": "a", "type": "token"})
        doc.put_attachment("old", "x")
        doc.put_attachment("kept", "y")
        client.save(doc)

        def work(task: Task) -> None:
            task.remove_attachment("old")
            close(task)

        Actor(client, work).run()
        assert set(client.get("a")["_attachments"]) == {"kept"}

    def test_a_conflict_of_the_couchdb_package_does_not_end_the_pilot(
        self, revision_db: Any, couchdb_package: Any
    ) -> None:
        db = revision_db()

        def conflict(doc: Document) -> None:
            raise couchdb_package.ResourceConflict

        db.before_save = conflict
        actor = Actor(db)
        actor._run(task=Task({"_id": "c", "lock": None, "done": None}), timeout=None)
        assert actor.tasks_processed == 1

    def test_a_lost_tls_connection_is_opened_once_more(self, revision_db: Any) -> None:
        db = revision_db(a={})
        actor = Actor(db)
        task = next(actor.iterator)
        problems = iter([ssl.SSLEOFError()])

        def cut(doc: Document) -> None:
            if problem := next(problems, None):
                raise problem

        db.before_save = cut
        with patch.object(db, "copy", return_value=db) as copy:
            actor._run(task, None)
        copy.assert_called_once()
        assert state_of({**db.docs["a"], "type": "token"}) is State.DONE

    @pytest.mark.parametrize("error", [ssl.SSLEOFError, ValueError])
    def test_any_other_error_is_raised(self, revision_db: Any, error: type[Exception]) -> None:
        db = revision_db()

        def fail(doc: Document) -> None:
            raise error

        db.before_save = fail
        with pytest.raises(error):
            Actor(db)._run(task=Task({"_id": "c"}), timeout=None)

    def test_any_other_error_of_a_store_is_raised_and_the_lease_gives_the_token_back(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(client, "a")
        exchange = client.db.exchange

        def broken(settlements: Any, claim: Any = None) -> Any:
            if settlements:
                raise StoreFailure("the disk is gone")
            return exchange(settlements, claim)

        monkeypatch.setattr(client.db, "exchange", broken)
        actor = Actor(client)
        with pytest.raises(StoreFailure, match="disk"):
            actor.run()
        assert actor.calls[-1] == "cleanup_env"
        assert state_of(client.get("a").value) is State.LOCKED
        assert [record.id for record in client.db.pilots()] == [client.pilot]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


FAMILY = "sleep 100 & echo $! > {0}.new; mv {0}.new {0}; wait"


class TestTimeLimit:
    @pytest.fixture(autouse=True)
    def short_last_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(offspring, "_LAST_WORDS", 0.2)
        monkeypatch.setattr(actors, "_GRACE", 0.5)

    @pytest.mark.parametrize("store", ["memory"], indirect=True)  # what becomes of processes is no store's affair
    @pytest.mark.parametrize("prelude", ["true", "trap '' TERM"])
    @pytest.mark.parametrize("own_session", [False, True])
    def test_bug_3_a_blocking_child_and_all_of_its_group_are_ended(
        self, client: Client, tmp_path: Path, own_session: bool, prelude: str
    ) -> None:
        add(client, "a", "b")
        pid_file = tmp_path / "pid"
        script = f"{prelude}; {FAMILY.format(pid_file)}"

        def work(task: Task) -> None:
            if task.id == "b":
                close(task)
                return
            with subprocess.Popen(["sh", "-c", script], start_new_session=own_session) as actor.subprocess:
                actor.subprocess.wait()

        actor = Actor(client, work)
        start = time.monotonic()
        actor.run(max_token_time=0.5)
        assert time.monotonic() - start < 30
        token = Task(client.get("a"))
        assert token.has_error()
        assert "0.5 seconds" in token.get_errors()[0]["message"]
        assert not is_alive(int(pid_file.read_text()))
        assert state_of(client.get("b").value) is State.DONE

    def test_bug_3_a_child_started_by_execute_is_ended(self, database: Any, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        actor = Actor(database, lambda task: execute(["sh", "-c", FAMILY.format(pid_file)]))
        actor.run(max_token_time=0.3, max_tasks=1)
        assert list(states(database).values()).count(State.ERROR) == 1
        assert not is_alive(int(pid_file.read_text()))

    def test_a_command_that_ends_well_only_because_it_was_ended_has_a_failed_token_and_another_try(
        self, database: Any
    ) -> None:
        def work(task: Task) -> None:
            code = execute(["sh", "-c", "trap 'exit 0' TERM; sleep 100 & wait"])[1]
            assert code == 0
            close(task, code)

        actor = Actor(database, work)
        actor.run(max_token_time=0.3, max_tasks=2, max_scrub=1)
        counts = Counter(states(database).values())
        assert (counts[State.DONE], actor.tasks_processed) == (0, 2)
        assert max(database.get(name)["scrub_count"] for name in "abc") == 1

    def test_a_program_that_blocks_in_python_is_ended(self, database: Any) -> None:
        start = time.monotonic()
        Actor(database, lambda task: time.sleep(100)).run(max_token_time=0.1, max_tasks=1)
        assert time.monotonic() - start < 30
        assert list(states(database).values()).count(State.ERROR) == 1

    def test_a_program_that_catches_all_its_exceptions_is_ended(self, database: Any) -> None:
        def work(task: Task) -> None:
            for _ in range(3):
                try:
                    time.sleep(100)
                except:  # noqa: E722 - as programs do
                    task["swallowed"] = True

        Actor(database, work).run(max_token_time=0.1, max_tasks=1)
        assert list(states(database).values()).count(State.ERROR) == 1

    def test_processes_from_before_the_token_are_left_alone(self, database: Any) -> None:
        with subprocess.Popen(["sleep", "100"]) as helper:
            Actor(database, lambda task: time.sleep(100)).run(max_token_time=0.1, max_tasks=1)
            assert helper.poll() is None
            helper.kill()

    def test_a_token_within_its_time_is_not_disturbed(self, database: Any) -> None:
        before = signal.getsignal(offspring.ALARM)
        Actor(database).run(max_token_time=60)
        assert states(database) == dict.fromkeys("abc", State.DONE)
        assert signal.getsignal(offspring.ALARM) == before
        assert "time limit" not in [thread.name for thread in threading.enumerate()]


class TestHandler:
    @patch("picas.actors.log")
    @patch("signal.signal")
    def test_setup_handler(self, set_signal: Any, log: Any, revision_db: Any) -> None:
        actor = RunActor(revision_db())
        actor.setup_handler()
        set_signal.assert_any_call(signal.SIGTERM, actor.handler)
        set_signal.assert_any_call(signal.SIGINT, actor.handler)
        log.info.assert_any_call("Setting up signal handlers")

    def test_ends_the_child_resets_the_token_and_exits_0(self, revision_db: Any) -> None:
        actor = Actor(revision_db(), token_reset_values=[2, 3])
        actor.subprocess = subprocess.Popen(["sleep", "100"])
        actor.current_task = Task({"_id": "c", "lock": None, "done": None})
        for number in (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(SystemExit) as caught:
                actor.handler(number, None)
            assert caught.value.code == 0
        assert actor.subprocess.poll() == -signal.SIGTERM
        assert (actor.current_task["lock"], actor.current_task["done"]) == (2, 3)
        assert actor.calls[-1] == "cleanup_env"

    def test_a_child_that_ignores_sigterm_is_killed(
        self, revision_db: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(actors, "_GRACE", 0.2)
        actor, pid_file = Actor(revision_db()), tmp_path / "pid"
        actor.subprocess = subprocess.Popen(["sh", "-c", "trap '' TERM; " + FAMILY.format(pid_file)])
        eventually(lambda: is_written(pid_file))
        with pytest.raises(SystemExit):
            actor.handler(signal.SIGTERM, None)
        assert actor.subprocess.poll() == -signal.SIGKILL
        assert not is_alive(int(pid_file.read_text()))

    def test_bug_8_sigterm_spends_a_retry_as_programs_expect(self, database: Any) -> None:
        actor = Actor(database, lambda task: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as caught:
            actor.run()
        assert caught.value.code == 0
        assert states(database) == dict.fromkeys("abc", State.TODO)
        assert sum(database.get(name)["scrub_count"] for name in "abc") == 1
        assert not any("claim" in database.get(name) for name in "abc")
        assert actor.calls.count("cleanup_env") == 1

    def test_reset_values_are_what_the_program_says(self, database: Any) -> None:
        actor = Actor(database, lambda task: os.kill(os.getpid(), signal.SIGINT), token_reset_values=[5, 6])
        with pytest.raises(SystemExit):
            actor.run()
        assert actor.current_task is not None
        stored = database.get(actor.current_task.id)
        assert (stored["lock"], stored["done"]) == (5, 6)

    def test_without_reset_values_the_token_stays_as_it_is_for_good(self, client: Client) -> None:
        add(client, "a")
        actor = Actor(client, lambda task: os.kill(os.getpid(), signal.SIGTERM), token_reset_values=None)
        with pytest.raises(SystemExit):
            actor.run()
        assert state_of(client.get("a").value) is State.LOCKED
        assert client.get("a")["scrub_count"] == 0
        assert client.db.pilots() == []

    def test_a_finished_token_is_not_put_back(self, database: Any) -> None:
        def stop() -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return False

        actor = Actor(database)
        with pytest.raises(SystemExit):
            actor.run(stop_function=stop)
        assert sorted(str(state) for state in states(database).values()) == ["done", "todo", "todo"]

    def test_a_program_that_catches_the_exit_does_not_go_on(self, database: Any) -> None:
        def work(task: Task) -> None:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(100)
            except:  # noqa: E722 - as programs do
                close(task)

        actor = Actor(database, work)
        with pytest.raises(SystemExit) as caught:
            actor.run()
        assert caught.value.code == 0
        assert states(database) == dict.fromkeys("abc", State.TODO)

    def test_a_signal_ends_the_children_of_execute(self, database: Any, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"

        def send() -> None:
            # A signal before the program has its child in hand would leave it to nobody.
            eventually(lambda: is_written(pid_file) and "communicate" in at_work_in_main())
            os.kill(os.getpid(), signal.SIGTERM)

        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(SystemExit):
            Actor(database, lambda task: execute(["sh", "-c", FAMILY.format(pid_file)])).run()
        sender.join()
        assert not is_alive(int(pid_file.read_text()))
        assert states(database) == dict.fromkeys("abc", State.TODO)

    def test_a_signal_while_the_program_waits_for_its_child_ends_both(self, database: Any) -> None:
        """``Popen.wait`` holds a lock while it blocks, which the handler, in the same thread, must not wait for."""

        def send() -> None:
            # Only within the wait does the lock matter; it is taken just before the blocking call.
            eventually(lambda: actor.subprocess is not None and actor.subprocess._waitpid_lock.locked())
            os.kill(os.getpid(), signal.SIGTERM)

        def work(task: Task) -> None:
            actor.subprocess = subprocess.Popen(["sleep", "100"])
            actor.subprocess.wait()

        actor = Actor(database, work)
        sender = threading.Thread(target=send)
        sender.start()
        start = time.monotonic()
        with pytest.raises(SystemExit):
            actor.run()
        sender.join()
        assert time.monotonic() - start < 20
        assert actor.subprocess is not None
        assert actor.subprocess.poll() == -signal.SIGTERM
        assert states(database) == dict.fromkeys("abc", State.TODO)

    def test_a_signal_while_claiming_gives_the_token_back_unspent(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(client, "a")
        exchange = client.db.exchange

        def claiming(settlements: Any, claim: Any = None) -> Any:
            done = exchange(settlements, claim)
            if claim is not None:
                os.kill(os.getpid(), signal.SIGTERM)
            return done

        monkeypatch.setattr(client.db, "exchange", claiming)
        actor = Actor(client)
        with pytest.raises(SystemExit):
            actor.run()
        stored = client.get("a")
        assert state_of(stored.value) is State.TODO
        assert (stored["released"], stored["scrub_count"]) == (1, 0)
        assert client.db.pilots() == []

    def test_a_second_signal_kills_the_children(self, revision_db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(actors, "_GRACE", 60.0)
        actor = Actor(revision_db())
        actor.subprocess = subprocess.Popen(
            ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], stdout=subprocess.PIPE
        )
        assert actor.subprocess.stdout is not None
        actor.subprocess.stdout.readline()
        actor.subprocess.stdout.close()

        def again() -> None:
            eventually(lambda: actor._leaving)
            os.kill(os.getpid(), signal.SIGTERM)

        actor.setup_handler()
        sender = threading.Thread(target=again)
        sender.start()
        start = time.monotonic()
        with pytest.raises(SystemExit):
            actor.handler(signal.SIGTERM, None)
        sender.join()
        assert time.monotonic() - start < 30
        assert actor.subprocess.poll() == -signal.SIGKILL


class TestLease:
    def test_the_pool_knows_of_the_pilot_while_it_runs(self, client: Client) -> None:
        add(client, "a")
        seen = []

        def work(task: Task) -> None:
            seen.extend(client.db.pilots())
            close(task)

        Actor(client, work).run()
        (record,) = seen
        assert (record.id, record.pid, record.view, record.lease) == (client.pilot, os.getpid(), "Monitor/todo", 60.0)
        assert client.db.pilots() == []

    def test_the_lease_is_kept_while_a_token_runs(self, client: Client) -> None:
        add(client, "a")

        def work(task: Task) -> None:
            over_at = time.monotonic() + 2 * actor.lease
            while time.monotonic() < over_at:
                assert Pool(client.db).recover() == []
                time.sleep(0.05)
            close(task)

        actor = Actor(client, work)
        actor.lease = 1.0
        actor.run()
        assert state_of(client.get("a").value) is State.DONE

    def test_the_token_of_a_killed_pilot_goes_back(self, tmp_path: Path) -> None:
        path = tmp_path / "pool.db"
        client = Client(open_store(str(path), create=True))
        add(client, "a")
        program = (
            "import sys, time\n"
            "from picas import CouchDB, RunActor\n"
            "class Slow(RunActor):\n"
            "    lease = 0.5\n"
            "    def process_task(self, task):\n"
            "        print('ready', flush=True)\n"
            "        time.sleep(100)\n"
            "Slow(CouchDB(sys.argv[1])).run()\n"
        )
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as pilot:
            assert pilot.stdout is not None
            pilot.stdout.readline()
            assert state_of(client.get("a").value) is State.LOCKED
            pilot.kill()
        eventually(lambda: Pool(client.db).recover() == ["a"])
        assert (state_of(client.get("a").value), client.get("a")["lost"]) == (State.TODO, 1)
        assert client.db.pilots() == []
        client.db.close()

    def test_a_pilot_that_fails_leaves_its_token_to_the_lease(self, client: Client) -> None:
        add(client, "a")
        actor = Actor(client)
        with patch.object(actor, "prepare_run", side_effect=OSError("disk full")), pytest.raises(OSError, match="disk"):
            actor.run()
        assert [record.id for record in client.db.pilots()] == [client.pilot]


def test_reconnect_opens_the_database_again_for_the_iterator_too(client: Client, store: TokenStore) -> None:
    actor = Actor(client)
    actor.reconnect()
    assert actor.db is not client
    assert actor.iterator.database is actor.db
    add(actor.db, "a")
    actor.run()
    assert [doc["_id"] for doc in all_pages(store, None)] == ["a"]
    actor.db.db.close()
