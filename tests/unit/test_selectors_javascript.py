from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from picas.errors import InvalidSelector
from picas.selectors import parse, to_javascript

AT = (
    "function at(names) { var value = doc, i; for (i = 0; i < names.length; i += 1) {"
    ' if (typeof value !== "object" || value === null || Array.isArray(value)'
    " || !Object.prototype.hasOwnProperty.call(value, names[i])) { return void 0; }"
    " value = value[names[i]]; } return value; }"
)
HOSTILE = [
    '"); emit(1, 1); ("',
    "\\",
    "\\u0022",
    "*/ // /* <!-- --> ]]>",
    "</script><script>",
    "\n\r\u2028\u2029",
    "`${doc}`",
    "é\U0001f600\x7f\x85",
    "__proto__",
]


def result(source: dict[str, Any]) -> str:
    """What stands after ``return``."""
    return to_javascript(parse(source)).rpartition("return ")[2].removesuffix("; }(doc))")


def pattern(text: str) -> str:
    found = re.fullmatch(r'\(typeof f0 === "string" && /(.*)/\.test\(f0\)\)', result({"a": {"$regex": text}}))
    assert found
    return found[1]


def test_the_whole_expression() -> None:
    expected = f'(function (doc) {{ {AT} var f0 = at(["tags", "site"]), f1 = at(["cores"]); return'
    expected += ' ((f0 === "nikhef") && (typeof f1 === "number" && f1 >= 4)); }(row.doc))'
    assert to_javascript(parse({"tags.site": "nikhef", "cores": {"$gte": 4}}), "row.doc") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, "true"),
        ({"$or": []}, "false"),
        ({"$not": {}}, "false"),
        ({"a": None}, "(f0 === null)"),
        ({"a": True}, "(f0 === true)"),
        ({"a": -1.5e-7}, "(f0 === -1.5e-07)"),
        ({"a": 2**53 - 1}, "(f0 === 9007199254740991)"),
        ({"a": {"$exists": True}}, "(f0 !== void 0)"),
        ({"a": {"$exists": False}}, "(f0 === void 0)"),
        ({"a": {"$ne": 1}}, "(f0 !== void 0 && !(f0 === 1))"),
        ({"a": {"$in": [1, "x", None]}}, 'listed(f0, [1, "x", null])'),
        ({"a": {"$nin": []}}, "(f0 !== void 0 && !listed(f0, []))"),
        ({"a": {"$lt": "z"}}, '(typeof f0 === "string" && order(f0) < "z")'),
        (
            {"a": {"$lt": "\uffff\U0001f600"}},
            r'(typeof f0 === "string" && order(f0) < "\uffff\u0000\uffff\ud83d\ude00")',
        ),
        ({"a": {"$regex": "^x"}}, '(typeof f0 === "string" && /^x/.test(f0))'),
        ({"$or": [{"a": 1}, {"b": 2}, {"a": 3}]}, "((f0 === 1) || (f1 === 2) || (f0 === 3))"),
    ],
    ids=str,
)
def test_what_becomes_of_a_condition(source: dict[str, Any], expected: str) -> None:
    assert result(source) == expected


@pytest.mark.parametrize(
    ("source", "helpers"),
    [
        ({"a": 1}, ["at"]),
        ({"a": {"$gt": 1}}, ["at"]),
        ({"a": {"$gt": "x"}}, ["at", "order"]),
        ({"a": {"$nin": ["x"]}, "b": {"$gt": "x"}}, ["at", "listed", "order"]),
    ],
    ids=str,
)
def test_functions_are_there_when_they_are_called(source: dict[str, Any], helpers: list[str]) -> None:
    assert re.findall(r"function (\w+)", to_javascript(parse(source))) == helpers


def pasted(text: str) -> str:
    """An expression with the text in every place that data can have."""
    name = text.replace("\\", "\\\\").replace(".", "\\.")
    tests = [text, {"$in": [text]}, {"$gt": text}, {"$not": {"$regex": re.escape(text)}}]
    return to_javascript(parse({"$or": [{name: test} for test in tests]}))


@pytest.mark.parametrize("text", HOSTILE)
def test_data_stays_in_its_quotes(text: str) -> None:
    quoted = re.compile(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)+/')
    assert re.fullmatch("[ -~]+", pasted(text))
    assert not any(mark in string[1:-1] for string in quoted.findall(pasted(text)) for mark in "</>")
    assert quoted.sub("_", pasted(text)) == quoted.sub("_", pasted("x"))


