"""Tokens taken away from the page: JSON lines and CSV, of a query or of what was ticked (S19)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from support.cli import Cli
from support.web import Web, serving

OURS = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://evil.example")', "＝1"]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A page, read-only, of 1,200 tokens, and of some with commands that look like formulas."""
    picas = Cli(tmp_path_factory.mktemp("export"))
    picas.ok("init")
    docs = [{"_id": f"t{n:04}", "command": ["true"], "n": n, "tags": {"half": str(n % 2)}} for n in range(1200)]
    docs += [{"_id": f"odd{n}", "command": text, "tags": {"odd": "yes"}} for n, text in enumerate(FORMULAS)]
    picas.ok("add", "--jsonl", "-", stdin="\n".join(map(json.dumps, docs)))
    with serving(picas) as web:
        yield web


def rows(text: str) -> list[dict[str, str]]:
    """The rows of CSV."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_all_that_match_are_saved_as_json_lines(web: Web) -> None:
    answer = web.get("/export?form=jsonl&tag=half%3D1")

    docs = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(doc["n"] for doc in docs) == list(range(1, 1200, 2))
    assert answer.headers["content-disposition"] == 'attachment; filename="tokens.jsonl"'
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert "transfer-encoding" in answer.headers


def test_all_that_match_are_saved_as_csv(web: Web) -> None:
    found = rows(web.get("/export?form=csv&where=n%3E%3D100").text)

    assert sorted(row["id"] for row in found) == [f"t{n:04}" for n in range(100, 1200)]
    assert {row["state"] for row in found} == {"todo"}
    assert web.get("/export?form=csv&text=nothing+like+it").text.splitlines() == [",".join(found[0])]


def test_what_was_ticked_is_saved(web: Web) -> None:
    for scope, ids in (("ticked", ["t0001", "t0003"]), ("shown", ["t0001", "t0002", "t0003"])):
        form = {"form": "csv", "scope": scope, "id": ["t0001", "t0003"], "shown": ["t0001", "t0002", "t0003"]}
        answer = web.ask("POST", "/export", OURS, urlencode(form, doseq=True).encode())
        assert [row["id"] for row in rows(answer.text)] == ids


def test_s19_no_cell_begins_a_formula(web: Web) -> None:
    found = rows(web.get("/export?form=csv&tag=odd%3Dyes").text)

    assert {row["id"]: row["command"] for row in found} == {f"odd{n}": f"'{text}" for n, text in enumerate(FORMULAS)}
    for row in csv.reader(io.StringIO(web.get("/export?form=csv").text, newline="")):
        assert not [cell for cell in row if cell.startswith(tuple("=+-@\t\r＝"))]


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("form=xml", 400), ("form=csv&where=(((", 400), ("form=csv&group=none", 404)]
)
def test_what_makes_no_sense_is_said(web: Web, query: str, status: int) -> None:
    assert web.ask("GET", f"/export?{query}").status == status
    # None of them holds a place among what is being sent.
    for _ in range(21):
        web.ask("GET", f"/export?{query}")
    assert web.get("/export?form=csv&text=t0001").status == 200
