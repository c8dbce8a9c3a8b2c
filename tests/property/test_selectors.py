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

# Few names, and the first most often, so that selectors and documents meet; some that a path must escape.
ODD = ["0", "x.y", 'q"r', "back\\slash", "é\n", " ", "a$[*]"]
NAMES = st.sampled_from(["a", "a", "a", "b", "b"]) | st.sampled_from(ODD)
WORDS = st.sampled_from(["", "a", "ab", "B", "1", "true", "null", "é", "\uffff", "\U0001f600", "a\nb", '"'])
NUMBERS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 0.1, 1e-320, 2**53 - 1, float(2**53 - 1)]),
    st.floats(-1e15, 1e15),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text("ab\uffff\U00010000", max_size=2))
# A document may hold what no operand can be.
LARGE = st.sampled_from([2**53, -(2**53), 2**63, 2**64 + 1, -(2**70), 1e300, 10**30])
VALUES = st.recursive(
    st.one_of(SCALARS, LARGE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(".", "\\.")


def operators(operands: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), operands, min_size=1)


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(inner, max_size=3)
    return st.one_of(operators(some, "$and"), operators(some, "$or"), operators(inner, "$not"))


FIELDS = st.lists(NAMES.map(escaped), min_size=1, max_size=2).map(".".join)
PATTERNS = st.sampled_from(["", "a", "^a", "b$", "^$", r"\d", "A|b", "(?i)b", "é", "^.$"])
TESTS = st.one_of(
    operators(SCALARS, "$eq", "$ne"),
    operators(NUMBERS | WORDS, "$gt", "$gte", "$lt", "$lte"),
    operators(st.lists(SCALARS, max_size=4), "$in", "$nin"),
    operators(st.booleans(), "$exists"),
    operators(PATTERNS, "$regex"),
)
CONDITIONS = st.recursive(TESTS, combined, max_leaves=3)
SELECTORS = st.recursive(st.dictionaries(FIELDS, SCALARS | CONDITIONS, max_size=2), combined, max_leaves=4)


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
