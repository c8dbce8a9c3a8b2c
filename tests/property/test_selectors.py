"""Python and SQLite give one answer for every selector and document."""

from __future__ import annotations

import json
from typing import Any

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picas.errors import InvalidSelector
from picas.selectors import both, matches, parse, parse_where, regexp, to_sql
from support.selectors import CONDITIONS, DOCUMENTS, SELECTORS, VALUES


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.create_scalar_function("regexp", regexp, 2, deterministic=True)
    return connection


def in_sql(
    database: apsw.Connection, source: dict[str, Any], doc: dict[str, Any], *, ascii_only: bool = True
) -> object:
    expression, values = to_sql(parse(source), "tokens.doc")
    text = json.dumps(doc, ensure_ascii=ascii_only)
    query = f"WITH tokens(doc) AS (SELECT ?) SELECT {expression} FROM tokens"
    ((answer,),) = database.execute(query, [text, *values])
    return answer


@settings(max_examples=300, deadline=None)
@given(SELECTORS, DOCUMENTS, st.booleans())
@example({"a": {"$not": {"$in": [1]}}}, {}, True)
@example({"a": {"$nin": [1]}}, {"a": {"b": 1}}, True)
@example({"a": {"$in": [True, "x"]}}, {"a": [1, "x"]}, True)
@example({"a": {"$in": [1]}}, {"a": [True]}, True)
@example({"a": {"$not": {"$gt": 1}}}, {"a": "z"}, True)
@example({"a": 1}, {"a": True}, True)
def test_python_and_sqlite_agree(
    database: apsw.Connection, source: dict[str, Any], doc: dict[str, Any], ascii_only: bool
) -> None:
    answer = in_sql(database, source, doc, ascii_only=ascii_only)
    assert answer in (0, 1)
    assert bool(answer) is matches(parse(source), doc)


@settings(max_examples=300, deadline=None)
@given(CONDITIONS, VALUES)
def test_of_a_condition_and_its_negation_one_holds_where_the_field_is_there(
    database: apsw.Connection, condition: dict[str, Any], value: Any
) -> None:
    answers = []
    for source in ({"f": condition}, {"f": {"$not": condition}}):
        answers.append(matches(parse(source), {"f": value}))
        assert bool(in_sql(database, source, {"f": value})) is answers[-1]
    # only a field within `f` could be missing, and these conditions name none
    assert sorted(answers) == [False, True]


@settings(max_examples=100, deadline=None)
@given(SELECTORS, SELECTORS, DOCUMENTS)
def test_both_is_and(first: dict[str, Any], second: dict[str, Any], doc: dict[str, Any]) -> None:
    a, b = parse(first), parse(second)
    joined = both(a, b)
    assert joined is not None
    assert matches(joined, doc) is (matches(a, doc) and matches(b, doc))


@settings(max_examples=100, deadline=None)
@given(SELECTORS)
def test_a_selector_survives_its_source(source: dict[str, Any]) -> None:
    selector = parse(source)
    assert selector.source == source
    assert parse(selector.source) == selector
    assert parse_where(json.dumps(source)) == selector


PIECES = [
    "a",
    "4",
    "x.y",
    " ",
    "=",
    ">=",
    "!",
    "~",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "in",
    "exists",
    '"',
    "'",
    "\\",
    "{",
    "$",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=20))
def test_shorthand_is_read_or_refused_in_one_line(text: str) -> None:
    refused = None
    try:
        selector = parse_where(text)
    except InvalidSelector as error:
        refused = error
    if refused is None:
        assert parse(selector.source) == selector
    else:
        assert "\n" not in refused.message
        assert refused.hint
