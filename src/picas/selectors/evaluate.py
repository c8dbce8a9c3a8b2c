"""A selector evaluated in Python, on a document in memory."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from picas.selectors.tree import And, Node, Not, Operand, Or, Path, Scalar, Selector, Test, kind

_MISSING = object()


def matches(selector: Selector, doc: Mapping[str, object]) -> bool:
    """Whether the selector holds for a document."""
    return _holds(selector.root, doc)


def regexp(pattern: str, text: object) -> bool:
    """``$regex``, for the stores that register it as an SQL function; false for what is not a string."""
    return isinstance(text, str) and re.search(pattern, text) is not None


def _holds(node: Node, doc: object) -> bool:
    if isinstance(node, And):
        return all(_holds(part, doc) for part in node.parts)
    if isinstance(node, Or):
        return any(_holds(part, doc) for part in node.parts)
    if isinstance(node, Not):
        return _find(node.test.path, doc) is not _MISSING and not _passes(node.test, doc)
    return _passes(node, doc)


def _passes(test: Test, doc: object) -> bool:
    found = _find(test.path, doc)
    if test.operator == "$exists":
        return (found is not _MISSING) is test.value
    return found is not _MISSING and _OPERATORS[test.operator](found, test.value)


def _find(path: Path, doc: object) -> object:
    value = doc
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _same_type(compare: Callable[[Any, Any], bool]) -> Callable[[object, Operand], bool]:
    return lambda found, operand: kind(found) == kind(operand) and compare(found, operand)


_equal = _same_type(operator.eq)


def _listed(found: object, operands: Operand) -> bool:
    members = found if isinstance(found, list) else [found]
    return any(_equal(member, operand) for member in members for operand in _members(operands))


def _members(operands: Operand) -> tuple[Scalar, ...]:
    return operands if isinstance(operands, tuple) else (operands,)


_OPERATORS: dict[str, Callable[[object, Operand], bool]] = {
    "$eq": _equal,
    "$gt": _same_type(operator.gt),
    "$gte": _same_type(operator.ge),
    "$lt": _same_type(operator.lt),
    "$lte": _same_type(operator.le),
    "$in": _listed,
    "$regex": lambda found, pattern: regexp(str(pattern), found),
}
