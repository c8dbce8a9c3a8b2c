"""Python and JavaScript give one answer for every selector and document."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picas.errors import InvalidSelector
from picas.selectors import matches, parse, to_javascript
from support.installing import or_skip, program
from support.selectors import DOCUMENTS, SELECTORS

# The expression and its documents are of two realms, as they are to the view servers of CouchDB and PouchDB.
_SERVER = """
const vm = require("vm");
const context = vm.createContext({});
require("readline").createInterface({input: process.stdin}).on("line", (line) => {
  const [expression, docs] = JSON.parse(line);
  let answers;
  try {
    const holds = vm.runInContext("(function (doc) { return " + expression + "; })", context);
    answers = docs.map((doc) => holds(doc));
  } catch (error) {
    answers = String(error);
  }
  process.stdout.write(JSON.stringify(answers) + "\\n");
});
"""


@dataclass(frozen=True)
class Engine:
    process: subprocess.Popen[str]

    def answers(self, expression: str, docs: list[Any]) -> Any:
        """What the expression is of each document, or the text of what was thrown."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([expression, docs]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    node = or_skip(lambda: program("node", "nodejs"))
    pipe = subprocess.PIPE
    with subprocess.Popen([node, "-e", _SERVER], stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        yield Engine(process)


def check(engine: Engine, source: dict[str, Any], docs: list[dict[str, Any]]) -> None:
    selector = parse(source)
    expression = to_javascript(selector)
    assert re.fullmatch("[ -~]+", expression)
    assert engine.answers(expression, docs) == [matches(selector, doc) for doc in docs]


@settings(max_examples=500, deadline=None)
@given(SELECTORS, st.lists(DOCUMENTS, min_size=1, max_size=3))
@example({"a": {"$not": {"$in": [1]}}}, [{}])
@example({"a": {"$nin": [1]}}, [{"a": {"b": 1}}])
@example({"a": {"$in": [True, "x"]}}, [{"a": [1, "x"]}])
@example({"a": {"$in": [1]}}, [{"a": [True]}, {"a": [[1]]}])
@example({"a": {"$not": {"$gt": 1}}}, [{"a": "z"}])
@example({"a": 1}, [{"a": True}])
@example({"__proto__.a": 1}, [{"__proto__": {"a": 1}}, {}, {"__proto__": None}])
@example({"a.length": {"$exists": True}}, [{"a": [1]}, {"a": "x"}, {"a": {"length": 1}}])
@example({"hasOwnProperty.call": 1}, [{"hasOwnProperty": {"call": 1}}, {}])
@example({"constructor": {"$exists": False}}, [{}, {"constructor": None}])
@example({"a.b": None}, [{"a": None}, {"a": {"b": None}}])
def test_python_and_javascript_agree(engine: Engine, source: dict[str, Any], docs: list[dict[str, Any]]) -> None:
    check(engine, source, docs)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.lists(st.text() | st.text("a\ue000\uffff\U0001f600\U0010ffff"), max_size=5), st.booleans())
@example("\U0001f600", ["\ue000", "\uffff", "\U0001f600", "\U0001f601", "\ud83d", ""], True)
@example("\uffff", ["\ue000", "\uffff\0", "\U0001f600", "\ud83d"], True)
def test_strings_are_in_order_of_code_point(engine: Engine, operand: str, texts: list[str], prefixed: bool) -> None:
    operand = operand.replace("\0", "")
    docs = [{"a": operand + text if prefixed else text} for text in texts]
    for operator in ("$gt", "$gte", "$lt", "$lte"):
        check(engine, {"a": {operator: operand}}, docs)


