"""The PiCaS contract of the views: which token is in which of them, on every store and in a design document too."""

from __future__ import annotations

from typing import Any

import pytest

from picas.clients import Client
from picas.documents import Document, Task
from picas.selectors import parse
from picas.views import Design

CASES: list[tuple[str | None, dict[str, Any]]] = [
    ("todo", {"lock": 0, "done": 0}),
    ("todo", {"lock": 0, "done": 0, "exit_code": 0}),
    ("locked", {"lock": 5, "done": 0}),
    ("locked", {"lock": 1_700_000_000.5, "done": 0, "exit_code": 1}),
    ("done", {"lock": 5, "done": 6, "exit_code": 0}),
    ("done", {"lock": 5, "done": 6, "exit_code": "0"}),
    ("done", {"lock": 5, "done": 6, "exit_code": " 0 of 3"}),
    ("done", {"lock": 5, "done": 6, "exit_code": 0.9}),
    ("error", {"lock": 5, "done": 6, "exit_code": 1}),
    ("error", {"lock": 5, "done": 6, "exit_code": -9}),
    ("error", {"lock": 5, "done": 6, "exit_code": "1"}),
    ("error", {"lock": 5, "done": 6, "exit_code": ""}),
    ("error", {"lock": 5, "done": 6, "exit_code": None}),
    ("error", {"lock": 5, "done": 6, "exit_code": "failed"}),
    ("error", {"lock": 5, "done": 6, "exit_code": True}),
    ("error", {"lock": 99, "done": 99}),
    (None, {"lock": 0, "done": 6, "exit_code": 0}),
    (None, {"lock": -1, "done": 0}),
    (None, {"lock": 0, "done": 0, "type": "task"}),
    (None, {"lock": 5, "done": 6, "exit_code": 0, "type": "note"}),
]
STATES = ("todo", "locked", "done", "error")


@pytest.fixture
def names(client: Client) -> dict[str, str | None]:
    """A token of each case; the names of their views."""
    docs = {f"t{number:02}": {"type": "token", "cores": 4, **fields} for number, (_, fields) in enumerate(CASES)}
    assert all(client.save_documents([Document({"_id": name, **fields}) for name, fields in docs.items()]))
    return dict(zip(docs, (view for view, _ in CASES), strict=True))


def in_views(client: Client, names: dict[str, str | None], design_doc: str) -> dict[str, str | None]:
    """The view in which each token is."""
    found = [(row["key"], view) for view in STATES for row in client.view(view, design_doc=design_doc)]
    assert len(found) == len(dict(found)), "a token is in two views"
    return {**dict.fromkeys(names), **dict(found)}


def test_each_token_is_in_the_view_of_its_state(client: Client, names: dict[str, str | None]) -> None:
    assert in_views(client, names, "Monitor") == names


def test_rows_emit_the_id_as_key_and_value(client: Client, names: dict[str, str | None]) -> None:
    for view in STATES:
        rows = client.view(view).rows
        assert [(row.id, row.key, row.value) for row in rows] == [(row.id, row.id, row.id) for row in rows]
        assert client.get(rows[0]["key"])["_id"] == rows[0]["id"]


def test_overview_total_counts_those_of_each(client: Client, names: dict[str, str | None]) -> None:
    rows = client.view("overview_total", group=True).rows
    assert {row.key: row.value for row in rows} == {view: list(names.values()).count(view) for view in STATES}


def test_a_design_document_adds_a_condition_to_each_view(client: Client, names: dict[str, str | None]) -> None:
    client.db.install(Design("Large", parse({"cores": {"$gte": 8}})))
    large = {f"u{name}": view for name, view in names.items() if view}
    docs = [{**client.get(name[1:]).value, "_id": name, "cores": 8} for name in large]
    client.save_documents([Task({key: value for key, value in doc.items() if key != "_rev"}) for doc in docs])
    assert in_views(client, large, "Large") == large
    rows = client.view("overview_total", design_doc="Large", group=True).rows
    assert {row.key: row.value for row in rows} == {view: list(large.values()).count(view) for view in STATES}
