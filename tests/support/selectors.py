"""Strategies for selectors and for documents on which they have something to decide."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Few names, and the first most often, so that selectors and documents meet; some that a path must escape, or that
# every object of JavaScript has.
ODD = ["0", "x.y", 'q"r', "back\\slash", "é\n", " ", "a$[*]", "length", "__proto__", "constructor", "hasOwnProperty"]
NAMES = st.sampled_from(["a", "a", "a", "b", "b"]) | st.sampled_from(ODD)
WORDS = st.sampled_from(
    ["", "a", "ab", "B", "1", "true", "null", "é", "\uffff", "\U0001f600", "a\nb", "b\n", "\u2028", "\u0663", '"', "</"]
)
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
