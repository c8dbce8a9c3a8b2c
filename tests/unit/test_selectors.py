from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import apsw
import pytest

from picas.errors import InvalidSelector
from picas.selectors import both, matches, parse, parse_where, regexp, to_sql

DOC: dict[str, Any] = {
    "_id": "t1",
    "cores": 4,
    "ratio": 1.0,
    "name": "abacus",
    "empty": "",
    "none": None,
    "flag": True,
    "list": [1, "x", None, [7]],
    "tags": {"site": "nikhef", "run.id": 3, "back\\slash": 1},
}


def holds_in_sql(source: dict[str, Any], doc: dict[str, Any]) -> bool:
    database = apsw.Connection(":memory:")
    database.create_scalar_function("regexp", regexp, 2)
    database.execute("CREATE TABLE tokens (doc TEXT)")
    database.execute("INSERT INTO tokens VALUES (?)", [json.dumps(doc)])
    expression, values = to_sql(parse(source))
    return bool(list(database.execute(f"SELECT 1 FROM tokens WHERE {expression}", values)))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, True),
        ({"cores": 4}, True),
        ({"cores": 4.0}, True),
        ({"cores": "4"}, False),
        ({"ratio": 1}, True),
        ({"flag": 1}, False),
        ({"flag": True}, True),
        ({"flag": {"$ne": 1}}, True),
        ({"ratio": True}, False),
        ({"none": None}, True),
        ({"none": {"$exists": True}}, True),
        ({"gone": None}, False),
        ({"cores": 4, "name": "abacus"}, True),
        ({"cores": 4, "name": "other"}, False),
        ({"cores": {"$gt": 3, "$lt": 5}}, True),
        ({"cores": {"$gte": 4, "$lte": 4}}, True),
        ({"cores": {"$gt": 4}}, False),
        ({"name": {"$gte": "abacus"}}, True),
        ({"name": {"$lt": "abb"}}, True),
        # between types there is no order
        ({"empty": {"$gt": 0}}, False),
        ({"none": {"$lt": 1}}, False),
        ({"flag": {"$gte": 1}}, False),
        ({"cores": {"$lt": "z"}}, False),
        ({"list": {"$gt": 0}}, False),
        # a missing field
        ({"gone": {"$exists": False}}, True),
        ({"gone": {"$exists": True}}, False),
        ({"gone": {"$ne": 1}}, False),
        ({"gone": {"$nin": [1]}}, False),
        ({"gone": {"$nin": []}}, False),
        ({"gone": {"$not": {"$gt": 1}}}, False),
        ({"$not": {"gone": 1}}, False),
        ({"$not": {"gone": {"$ne": 1}}}, False),
        ({"$not": {"gone": {"$exists": True}}}, True),
        ({"$not": {"$and": [{"gone": 1}, {"cores": 5}]}}, True),
        ({"name.first": {"$exists": False}}, True),
        # negation
        ({"$not": {"cores": 5}}, True),
        ({"$not": {"$not": {"cores": 4}}}, True),
        ({"empty": {"$not": {"$gt": 0}}}, True),
        ({"cores": {"$not": {"$regex": "4"}}}, True),
        ({"$not": {"$or": [{"cores": 4}, {"gone": 1}]}}, False),
        ({"$not": {}}, False),
        # lists
        ({"cores": {"$in": [3, 4]}}, True),
        ({"cores": {"$in": ["4", None, True]}}, False),
        ({"flag": {"$in": [1]}}, False),
        ({"cores": {"$in": []}}, False),
        ({"cores": {"$nin": []}}, True),
        ({"list": {"$in": ["x", "y"]}}, True),
        ({"list": {"$in": [None]}}, True),
        ({"list": {"$in": [7]}}, False),
        ({"list": {"$nin": [2]}}, True),
        ({"list": {"$nin": [1]}}, False),
        ({"list": 1}, False),
        ({"tags": {"$in": ["nikhef"]}}, False),
        ({"tags": {"$nin": ["nikhef"]}}, True),
        # logic
        ({"$or": [{"cores": 5}, {"name": "abacus"}]}, True),
        ({"$or": []}, False),
        ({"$and": []}, True),
        ({"cores": {"$or": [3, {"$gt": 3}]}}, True),
        # paths
        ({"tags.site": "nikhef"}, True),
        ({"tags": {"site": "nikhef"}}, True),
        ({"tags": {"site": {"$regex": "^nik"}, "$exists": True}}, True),
        ({r"tags.run\.id": 3}, True),
        ({"tags": {r"run\.id": {"$gt": 2}}}, True),
        ({"tags.run.id": 3}, False),
        ({r"tags.back\\slash": 1}, True),
        ({"list.0": 1}, False),
        # regular expressions
        ({"name": {"$regex": "^aba"}}, True),
        ({"name": {"$regex": "cu"}}, True),
        ({"name": {"$regex": "(?i)ABA"}}, True),
        ({"name": {"$regex": "^b"}}, False),
        ({"cores": {"$regex": "4"}}, False),
        ({"none": {"$regex": ""}}, False),
    ],
    ids=str,
)
def test_what_a_selector_means(source: dict[str, Any], expected: bool) -> None:
    assert matches(parse(source), DOC) is expected
    assert holds_in_sql(source, DOC) is expected


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("cores>=4", {"cores": {"$gte": 4}}),
        ("cores >= 4 and tags.site=nikhef", {"$and": [{"cores": {"$gte": 4}}, {"tags.site": {"$eq": "nikhef"}}]}),
        ("a == 2.5", {"a": {"$eq": 2.5}}),
        ("a<-1", {"a": {"$lt": -1}}),
        ("a<=1e3", {"a": {"$lte": 1000.0}}),
        ("a>b", {"a": {"$gt": "b"}}),
        ("a!=true", {"a": {"$ne": True}}),
        ("a=null", {"a": {"$eq": None}}),
        ("a=NaN", {"a": {"$eq": "NaN"}}),
        ("a=007", {"a": {"$eq": "007"}}),
        ("a=8GiB", {"a": {"$eq": "8GiB"}}),
        ('a="4"', {"a": {"$eq": "4"}}),
        ('a="two words"', {"a": {"$eq": "two words"}}),
        ("a='it is \\d \"so\"'", {"a": {"$eq": 'it is \\d "so"'}}),
        ('a="é\\n"', {"a": {"$eq": "é\n"}}),
        ("name~^ab", {"name": {"$regex": "^ab"}}),
        ("name~4", {"name": {"$regex": "4"}}),
        (r"name!~'^\d (x)'", {"name": {"$not": {"$regex": r"^\d (x)"}}}),
        ("s in (a, 1,'b c')", {"s": {"$in": ["a", 1, "b c"]}}),
        ("s not in (a)", {"s": {"$nin": ["a"]}}),
        ("x exists", {"x": {"$exists": True}}),
        ("x not exists", {"x": {"$exists": False}}),
        ("not x exists", {"$not": {"x": {"$exists": True}}}),
        ("a=1 or b=2 and c=3", {"$or": [{"a": {"$eq": 1}}, {"$and": [{"b": {"$eq": 2}}, {"c": {"$eq": 3}}]}]}),
        (
            "(a=1 or b=2) AND NOT c=3",
            {"$and": [{"$or": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}, {"$not": {"c": {"$eq": 3}}}]},
        ),
        ('"my field"=in', {"my field": {"$eq": "in"}}),
        ('"and" exists', {"and": {"$exists": True}}),
        (r"run\.id=1", {r"run\.id": {"$eq": 1}}),
        (' {"cores": {"$gte": 4}}', {"cores": {"$gte": 4}}),
        (["a=1", '{"b": 2}'], {"$and": [{"a": {"$eq": 1}}, {"b": 2}]}),
        (["a=1"], {"a": {"$eq": 1}}),
    ],
    ids=str,
)
def test_shorthand(text: str | list[str], source: dict[str, Any]) -> None:
    assert parse_where(text).source == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a field, not the end at character 1"),
        ("a=", "expected a value, not the end at character 3"),
        ("a=my job", "expected the end, not 'job' at character 6"),
        ("a='x", 'cannot read "\'x" at character 3'),
        ('a="\\d"', "is not a JSON string at character 3"),
        ("a b", "expected a comparison, 'in' or 'exists', not 'b' at character 3"),
        ("a not =", "expected 'in' or 'exists', not '=' at character 7"),
        ("$x=1", "a field does not start with '$': '$x' at character 1"),
        ("(a=1", "expected ')', not the end at character 5"),
        ("a=1)", "expected the end, not ')' at character 4"),
        ("a in ()", "expected a value, not ')' at character 7"),
        ("a=1 and", "expected a field, not the end at character 8"),
        ("exists=1", "expected a field, not 'exists' at character 1"),
        ("not " * 30 + "a=1", "nested at most 20 deep at character 81"),
        ("(" * 5000, "nested at most 20 deep at character 21"),
        ('{"a":', "not JSON at character 6"),
        ('{"a":' * 100_000, "nested too deep"),
        ("a~'('", "$regex on 'a': cannot read '('"),
        ("a>null", "$gt on 'a' takes a number or a string, not None"),
    ],
    ids=lambda value: value[:30],
)
def test_shorthand_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InvalidSelector) as caught:
        parse_where(text)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def nested(levels: int) -> dict[str, Any]:
    source: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        source = {"$not": source}
    return source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "a selector is an object, not []"),
        ({"$gt": 1}, "$gt stands without a field"),
        ({"$or": [5]}, "$eq stands without a field"),
        ({"a": {}}, "no condition on field 'a'"),
        ({"a": {"$size": 1}}, "unknown operator '$size'"),
        ({"a": [1]}, "$eq on 'a' takes one value, not [1]"),
        ({"a": {"$eq": {"b": 1}}}, "$eq on 'a' takes one value, not {'b': 1}"),
        ({"a": {"$in": 1}}, "$in on 'a' takes a list, not 1"),
        ({"a": {"$in": "text"}}, "$in on 'a' takes a list, not 'text'"),
        ({"a": {"$nin": [1, [2]]}}, "$nin on 'a' takes one value, not [2]"),
        ({"a": {"$gt": None}}, "$gt on 'a' takes a number or a string, not None"),
        ({"a": {"$lte": True}}, "$lte on 'a' takes a number or a string, not True"),
        ({"a": {"$exists": 1}}, "$exists on 'a' takes true or false, not 1"),
        ({"a": {"$regex": 1}}, "$regex on 'a' takes a regular expression, not 1"),
        ({"a": {"$regex": "x" * 1001}}, "$regex on 'a' takes a regular expression"),
        ({"a": {"$regex": "x{99999999999}"}}, "$regex on 'a': cannot read"),
        ({"a": {"$regex": "(" * 500 + ")" * 500}}, "$regex on 'a': cannot read"),
        ({"$and": {"a": 1}}, "$and takes a list"),
        ({"$not": 3}, "$not takes a condition, not 3"),
        ({"a": {"$not": 3}}, "$not takes a condition, not 3"),
        ({1: 2}, "a field is named by a string, not 1"),
        ({"": 1}, "cannot read field ''"),
        ({"a..b": 1}, "field 'a..b' has an empty name"),
        ({".a": 1}, "field '.a' has an empty name"),
        ({"a\\b": 1}, "cannot read field"),
        ({"a\0": 1}, "a field name has a NUL or a lone surrogate"),
        ({"a": "\ud800"}, "$eq on 'a' has a NUL or a lone surrogate"),
        ({"a": {"$in": ["\0"]}}, "$in on 'a' has a NUL or a lone surrogate"),
        ({"a": {"$regex": "\0"}}, "$regex on 'a' has a NUL or a lone surrogate"),
        ({"a": float("nan")}, "$eq on 'a' takes a number that every store keeps"),
        ({"a": float("-inf")}, "$eq on 'a' takes a number that every store keeps"),
        ({"a": 2**53}, "$eq on 'a' takes a number that every store keeps"),
        ({"a": {"$in": [10**5000]}}, "$in on 'a' takes a number that every store keeps"),
        ({"a": b"bytes"}, "$eq on 'a' takes one value"),
        (nested(21), "at most 20 levels deep"),
        ({".".join("a" * 21): 1}, "more than 20 levels deep"),
        ({"a": {"$in": list(range(1001))}}, "at most 1000 operands, this one 1001"),
        ({"$or": [{}] * 1001}, "at most 1000 operands, this one 1001"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_mango_that_cannot_be_read(source: Any, message: str) -> None:
    with pytest.raises(InvalidSelector) as caught:
        parse(source)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        {"$or": [{"cores": {"$not": {"$gt": 100 + i}}} for i in range(1000)]},
        {"$or": [{"cores": {"$in": [i]}} for i in range(1000)]},
        {"cores": {"$in": list(range(1000))}},
        nested(20),
    ],
    ids=["or", "or-in", "in", "nested"],
)
def test_the_largest_selectors_fit_in_sql(source: dict[str, Any]) -> None:
    assert holds_in_sql(source, DOC) is matches(parse(source), DOC)


