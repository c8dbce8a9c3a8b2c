"""Claiming and saving on database objects that only know revisions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from picas.documents import Document, Task
from picas.stores import duck
from picas.stores.duck import DuckStore, changes_between

_JITTER = duck.jitter


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duck, "jitter", lambda failures: 0.0)


def test_a_claim_is_locked_saved_and_carries_a_fence(revision_db: Any) -> None:
    db = revision_db(a={"fence": 3})
    task = DuckStore(db).claim("todo", "p1")
    assert db.docs["a"] == task.value
    assert task["lock"] > 0
    assert task["claim"] == {"fence": 4, "pilot": "p1", "at": task["lock"]}


def test_an_empty_view_is_an_index_error(revision_db: Any) -> None:
    with pytest.raises(IndexError):
        DuckStore(revision_db()).claim("todo", "p1")


def test_view_parameters_are_passed_on(revision_db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    db, seen = revision_db(a={}), []

    def look(view: str, **params: Any) -> Document:
        seen.append((view, params))
        return Document(dict(db.docs["a"]))

    monkeypatch.setattr(db, "get_single_from_view", look)
    DuckStore(db).claim("mine", "p1", design_doc="Mine")
    assert seen == [("mine", {"window_size": 100, "design_doc": "Mine"})]


def test_bug_1_a_token_that_is_not_todo_any_more_is_not_claimed(revision_db: Any) -> None:
    """The view is behind: the document that it leads to was locked by another pilot meanwhile."""
    db = revision_db(a={}, b={})
    stale = iter([Document({**db.docs["a"], "lock": 1}), Document({**db.docs["a"], "lock": 1, "done": 2})])
    look = db.get_single_from_view
    db.get_single_from_view = lambda view, **params: next(stale, None) or look(view, **params)
    task = DuckStore(db).claim("todo", "p1")
    assert db.saves == 1
    assert task["lock"] > 1


def test_bug_1_two_pilots_never_claim_the_same_token(revision_db: Any) -> None:
    db = revision_db(**{f"t{number}": {} for number in range(20)})
    claimed: list[str] = []

    def other_pilot(doc: Document) -> None:
        db.before_save = lambda doc: None
        claimed.append(DuckStore(db).claim("todo", "p2").id)

    while True:
        db.before_save = other_pilot
        try:
            claimed.append(DuckStore(db).claim("todo", "p1").id)
        except IndexError:
            break
    assert sorted(claimed) == sorted(db.docs)


def test_bug_5_many_conflicts_in_a_row_do_not_end_the_pilot(revision_db: Any) -> None:
    db = revision_db(a={})
    left = iter(range(50))
    db.before_save = lambda doc: db.change("a") if next(left, None) is not None else None
    assert DuckStore(db).claim("todo", "p1").id == "a"
    assert db.saves == 51


def test_a_claim_that_keeps_meeting_others_ends_when_told_to_stop(
    revision_db: Any, caplog: pytest.LogCaptureFixture
) -> None:
    db = revision_db(a={})
    db.before_save = lambda doc: db.change("a")
    with pytest.raises(IndexError, match="stop"):
        DuckStore(db, stopped=lambda: db.saves >= 30).claim("todo", "p1")
    assert db.docs["a"]["lock"] == 0
    assert "not todo any more" in caplog.text


def test_couchdbs_own_conflict_is_known_too(revision_db: Any, couchdb_package: Any) -> None:
    db = revision_db(a={})
    db.conflict = couchdb_package.ResourceConflict
    left = iter(range(3))
    db.before_save = lambda doc: db.change("a") if next(left, None) is not None else None
    assert DuckStore(db).claim("todo", "p1").id == "a"


def test_a_database_that_gives_its_own_dict_is_not_changed_by_a_failed_claim(revision_db: Any) -> None:
    db = revision_db(a={})
    db.get_single_from_view = lambda view, **params: Document(db.docs["a"])
    left = iter(range(1))
    db.before_save = lambda doc: db.change("a") if next(left, None) is not None else None
    assert DuckStore(db).claim("todo", "p1").id == "a"


@pytest.fixture
def claimed(revision_db: Any) -> tuple[Any, Task, dict[str, Any]]:
    db = revision_db(a={"priority": 1, "colour": "red", "_attachments": {"in": {"stub": True}}})
    task = DuckStore(db).claim("todo", "p1")
    return db, task, Document(db.get("a")).value


def test_a_result_is_saved_and_ends_the_claim(claimed: Any) -> None:
    db, task, before = claimed
    task["output"] = "42"
    assert DuckStore(db).settle(before, task)
    assert db.docs["a"]["output"] == "42"
    assert "claim" not in db.docs["a"]


def test_bug_2_a_conflict_does_not_drop_the_result_of_a_token_that_is_still_ours(claimed: Any) -> None:
    db, task, before = claimed
    db.change("a", priority=9, note="from a person")
    task["output"] = "42"
    del task["colour"]
    task.put_attachment("out", "text")
    task.done()
    assert DuckStore(db).settle(before, task)
    stored = db.docs["a"]
    assert (stored["output"], stored["priority"], stored["note"]) == ("42", 9, "from a person")
    assert stored["done"] > 0
    assert "colour" not in stored
    assert set(stored["_attachments"]) == {"in", "out"}
    assert task.value == stored


@pytest.mark.parametrize(
    "meanwhile", [{"lock": 0}, {"lock": 5, "hostname": "elsewhere"}, {"claim": {"fence": 2}}, {"done": 99}]
)
def test_bug_2_a_superseded_result_is_said_and_changes_nothing(
    claimed: Any, meanwhile: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    db, task, before = claimed
    db.change("a", **meanwhile)
    stored = dict(db.docs["a"])
    task["output"] = "42"
    with caplog.at_level(logging.WARNING):
        assert not DuckStore(db).settle(before, task)
    assert db.docs["a"] == stored
    assert "token a is no longer this pilot's, result superseded" in caplog.text


def test_a_result_of_a_deleted_token_is_superseded(claimed: Any) -> None:
    db, task, before = claimed
    del db.docs["a"]
    db.before_save = lambda doc: (_ for _ in ()).throw(db.conflict())
    assert not DuckStore(db).settle(before, task)


def test_a_token_that_changes_without_end_is_given_up(claimed: Any, caplog: pytest.LogCaptureFixture) -> None:
    db, task, before = claimed
    db.before_save = lambda doc: db.change("a")
    assert not DuckStore(db).settle(before, task)
    assert "result dropped" in caplog.text


def test_capabilities_promise_nothing_that_is_not_known() -> None:
    assert not DuckStore.capabilities.durable
    assert not DuckStore.capabilities.atomic_load


def test_changes_between_two_states_of_a_document() -> None:
    before = {"_id": "a", "_rev": "1", "same": [1], "gone": 1, "claim": {}, "_attachments": {"x": {"stub": True}}}
    after = {"_id": "a", "_rev": "2", "same": [1], "new": 2, "claim": {}, "_attachments": {"y": {"data": ""}}}
    changes = changes_between(before, after)
    assert changes.edit.changes == {"new": 2}
    assert changes.edit.removed == {"gone", "claim"}
    assert (set(changes.attached), changes.detached) == ({"y"}, {"x"})


def test_pauses_grow_and_are_bounded() -> None:
    assert all(0 <= _JITTER(failures) <= 0.5 for failures in range(100))
    assert max(_JITTER(1) for _ in range(100)) <= 0.01
