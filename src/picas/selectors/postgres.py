"""A selector compiled to a PostgreSQL expression over a column of JSON."""

from __future__ import annotations

import json

from picas.selectors.sql import Sql, joined
from picas.selectors.tree import And, Node, Not, Operand, Or, Path, Selector, Test

_ORDERS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def to_postgres(selector: Selector, column: str = "doc") -> tuple[str, list[object], bool]:
    """An expression that is true where the selector holds and false elsewhere, the values to bind to it, in order,
    and whether that is so exactly.

    A ``$regex`` follows Python's rules, which PostgreSQL does not know: the expression is then also true for
    documents that only `matches` can tell apart. ``column`` is pasted, so it comes from the program, never from data;
    everything else is bound. Its type is ``json`` or ``jsonb``. Placeholders are ``%s``.
    """
    compiler = _Compiler(f"{column}::jsonb")
    text, values = compiler.node(selector.root)
    return f"(({text}) IS TRUE)", values, compiler.exact


class _Compiler:
    def __init__(self, document: str) -> None:
        self._document = document
        self.exact = True

    def node(self, node: Node) -> Sql:
        if isinstance(node, And):
            return joined("AND", "true", [self.node(part) for part in node.parts])
        if isinstance(node, Or):
            return joined("OR", "false", [self.node(part) for part in node.parts])
        if isinstance(node, Not):
            return self.negated(node.test)
        return self.test(node)

    def negated(self, test: Test) -> Sql:
        there = self.exists(test.path, True)
        if test.operator == "$regex":
            self.exact = False
            return there
        text, values = self.test(test)
        return joined("AND", "true", [there, (f"NOT ({text})", values)])

    def test(self, test: Test) -> Sql:
        if test.operator == "$exists":
            return self.exists(test.path, bool(test.value))
        value, path = self.value(test.path)
        if test.operator == "$regex":
            self.exact = False
            return f"(jsonb_typeof({value}) = 'string')", path
        if test.operator == "$eq":
            return f"({value} = %s::jsonb)", [*path, json.dumps(test.value)]
        if test.operator == "$in":
            return self.listed(test.path, test.value)
        order = _ORDERS[test.operator]
        if isinstance(test.value, str):
            # By code point, as Python does; jsonb would follow the language of the database.
            text = f"(jsonb_typeof({value}) = 'string' AND ({value} #>> '{{}}') COLLATE \"C\" {order} %s::text)"
            return text, [*path, *path, test.value]
        text = f"(jsonb_typeof({value}) = 'number' AND {value} {order} %s::jsonb)"
        return text, [*path, *path, json.dumps(test.value)]

    def listed(self, path: Path, operands: Operand) -> Sql:
        value, names = self.value(path)
        listed = [json.dumps(operand) for operand in (operands if isinstance(operands, tuple) else (operands,))]
        one = f"{value} = ANY(%s::text[]::jsonb[])"
        array = f"CASE jsonb_typeof({value}) WHEN 'array' THEN {value} ELSE '[]' END"
        member = f"EXISTS (SELECT FROM jsonb_array_elements({array}) AS m WHERE m = ANY(%s::text[]::jsonb[]))"
        return f"({one} OR {member})", [*names, listed, *names, *names, listed]

    def exists(self, path: Path, there: bool) -> Sql:
        value, names = self.value(path)
        return f"({value} IS {'NOT ' if there else ''}NULL)", names

    def value(self, path: Path) -> Sql:
        """What lies at a path; the operator finds nothing in arrays, as it takes names only."""
        return f"({self._document}{' -> %s::text' * len(path)})", list(path)