def test_data_is_bound_and_never_pasted() -> None:
    marker = "'\"); DROP TABLE tokens; --"
    conditions = [marker, {"$in": [marker]}, {"$regex": "DROP"}, {"$gt": marker}, {"$exists": True}]
    expression, values = to_sql(parse({"$or": [{marker: condition} for condition in conditions]}))
    assert "DROP" not in expression
    assert len(values) == expression.count("?")


def test_a_selector_is_a_value() -> None:
    selector = parse({"a": 1, "b": 2})
    assert selector == parse({"b": 2, "a": 1})
    assert hash(selector) == hash(parse({"b": 2, "a": 1}))
    assert selector != parse({"a": True, "b": 2})
    with pytest.raises(AttributeError):
        selector.text = "{}"  # type: ignore[misc]


def test_the_source_is_a_copy() -> None:
    members = [1]
    selector = parse(MappingProxyType({"a": MappingProxyType({"$in": members})}))
    members.append(2)
    selector.source["b"] = 1
    assert selector.source == {"a": {"$in": [1]}}
    assert matches(selector, {"a": 2}) is False


def test_fields_are_the_dotted_ones_tested() -> None:
    source = {"a": 1, "tags": {"site": "x", r"run\.id": {"$not": {"$in": [1]}}}, "$or": [{"b.c": 2}, {"a": 3}]}
    assert parse(source).fields == {"a", "tags.site", r"tags.run\.id", "b.c"}


def test_both_with_nothing_is_the_other() -> None:
    a, b = parse({"a": 1}), parse({"b": 2})
    assert both(None, None) is None
    assert both(a, None) is a
    assert both(None, b) is b
    assert both(a, a) == a
    assert both(a, b) == parse({"$and": [{"a": 1}, {"b": 2}]})


def test_regexp_is_false_for_what_is_not_a_string() -> None:
    assert regexp("", None) is False
    assert regexp("1", 1) is False