def test_a_number_or_a_string_of_a_class_of_its_own_is_written_as_any() -> None:
    class Cores(int):
        def __repr__(self) -> str:
            return "emit(1)"

    class Ratio(float):
        __repr__ = Cores.__repr__

    class Site(str):
        __str__ = Cores.__repr__

    assert result({"a": {"$in": [Cores(4), Ratio(0.5), Site("x")]}}) == 'listed(f0, [4, 0.5, "x"])'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "(?:)"),
        ("(?s)", "(?:)"),
        ("^ab1_$", r"^ab1\u005f(?=\n?$)"),
        (r"\Aab\Z", "^ab$"),
        ("é/<", r"\u00e9\u002f\u003c"),
        ("[a-c/]", r"[\u002fa-c]"),
        ("(?P<name>a|b)+", "(?:a|b)+"),
        ("(a)(?:b)", "(?:a)(?:b)"),
        ("a*b+c?d{2}e{2,}f{,3}g{,}", "a*b+c?d{2}e{2,}f{0,3}g{0,}"),
        ("a*?b+?c??d{2}?", "a*b+c?d{2}"),
        ("a{}b{x}", r"a\u007b\u007db\u007bx\u007d"),
        ("a(?=b)(?!c)*", r"(?![\udc00-\udfff])(?:a(?:(?=b))(?:(?!c))*)"),
        (".", r"(?:[\u0000-\u0009\u000b-\ud7ff\ue000-\uffff]|[\ud800-\udbff][\udc00-\udfff])"),
        ("(?s).", r"(?:[\u0000-\ud7ff\ue000-\uffff]|[\ud800-\udbff][\udc00-\udfff])"),
        ("[^b]", r"(?:[\u0000-ac-\ud7ff\ue000-\uffff]|[\ud800-\udbff][\udc00-\udfff])"),
        ("😀+", r"(?:\ud83d\ude00)+"),
        ("[a😀-😂]", r"(?:a|\ud83d[\ude00-\ude02])"),
        ("[\U00010401-\U00010bfe]", r"(?:\ud801[\udc01-\udfff]|\ud802[\udc00-\udffe])"),
        (r"[^\s\S]", "(?:(?!))"),
        (r"(?a)\b\w\d", r"\b[0-9A-Z\u005fa-z][0-9]"),
        ("(?i)k", r"[Kk\u212a]"),
        ("(?a)(?i)k", "[Kk]"),
    ],
    ids=ascii,
)
def test_what_becomes_of_a_pattern(text: str, expected: str) -> None:
    assert pattern(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("(?<=a)b", "JavaScript has no equal of '(?<='", "look-ahead"),
        ("(?<!a)b", "JavaScript has no equal of '(?<!'", "look-ahead"),
        (r"(a)\1", r"JavaScript has no equal of '\\1'", "groups"),
        (r"\0415", r"JavaScript has no equal of '\\0'", "characters"),
        ("(?P<n>a)(?P=n)", "JavaScript has no equal of '(?P='", "groups"),
        ("(a)?(?(1)b|c)", "JavaScript has no equal of '(?(1)'", "groups"),
        ("(?m)^a", "JavaScript has no equal of '(?m)'", "characters"),
        ("(?x) a", "JavaScript has no equal of '(?x)'", "characters"),
        ("a(?i:b)", "JavaScript has no equal of '(?i:'", "characters"),
        ("a(?#b)", "JavaScript has no equal of '(?#b)'", "characters"),
        (r"\bab", r"JavaScript has no equal of '\\b'", "begin the pattern with (?a)"),
        (r"(?a)\Bab", r"JavaScript has no equal of '\\B'", "characters"),
        (r"^\w+$", "characters in JavaScript, more than 8000", "begin the pattern with (?a)"),
    ],
)
def test_a_pattern_that_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidSelector) as caught:
        to_javascript(parse({"tags.site": {"$not": {"$regex": text}}}))
    assert caught.value.message.startswith("$regex on 'tags.site': ")
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="not in the syntax of Python 3.10")
@pytest.mark.parametrize(("text", "piece"), [("a(?>b)", "(?>"), ("a?+", "?+"), ("a{1,2}+", "{1,2}+")])
def test_what_python_never_goes_back_into_is_refused(text: str, piece: str) -> None:
    with pytest.raises(InvalidSelector, match=f"no equal of '{re.escape(piece)}'"):
        to_javascript(parse({"a": {"$regex": text}}))
