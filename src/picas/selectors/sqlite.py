"""A selector compiled to an SQLite expression over a column of JSON text."""

from __future__ import annotations

import json

from picas.selectors.sql import Sql, joined
from picas.selectors.tree import And, Node, Not, Operand, Or, Path, Selector, Test, kind

_COMPARISONS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_TYPES = {"number": "IN ('integer', 'real')", "string": "= 'text'"}


def to_sql(selector: Selector, column: str = "doc") -> tuple[str, list[object]]:
    """An expression that is 1 where the selector holds and 0 elsewhere, and the values to bind to it, in order.

    ``column`` is pasted, so it comes from the program, never from data; everything else is bound. The connection must
    know the function ``regexp``, which is `regexp` of this package. The column must hold valid JSON.
    """
    text, values = _node(selector.root, column)
    return f"({text}) IS TRUE", values


def _node(node: Node, column: str) -> Sql:
    if isinstance(node, And):
        return joined("AND", "1", [_node(part, column) for part in node.parts])
    if isinstance(node, Or):
        return joined("OR", "0", [_node(part, column) for part in node.parts])
    if isinstance(node, Not):
        # The test alone can be 0 where the field is missing, so its negation would hold there.
        return joined("AND", "1", [_exists(node.test.path, True, column), _not(_test(node.test, column))])
    return _test(node, column)


def _not(part: Sql) -> Sql:
    return f"NOT {part[0]}", part[1]


def _test(test: Test, column: str) -> Sql:
    if test.operator == "$exists":
        return _exists(test.path, bool(test.value), column)
    if test.operator == "$in":
        return _in(test, column)
    path = _json_path(test.path)
    kind_of, value_of = f"json_type({column}, ?)", f"json_extract({column}, ?)"
    if test.operator == "$regex":
        return f"({kind_of} = 'text' AND regexp(?, {value_of}))", [path, test.value, path]
    if test.value is None or isinstance(test.value, bool):
        return f"({kind_of} = ?)", [path, _literal(test.value)]
    compare = _COMPARISONS[test.operator]
    return f"({kind_of} {_TYPES[kind(test.value)]} AND {value_of} {compare} ?)", [path, path, test.value]


def _exists(path: Path, there: bool, column: str) -> Sql:
    return f"(json_type({column}, ?) IS {'NOT ' if there else ''}NULL)", [_json_path(path)]


def _in(test: Test, column: str) -> Sql:
    path = _json_path(test.path)
    listed, values = joined("OR", "0", _alternatives(test.value))
    # json_each gives the elements of an array, a scalar as itself, and the values of an object, which do not count.
    members = f"SELECT 1 FROM json_each({column}, ?) AS member WHERE {listed}"  # noqa: S608 - no data in it
    return f"(json_type({column}, ?) <> 'object' AND EXISTS ({members}))", [path, path, *values]


def _alternatives(operands: Operand) -> list[Sql]:
    """One expression on ``member`` for each type among the operands of ``$in``."""
    by_kind: dict[str, list[object]] = {}
    for operand in operands if isinstance(operands, tuple) else (operands,):
        by_kind.setdefault(kind(operand), []).append(operand)
    return [_one_of(name, values) for name, values in by_kind.items()]


def _one_of(name: str, values: list[object]) -> Sql:
    marks = ", ".join("?" * len(values))
    if name in _TYPES:
        return f"(member.type {_TYPES[name]} AND member.atom IN ({marks}))", values
    return f"(member.type IN ({marks}))", [_literal(value) for value in values]


def _literal(value: object) -> str:
    """``null``, ``true`` or ``false``, each of which is a type of its own to ``json_type``."""
    return json.dumps(value)


def _json_path(path: Path) -> str:
    """The path with every name in quotes, which take the escapes of a JSON string."""
    return "$" + "".join(f".{json.dumps(name, ensure_ascii=False)}" for name in path)
