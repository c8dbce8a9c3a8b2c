"""Which tokens are asked for, and pages of them, on a pool in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from picas.errors import UsageError
from picas.pool import Pool, connect
from picas.web import query
from picas.web.query import Found, find, query_of


@pytest.fixture
def pool() -> Iterator[Pool]:
    with connect("memory:") as opened:
        opened.add(
            {"_id": f"t{number:03}", "command": ["run", f"part {number}"], "n": number, "priority": number % 3,
             "tags": {"site": "here" if number % 2 else "There"}}
            for number in range(40)
        )  # fmt: skip
        yield opened


def ids(found: Found) -> list[str]:
    return [doc["_id"] for doc in found.docs]


def all_of(pool: Pool, **given: str) -> list[str]:
    """Ids on all pages, each asked for by the cursor of the one before."""
    seen: list[str] = []
    after = ""
    for _ in range(60):
        found = find(pool, query_of({**given, "after": after}))
        seen += ids(found)
        after = found.next
        if not after:
            return seen
    raise AssertionError("it does not end")


@pytest.mark.parametrize("limit", ["1", "7", "40", "500"])
@pytest.mark.parametrize("view", ["", "todo"])
def test_pages_have_every_token_once(pool: Pool, view: str, limit: str) -> None:
    seen = all_of(pool, view=view, limit=limit)

    assert sorted(seen) == [f"t{number:03}" for number in range(40)]


@pytest.mark.parametrize("limit", ["1", "3", "100"])
def test_text_is_found_in_what_is_shown_and_in_tags(pool: Pool, limit: str) -> None:
    assert sorted(all_of(pool, text="PART 1", limit=limit)) == [f"t{n:03}" for n in range(40) if str(n).startswith("1")]
    assert len(all_of(pool, text="there", limit=limit)) == 20
    assert all_of(pool, text="t007", limit=limit) == ["t007"]
    assert all_of(pool, text="nowhere", limit=limit) == []


def test_conditions_tags_and_text_must_all_hold(pool: Pool) -> None:
    assert sorted(all_of(pool, where="n>=30", tag="site=here", text="part 3", view="todo")) == [
        f"t{number:03}" for number in range(31, 40, 2)
    ]
    assert all_of(pool, view="done") == []


def test_it_stops_looking_after_a_while_and_goes_on_from_there(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "_SECONDS", -1.0)
    monkeypatch.setattr(query, "_PAGE", 10)

    first = find(pool, query_of({"text": "part 39"}))

    assert (ids(first), first.is_cut, first.looked_at) == ([], True, 10)
    assert all_of(pool, text="part 39") == ["t039"]


def test_sorted_tokens_come_in_pages_too(pool: Pool) -> None:
    seen = all_of(pool, sort="-priority", limit="9")

    assert len(seen) == len(set(seen)) == 40
    assert [int(name[1:]) % 3 for name in seen] == sorted((n % 3 for n in range(40)), reverse=True)
    assert all_of(pool, sort="id") == sorted(seen)


def test_too_many_are_not_sorted(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "_MOST_SORTED", 20)
    monkeypatch.setattr(query, "_PAGE", 10)

    with pytest.raises(UsageError, match="more match than can be sorted"):
        find(pool, query_of({"sort": "id"}))
    assert len(all_of(pool, sort="id", where="n<15")) == 15


def test_a_selection_by_id_passes_over_what_is_gone(pool: Pool) -> None:
    wanted = ("t001", "gone", "t003", "t005")
    first = find(pool, query_of({"limit": "2"}, ids=wanted))
    second = find(pool, query_of({"limit": "2", "after": first.next}, ids=wanted))

    assert ids(first) + ids(second) == ["t001", "t003", "t005"]
    assert ids(find(pool, query_of({"where": "n>3"}, ids=wanted))) == ["t005"]
    assert ids(find(pool, query_of({"view": "done"}, ids=wanted))) == []


@pytest.mark.parametrize(
    "given",
    [
        {"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"limit": "-1"}, {"limit": "٣"}, {"sort": "size"},
        {"view": "nothing"}, {"where": "n>="}, {"tag": "=x"},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_said(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        query_of(given)


@pytest.mark.parametrize(
    "given", [{"after": "x"}, {"after": "x", "sort": "id"}, {"after": "-1", "sort": "id"}], ids=str
)
def test_a_place_that_is_none_is_said(pool: Pool, given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        find(pool, query_of(given))
