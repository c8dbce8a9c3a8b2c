"""What our own code relies on beyond the PiCaS contract, which is in tests/classic."""

from __future__ import annotations

import base64
import copy
import io
import json
from typing import Any

import pytest

from picas.documents import Document, Job, Task, User


class Shelf:
    """A database object that keeps attachments, as far as ``get_attachment`` asks."""

    def __init__(self, content: bytes | None) -> None:
        self.stream = None if content is None else io.BytesIO(content)
        self.asked: list[tuple[str, str]] = []
        self.db = self

    def get_attachment(self, doc_id: str, name: str) -> io.BytesIO | None:
        self.asked.append((doc_id, name))
        return self.stream


def stub() -> Document:
    attachment = {"content_type": "text/plain", "stub": True, "length": 2, "digest": "md5-x", "revpos": 1}
    return Document({"_id": "t1", "_rev": "1-a", "_attachments": {"log": attachment}})


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (Document(), "<Document without id>"),
        (Document({"_id": "a", "big": "x" * 10_000}), "<Document a>"),
        (Task({"_id": "t1", "_rev": "1-a"}), "<Task t1 rev 1-a>"),
        (User("ann", "hunter2"), "<User org.couchdb.user:ann>"),
    ],
)
def test_repr_is_short_and_shows_no_content(document: Document, shown: str) -> None:
    assert repr(document) == shown


def test_documents_stay_hashable_and_compare_by_identity() -> None:
    one, other = Document({"_id": "a"}), Document({"_id": "a"})
    assert len({one, other}) == 2


def test_defaults_are_not_shared_between_tasks() -> None:
    one = Task()
    one.input["a"] = one.output["a"] = one.uploads["a"] = 1
    one["error"].append("x")
    other = Task()
    assert (other.input, other.output, other.uploads, other["error"]) == ({}, {}, {}, [])


def test_roles_are_not_shared_between_users() -> None:
    roles = ["r"]
    user = User("ann", "pw", roles)
    user["roles"].append("s")
    assert roles == ["r"]
    assert User("bob", "pw")["roles"] == []


def test_verbs_work_on_a_token_that_lacks_everything() -> None:
    task = Task({"_id": "t1", "_rev": "1-a"})
    assert not task.is_done()
    assert not task.has_error()
    assert task.get_errors() == []
    task.scrub()
    assert task["scrub_count"] == 1


def test_error_keeps_what_an_application_had_under_that_name() -> None:
    task = Task({"_id": "t1", "_rev": "1-a", "error": "disk full"})
    assert task.get_errors() == ["disk full"]
    task.error("again")
    assert [task["error"][0], task["error"][1]["message"]] == ["disk full", "again"]


def test_error_does_not_change_a_list_that_is_shared_with_a_copy() -> None:
    task = Task({"_id": "t1"})
    before = copy.copy(task.value)
    task.error("once")
    assert before["error"] == []


def test_error_has_the_traceback_of_the_exception_given_also_after_its_handler() -> None:
    try:
        raise OSError("no space")
    except OSError as caught:
        kept = caught
    trace = Task().error(exception=kept)["error"][0]["exception"]
    assert trace.startswith("Traceback")
    assert trace.endswith("OSError: no space\n")


@pytest.mark.parametrize("mark", [True, "just a text"])
def test_error_with_a_mark_has_the_exception_being_handled_else_the_mark(mark: Any) -> None:
    assert Task().error(exception=mark)["error"][0]["exception"] == str(mark)
    try:
        raise OSError("no space")
    except OSError:
        assert "no space" in Task().error(exception=mark)["error"][0]["exception"]


def test_an_attachment_fetched_from_the_database_stays_in_the_document_and_is_json() -> None:
    document, shelf = stub(), Shelf(b"hi")
    attachment = document.get_attachment("log", retrieve_from_database=shelf)
    assert attachment["data"] == b"hi"
    assert attachment["digest"] == "md5-x"
    assert shelf.asked == [("t1", "log")]
    assert shelf.stream is not None
    assert shelf.stream.closed
    entry = json.loads(json.dumps(document.value))["_attachments"]["log"]
    assert base64.b64decode(entry["data"]) == b"hi"
    assert "stub" not in entry
    assert document.get_attachment("log") == attachment


def test_an_attachment_without_its_bytes_has_no_data() -> None:
    assert "data" not in stub().get_attachment("log")


def test_an_attachment_that_went_from_the_database_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="log"):
        stub().get_attachment("log", Shelf(None))


def test_a_job_from_elsewhere_can_be_archived_before_it_was_saved() -> None:
    job = Job({"_id": "j1", "_rev": "1-a"})
    job.archive()
    assert job.is_done()
    assert Job({"_id": "j2"}).archive().id.startswith("archived-j2-")