CLASSES = ["[ab]", "[^a]", "[^]/]", r"[\w-]", "[A-Z😀-😂]", "[é-\U00010400]", r"[\s\S]", r"[^\s\S]"]
ESCAPES = [
    r"\d",
    r"\D",
    r"\s",
    r"\S",
    r"\w",
    r"\W",
    r"\n",
    r"\.",
    r"\x41",
    r"\u00e9",
    r"\U0001F600",
    r"\N{KELVIN SIGN}",
]
ATOMS = st.sampled_from([*"ab1 ké_-/]}{😀.", *CLASSES, *ESCAPES])
ANCHORS = st.sampled_from(["^", "$", r"\A", r"\Z", r"\b", r"\B"])
REPEATS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{,2}", "{1,}", "{,}", "{1,2}?", "{}", "{a}", "{"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.tuples(st.sampled_from(["(", "(?:", "(?=", "(?!", "(?<!", "(?P<n>", "(?>"]), inner, st.just(")"))
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, max_size=3).map("|".join).map("({})".format),
        st.tuples(ATOMS, REPEATS).map("".join),
        st.tuples(groups.map("".join), REPEATS | st.just("")).map("".join),
    )


PATTERNS = st.tuples(
    st.sampled_from(["", "", "", "(?i)", "(?a)", "(?s)", "(?ai)(?s)", "(?m)", "(?x)"]),
    st.recursive(ATOMS | ANCHORS, larger, max_leaves=8),
).map("".join)
TEXTS = st.text(
    st.sampled_from("abAB1 kKéÉ_-/]}{\n\r\u2028\u212aſ\u0130\u0663\uffff😀😂\U00010400\U00010401"), max_size=6
)


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=8))
@example("a$", ["a\n", "a", "a\n\n", "a\r"])
@example(r"a\Z", ["a\n", "a"])
@example("^a.b$", ["a\rb", "a\u2028b", "a\nb", "a😀b"])
@example("^..$", ["😀", "😀😀", "😀a"])
@example("^[^a]$", ["😀", "b"])
@example("(?![a😀]|$)", ["a😀"])
@example("(?i)^[k-l]ſİ", ["Ksi", "\u212aSı", "lsI"])
@example(r"^\d\s$", ["1 ", "\u0663\u2003", "\U0001d7d8\x1c", "1\ufeff"])
@example("(?:){", ["{", ""])
def test_a_pattern_is_found_where_python_finds_it_or_refused(engine: Engine, pattern: str, texts: list[str]) -> None:
    source = {"a": {"$regex": pattern}}
    refused = None
    try:
        to_javascript(parse(source))
    except InvalidSelector as error:
        refused = error
    if refused is None:
        check(engine, source, [{"a": text} for text in [*texts, "", "\n"]])
    else:
        assert "\n" not in refused.message
        assert refused.hint


# What ends or begins a class of Unicode, or of UTF-16, is among these.
CHARACTERS = [*range(0x3100), 0xD7FF, 0xE000, *range(0xFEFF, 0x10450), *range(0x1D7C0, 0x1D810), 0x1F600, 0x10FFFF]


@pytest.mark.parametrize("pattern", ["^.$", r"^\d\Z", r"^\S\Z", r"(?a)^\W\Z", r"(?i)^[k-s]\Z", "^[^é-\U00010401]\\Z"])
def test_each_character_is_in_the_same_sets(engine: Engine, pattern: str) -> None:
    check(engine, {"a": {"$regex": pattern}}, [{"a": chr(code)} for code in CHARACTERS])


@pytest.mark.parametrize(
    "source",
    [
        {"$or": [{f"a{i}": {"$not": {"$gt": 100 + i}}} for i in range(1000)]},
        {"$and": [{"a0": {"$nin": [i]}} for i in range(1000)]},
        {"a0": {"$in": [str(i) for i in range(1000)]}},
    ],
    ids=["or", "and", "in"],
)
def test_the_largest_selectors_run(engine: Engine, source: dict[str, Any]) -> None:
    check(engine, source, [{}, {"a0": 1}, {"a999": 1}, {"a999": 10_000}, {"a0": "999"}])


SELECTED = {
    "$or": [{"cores": {"$gte": 4}}, {"tags.site": {"$in": ["nikhef", "*/ )}; //</script>"]}}],
    "name": {"$lt": "é"},
}
TOKEN: dict[str, Any] = {"_id": "t1", "type": "token", "lock": 0, "name": "b", "cores": 4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"type": "job"}, False),
        ({"lock": 1}, False),
        ({"cores": 3}, False),
        ({"cores": 3, "tags": {"site": ["x", "nikhef"]}}, True),
        ({"cores": 3, "tags": {"site": "*/ )}; //</script>"}}, True),
        ({"name": "ê"}, False),
    ],
    ids=str,
)
def test_an_expression_selects_in_the_map_function_of_a_view(
    engine: Engine, changes: dict[str, Any], expected: bool
) -> None:
    test = f'doc.type === "token" && doc.lock === 0 && ({to_javascript(parse(SELECTED))})'
    function = f"function (doc) {{ if ({test}) {{ emit(doc._id, doc._id); }} }}"
    emit = "function emit(key, value) { rows.push([key, value]); }"
    rows = f"(function () {{ var rows = []; {emit} ({function})(doc); return rows; }}())"
    assert engine.answers(rows, [TOKEN | changes]) == [[["t1", "t1"]] if expected else []]
