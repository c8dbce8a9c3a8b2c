"""The PiCaS contract for logging into the pool, and that it never gets in a program's way."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas import couchdblogger
from picas.clients import Client, CouchDB
from picas.couchdblogger import CouchDBLogger, default_log_formatter
from picas.documents import Document
from picas.errors import StoreFailure, StoreUnavailable


@pytest.fixture
def pool(tmp_path: Path) -> str:
    path = str(tmp_path / "pool.db")
    CouchDB(url=path, create=True).db.close()
    return path


@pytest.fixture
def handler(pool: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CouchDBLogger]:
    monkeypatch.setattr(couchdblogger, "_PAUSE", 0.0)
    handler = CouchDBLogger(pool, "ignored")
    yield handler
    handler.close()


@pytest.fixture
def log(handler: CouchDBLogger) -> Iterator[logging.Logger]:
    """A program's logger that writes to the pool alone."""
    log = logging.getLogger("a program of PiCaS")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(handler)
    yield log
    log.removeHandler(handler)


def documents(pool: str) -> list[dict[str, Any]]:
    client = CouchDB(url=pool)
    found = [doc for page in [client.db.page(None, limit=500)] for doc in page.docs]
    client.db.close()
    return found


def test_a_record_is_a_document_with_picass_fields(log: logging.Logger, pool: str, handler: CouchDBLogger) -> None:
    before = time.time()
    log.warning("token %s has %d lines", "t1", 7)
    [doc] = documents(pool)
    assert before <= doc["created"] <= time.time()
    assert {name: doc[name] for name in ("type", "lvl", "msg", "func", "host", "trance_nr")} == {
        "type": "log",
        "lvl": logging.WARNING,
        "msg": "token t1 has 7 lines",
        "func": "test_a_record_is_a_document_with_picass_fields",
        "host": socket.gethostname(),
        "trance_nr": handler.trace_nr,
    }
    assert doc["_id"].startswith(f"{socket.gethostname()}:{int(doc['created'])}:")


def test_it_is_in_no_view_of_tokens(log: logging.Logger, pool: str) -> None:
    log.info("hello")
    client = CouchDB(url=pool)
    assert [len(client.view(view)) for view in ("todo", "locked", "done", "error")] == [0, 0, 0, 0]


def test_many_records_of_one_second_are_all_there(log: logging.Logger, pool: str) -> None:
    for number in range(20):
        log.info("%d", number)
    assert sorted(int(doc["msg"]) for doc in documents(pool)) == list(range(20))


def test_records_of_other_threads(log: logging.Logger, pool: str) -> None:
    threads = [threading.Thread(target=log.info, args=[f"thread {number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(doc["msg"] for doc in documents(pool)) == [f"thread {number}" for number in range(4)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_record_of_a_forked_child(log: logging.Logger, pool: str) -> None:
    child = os.fork()
    if child == 0:
        log.info("child")
        os._exit(0)
    os.waitpid(child, 0)
    log.info("parent")
    assert sorted(doc["msg"] for doc in documents(pool)) == ["child", "parent"]


def test_what_the_writing_logs_is_not_written_without_end(
    log: logging.Logger, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = Client.save

    def chatty(self: Client, doc: Document) -> Document:
        log.debug("saving %s", doc.id)
        return saving(self, doc)

    monkeypatch.setattr(Client, "save", chatty)
    log.info("hello")
    assert [doc["msg"] for doc in documents(pool)] == ["hello"]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("at https://ann:hunter2@h:6984/db", "at https://h:6984/db"),
        ("half \udcff and \x00", "half ? and ?"),
    ],
)
def test_no_secret_and_nothing_that_a_database_refuses(log: logging.Logger, pool: str, message: str, kept: str) -> None:
    log.info(message)
    assert [doc["msg"] for doc in documents(pool)] == [kept]


class Failing:
    """Stands in for `Client.save`: fails so often, then saves, whole or with its answer lost."""

    def __init__(self, *problems: Exception, lost: bool = False) -> None:
        self.problems, self.lost, self.tries = list(problems), lost, 0

    def __call__(self, client: Client, doc: Document) -> Document:
        self.tries += 1
        if self.problems:
            if self.lost:
                SAVE(client, Document(dict(doc.value)))
            raise self.problems.pop(0)
        return SAVE(client, doc)


SAVE = Client.save


def fail_with(monkeypatch: pytest.MonkeyPatch, failing: Failing) -> Failing:
    monkeypatch.setattr(Client, "save", lambda self, doc: failing(self, doc))
    return failing


def test_an_outage_of_a_moment_loses_nothing(log: logging.Logger, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, Failing(*[StoreUnavailable("away")] * 9))
    log.info("hello")
    assert [doc["msg"] for doc in documents(pool)] == ["hello"]


def test_an_answer_that_was_lost_makes_one_document(
    log: logging.Logger, pool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, Failing(StoreUnavailable("away"), lost=True))
    log.info("hello")
    assert [doc["msg"] for doc in documents(pool)] == ["hello"]
    assert capsys.readouterr().err == ""


def test_a_long_outage_is_said_and_holds_up_the_program_once(
    log: logging.Logger, pool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = fail_with(monkeypatch, Failing(*[StoreUnavailable("away")] * 11))
    log.info("first")
    assert failing.tries == 10
    log.info("second")
    assert failing.tries == 11
    said = capsys.readouterr().err
    assert "'first'" in said
    assert "'second'" in said
    log.info("third")
    assert [doc["msg"] for doc in documents(pool)] == ["third"]


@pytest.mark.parametrize("problem", [StoreFailure("read-only"), RuntimeError("whatever"), OSError(5, "I/O")])
def test_no_failure_reaches_the_program(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problem: Exception
) -> None:
    fail_with(monkeypatch, Failing(problem))
    log.info("hello")
    assert str(problem) in capsys.readouterr().err


def test_arguments_that_do_not_fit_the_message(handler: CouchDBLogger, capsys: pytest.CaptureFixture[str]) -> None:
    handler.handle(logging.LogRecord("name", logging.INFO, "file", 1, "%d", ("x",), None))
    assert "TypeError" in capsys.readouterr().err


def test_credentials_in_the_url_go_to_the_client_and_are_shown_nowhere(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def opened(**values: Any) -> CouchDB:
        given.update(values)
        return CouchDB(url=pool)

    monkeypatch.setattr(couchdblogger, "CouchDB", opened)
    handler = CouchDBLogger(url="https://ann:hunter2@h:6984", db="logs")
    assert given == {"url": "https://h:6984", "db": "logs", "username": "ann", "password": "hunter2"}
    assert "hunter2" not in f"{handler!r} {vars(handler)}"
    handler.close()


def test_the_formatter() -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "hello %s", ("ann",), None)
    assert default_log_formatter.format(record).endswith(" - name - INFO - hello ann")
