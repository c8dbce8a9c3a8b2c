"""The PiCaS contract for documents: what programs written for picasclient read, write and catch."""

from __future__ import annotations

import base64
import inspect
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from picas import documents, executers, generators, jobid, modifiers, util
from picas.documents import Document, Job, Task, User

NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def fixed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 0.7)
    for name in ("DIRACJOBID", "GLITE_WMS_JOBID", "CREAM_JOBID", "PBS_JOBID", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


class TestDocument:
    def test_wraps_a_dict(self) -> None:
        doc = Document({"_id": "a", "n": 1})
        doc["m"] = 2
        del doc["n"]
        assert doc.doc is doc.value
        assert doc.value == {"_id": "a", "m": 2}
        assert (len(doc), list(doc), "m" in doc, "n" in doc, doc["m"]) == (2, ["_id", "m"], True, False, 2)

    def test_missing_field_is_a_key_error(self) -> None:
        with pytest.raises(KeyError):
            Document()["x"]
        with pytest.raises(KeyError):
            del Document()["x"]

    def test_id_can_be_set(self) -> None:
        doc = Document({"_id": "a"})
        doc.id = "b"
        assert (doc.id, doc["_id"]) == ("b", "b")

    @pytest.mark.parametrize("name", ["id", "rev"])
    def test_id_and_rev_raise_attribute_error_when_unset(self, name: str) -> None:
        with pytest.raises(AttributeError, match=f"_{name}"):
            getattr(Document({"x": 1}), name)

    def test_rev(self) -> None:
        assert Document({"_rev": "1-a"}).rev == "1-a"

    def test_update(self) -> None:
        doc = Document({"a": 1})
        doc.update({"a": 2, "b": 3})
        assert doc.value == {"a": 2, "b": 3}

    def test_base_fills_what_is_missing(self) -> None:
        assert Document({"a": 1}, base={"a": 0, "b": 0}).value == {"a": 1, "b": 0}
        assert Document(base={"b": 0}).value == {"b": 0}

    def test_base_is_not_used_for_data_from_a_database(self) -> None:
        data = {"a": 1, "_rev": "1-a"}
        doc = Document(data, base={"b": 0})
        assert doc.value is data
        assert "b" not in doc

    def test_a_document_can_be_made_from_a_document(self) -> None:
        saved = Document({"_id": "a", "_rev": "1-a"})
        assert Task(saved).value is saved.value

    def test_new_data_is_put_into_a_dict_of_its_own(self) -> None:
        data = {"a": 1}
        Document(data)["b"] = 2
        assert data == {"a": 1}


class TestAttachments:
    @pytest.mark.parametrize("data", ["caf\u00e9", "caf\u00e9".encode()])
    def test_put_stores_base64_and_get_gives_bytes(self, data: str | bytes) -> None:
        doc = Document()
        doc.put_attachment("a.txt", data)
        stored = base64.b64encode("caf\u00e9".encode()).decode()
        assert doc["_attachments"] == {"a.txt": {"content_type": "text/plain", "data": stored}}
        assert doc.get_attachment("a.txt") == {"content_type": "text/plain", "data": "caf\u00e9".encode()}

    @pytest.mark.parametrize(
        ("name", "given", "expected"),
        [
            ("a.json", None, "application/json"),
            ("logs_t1.out", None, "text/plain"),
            ("noext", None, "text/plain"),
            ("a.json", "x/y", "x/y"),
        ],
    )
    def test_type_is_given_or_guessed_from_the_name(self, name: str, given: str | None, expected: str) -> None:
        doc = Document()
        doc.put_attachment(name, b"{}", mimetype=given)
        assert doc.get_attachment(name)["content_type"] == expected

    def test_put_again_replaces(self) -> None:
        doc = Document()
        doc.put_attachment("a", b"1")
        doc.put_attachment("a", b"2")
        doc.put_attachment("b", b"3")
        assert [doc.get_attachment(name)["data"] for name in ("a", "b")] == [b"2", b"3"]

    def test_remove(self) -> None:
        doc = Document()
        doc.put_attachment("a", b"1")
        assert doc.remove_attachment("a") is doc
        assert doc["_attachments"] == {}

    @pytest.mark.parametrize("data", [{}, {"_attachments": {}}])
    def test_missing_is_a_key_error(self, data: dict[str, Any]) -> None:
        with pytest.raises(KeyError):
            Document(data).get_attachment("a")
        with pytest.raises(KeyError):
            Document(data).remove_attachment("a")


class TestTask:
    def test_defaults(self) -> None:
        task = Task({"_id": "t1"})
        assert task.value == {
            "_id": "t1",
            "type": "task",
            "lock": 0,
            "done": 0,
            "hostname": "",
            "scrub_count": 0,
            "input": {},
            "exit_code": "",
            "output": {},
            "uploads": {},
            "error": [],
        }

    def test_id_defaults_to_task_and_32_hex_digits(self) -> None:
        prefix, _, digits = Task().id.partition("_")
        assert (prefix, len(digits), int(digits, 16) > 0) == ("task", 32, True)
        assert Task().id != Task().id

    def test_lock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PBS_JOBID", "7.server")
        task = Task()
        assert task.lock() is task
        assert (task["lock"], task["hostname"], task["pbs_job_id"]) == (NOW, socket.gethostname(), "7.server")
        assert task["done"] == 0

    def test_done(self) -> None:
        task = Task()
        assert not task.is_done()
        assert task.done() is task
        assert task["done"] == NOW
        assert task.is_done()

    def test_scrub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        task = Task().lock().done()
        assert task.scrub() is task
        assert (task["lock"], task["done"], task["scrub_count"]) == (0, 0, 1)
        assert "slurm_job_id" not in task
        assert task.scrub()["scrub_count"] == 2

    def test_error(self) -> None:
        task = Task()
        assert not task.has_error()
        assert task.error("went wrong") is task
        assert (task["lock"], task["done"]) == (99, 99)
        assert task["error"] == [{"time": NOW, "message": "went wrong"}]
        assert task.has_error()
        assert task.is_done()

    def test_errors_add_up_and_outlive_a_scrub(self) -> None:
        task = Task()
        task.error("one")
        task.scrub()
        try:
            raise OSError("no space")
        except OSError as exception:
            task.error("two", exception=exception)
        first, second = task.get_errors()
        assert first["message"] == "one"
        assert second["message"] == "two"
        assert second["exception"].startswith("Traceback")
        assert "OSError: no space" in second["exception"]

    @pytest.mark.parametrize("name", ["input", "output", "uploads"])
    def test_properties(self, name: str) -> None:
        task = Task({name: {"a": 1}})
        assert getattr(task, name) == {"a": 1}
        setattr(task, name, 5)
        assert task[name] == 5


class TestJob:
    def test_needs_an_id(self) -> None:
        with pytest.raises(ValueError, match="_id"):
            Job({})

    def test_defaults(self) -> None:
        times = {"start": 0, "done": 0, "queue": 0, "archive": 0}
        assert Job({"_id": "j"}).value == {"_id": "j", "type": "job", "hostname": "", "method": "", **times}

    def test_queue(self) -> None:
        job = Job({"_id": "j"})
        assert job.queue("slurm") is job
        assert (job["queue"], job["method"], job["hostname"]) == (NOW, "slurm", "")
        assert job.queue("ssh", host="n1")["hostname"] == "n1"

    def test_start_forgets_an_earlier_end(self) -> None:
        job = Job({"_id": "j", "done": 5, "archive": 6})
        assert job.start() is job
        assert (job["start"], job["done"], job["archive"]) == (NOW, 0, 0)
        assert job["hostname"] == socket.gethostname()

    def test_finish(self) -> None:
        job = Job({"_id": "j"})
        assert not job.is_done()
        assert job.finish() is job
        assert job["done"] == NOW
        assert job.is_done()

    @pytest.mark.parametrize(("done", "kept"), [(0, NOW), (5, 5)])
    def test_archive(self, done: int, kept: int) -> None:
        job = Job({"_id": "j", "_rev": "1-a", "done": done})
        assert job.archive() is job
        assert (job.id, job["archive"], job["done"]) == (f"archived-j-{NOW}", NOW, kept)
        assert "_rev" not in job


class TestUser:
    def test_fields(self) -> None:
        assert User("ann", "pw", ["r"], data={"extra": 1}).value == {
            "_id": "org.couchdb.user:ann",
            "name": "ann",
            "type": "user",
            "password": "pw",
            "roles": ["r"],
            "extra": 1,
        }

    def test_roles_default_to_none_at_all(self) -> None:
        assert User("ann", "pw")["roles"] == []


class TestGenerator:
    def test_empty_token(self) -> None:
        token = generators.TokenGenerator().get_empty_token()
        assert token == {"lock": 0, "done": 0, "hostname": "", "scrub_count": 0, "type": "token"}
        assert generators.TokenGenerator.get_empty_token() is not token


class TestBugsOfTheOldClient:
    def test_6_get_errors_on_a_task_without_error_is_empty(self) -> None:
        assert Task({"_id": "t", "_rev": "1-a"}).get_errors() == []

    def test_7_importing_configures_no_logging(self) -> None:
        code = (
            "import logging\n"
            "from picas import config, crypto, documents, executers, generators, jobid, modifiers, util\n"
            "from picas.picaslogger import picaslogger\n"
            "root = logging.getLogger()\n"
            "assert root.handlers == [] and root.level == logging.WARNING, root.handlers\n"
            "assert picaslogger is logging.getLogger('PiCaS')\n"
            "assert picaslogger.handlers == [] and picaslogger.level == logging.NOTSET\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_10_no_mutable_default_arguments(self) -> None:
        mutable = [
            f"{function.__qualname__}({parameter})"
            for module in (documents, executers, generators, jobid, modifiers, util)
            for function in functions_of(module)
            for parameter in inspect.signature(function).parameters.values()
            if isinstance(parameter.default, (list, dict, set))
        ]
        assert mutable == []


def functions_of(module: Any) -> list[Any]:
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    owners = [module, *(cls for cls in classes if cls.__module__ == module.__name__)]
    found = [value for owner in owners for value in vars(owner).values() if inspect.isfunction(value)]
    assert found or module is generators
    return found
