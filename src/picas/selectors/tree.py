"""The parsed form of a selector, and how Mango becomes it.

What is compiled or evaluated is a tree of four kinds of node. `parse` leaves little to decide: negation stands only
directly around a test, ``$ne`` and ``$nin`` are negated ``$eq`` and ``$in``, and every operand has been checked.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from picas.errors import InvalidSelector

Scalar: TypeAlias = bool | int | float | str | None
Operand: TypeAlias = Scalar | tuple[Scalar, ...]
Operator = Literal["$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$exists", "$regex"]
Path: TypeAlias = tuple[str, ...]

MAX_DEPTH = 20
MAX_SIZE = 1000  # operands, each of which is a term of an SQL expression
MAX_PATTERN = 1000
MAX_NUMBER = 2**53 - 1

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


@dataclass(frozen=True, kw_only=True)
class Test:
    """One operator on one field. False where the field is missing, unless it is ``$exists`` with ``False``."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    path: Path
    operator: Operator
    value: Operand


@dataclass(frozen=True, kw_only=True)
class Not:
    """The field is there and the test fails. The test is never ``$exists``."""

    test: Test


@dataclass(frozen=True, kw_only=True)
class And:
    """All parts hold; true without parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Or:
    """One part holds; false without parts."""

    parts: tuple[Node, ...]


Node: TypeAlias = And | Or | Not | Test


@dataclass(frozen=True, kw_only=True)
class Selector:
    """A condition that was read and checked. Equal, and hashed alike, when written alike but for the order of keys."""

    text: str
    root: Node = field(repr=False, compare=False)

    @property
    def source(self) -> dict[str, object]:
        """The Mango mapping this came from, a new one at each call."""
        return cast("dict[str, object]", json.loads(self.text))

    @property
    def fields(self) -> frozenset[str]:
        """The dotted fields that are tested."""
        return frozenset(dotted(test.path) for test in _tests(self.root))


def parse(source: Mapping[str, object]) -> Selector:
    """Read and check a Mango selector; raises `InvalidSelector` that names the field or operator at fault."""
    if not isinstance(source, Mapping):
        raise InvalidSelector(f"a selector is an object, not {shown(source)}", hint='such as {"cores": {"$gte": 4}}')
    root = _condition(source, (), 1)
    if _size(root) > MAX_SIZE:
        raise InvalidSelector(
            f"a selector has at most {MAX_SIZE} operands, this one {_size(root)}",
            hint="split it, or mark the tokens with a tag and select that",
        )
    return Selector(text=json.dumps(source, sort_keys=True, default=dict), root=root)


def both(a: Selector | None, b: Selector | None) -> Selector | None:
    """The selector for what both select; ``None`` selects everything. Raises `InvalidSelector` if it gets too large."""
    if a is None or b is None or a == b:
        return a if b is None else b
    return parse({"$and": [a.source, b.source]})


def kind(value: object) -> str:
    """The JSON type of a value; ``array`` for sequences and ``object`` for mappings of any class."""
    if value is None:
        return "null"
    for name, classes in _KINDS.items():
        if isinstance(value, classes):
            return name
    return "other"


# In this order: a bool is an int to Python, a string a sequence.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "number": (int, float),
    "string": str,
    "object": Mapping,
    "array": (list, tuple),
}


def dotted(path: Path) -> str:
    """The path as Mango writes it, dots within names escaped."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def shown(value: object) -> str:
    """The value for a message: on one line, printable, not long, however deep it is."""
    return _SHORT.repr(value)


def _condition(condition: object, path: Path, depth: int) -> Node:
    if not isinstance(condition, Mapping):
        return _test("$eq", condition, path)
    if depth > MAX_DEPTH:
        raise InvalidSelector(
            f"a selector is at most {MAX_DEPTH} levels deep", hint="flatten nested $and, $or and $not"
        )
    if path and not condition:
        raise InvalidSelector(f"no condition on field {shown(dotted(path))}", hint='to ask for it, {"$exists": true}')
    parts = tuple(_entry(key, value, path, depth) for key, value in condition.items())
    return parts[0] if len(parts) == 1 else And(parts=parts)


def _entry(key: object, value: object, path: Path, depth: int) -> Node:
    if not isinstance(key, str):
        raise InvalidSelector(f"a field is named by a string, not {shown(key)}", hint="write it in quotes")
    if key in ("$and", "$or"):
        parts = tuple(_condition(part, path, depth + 1) for part in _list(key, value))
        return And(parts=parts) if key == "$and" else Or(parts=parts)
    if key == "$not":
        if not isinstance(value, Mapping):
            raise InvalidSelector(f"$not takes a condition, not {shown(value)}", hint="for a value, use $ne")
        return _negated(_condition(value, path, depth + 1))
    if key.startswith("$"):
        return _test(key, value, path)
    return _condition(value, path + _names(key, len(path)), depth + 1)


def _negated(node: Node) -> Node:
    if isinstance(node, And):
        return Or(parts=tuple(map(_negated, node.parts)))
    if isinstance(node, Or):
        return And(parts=tuple(map(_negated, node.parts)))
    if isinstance(node, Not):
        return node.test
    if node.operator == "$exists":
        return Test(path=node.path, operator="$exists", value=not node.value)
    return Not(test=node)


def _names(text: str, above: int) -> Path:
    """The names of a dotted field, at most `MAX_DEPTH` with those above."""
    _check_string(text, "a field name")
    if not re.fullmatch(r"(?:[^\\]|\\[\\.])+", text, re.DOTALL):
        raise InvalidSelector(
            f"cannot read field {shown(text)}", hint=r"write \. for a dot in a name, \\ for a backslash"
        )
    names = [""]
    for piece in re.findall(r"\\.|[^\\]", text, re.DOTALL):
        if piece == ".":
            names.append("")
        else:
            names[-1] += piece[-1]
    if "" in names:
        raise InvalidSelector(f"field {shown(text)} has an empty name", hint="write names with one dot between them")
    if above + len(names) > MAX_DEPTH:
        raise InvalidSelector(
            f"field {shown(text)} is more than {MAX_DEPTH} levels deep", hint="select by a field above"
        )
    return tuple(names)


def _test(operator: str, value: object, path: Path) -> Node:
    if operator not in _OPERATORS:
        known = " ".join(["$and", "$or", "$not", *_OPERATORS])
        raise InvalidSelector(f"unknown operator {shown(operator)}", hint=f"there are {known}")
    if not path:
        raise InvalidSelector(f"{operator} stands without a field", hint=f'write {{"field": {{"{operator}": ...}}}}')
    name, read, negated = _OPERATORS[operator]
    test = Test(path=path, operator=name, value=read(f"{operator} on {shown(dotted(path))}", value))
    return _negated(test) if negated else test


def _scalar(what: str, value: object) -> Scalar:
    if isinstance(value, str):
        return _check_string(value, f"the operand of {what}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(what, value)
    raise InvalidSelector(
        f"{what} takes one value, not {shown(value)}", hint="name a field within, or use $in for a list"
    )


def _number(what: str, value: float) -> float:
    if not abs(value) <= MAX_NUMBER:  # NaN is not
        raise InvalidSelector(
            f"{what} takes a number that every store keeps, within {MAX_NUMBER} of 0",
            hint="keep larger ones as strings, in the tokens too",
        )
    return value


def _ordered(what: str, value: object) -> Scalar:
    if kind(value) not in ("number", "string"):
        hint = "to ask whether the field is there, use $exists"
        raise InvalidSelector(f"{what} takes a number or a string, not {shown(value)}", hint=hint)
    return _scalar(what, value)


def _list(what: str, value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        raise InvalidSelector(f"{what} takes a list, not {shown(value)}", hint="put it in brackets: [...]")
    return value


def _scalars(what: str, value: object) -> tuple[Scalar, ...]:
    return tuple(_scalar(what, member) for member in _list(what, value))


def _boolean(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidSelector(f"{what} takes true or false, not {shown(value)}", hint="true: the field is there")
    return value


def _pattern(what: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        hint = f"of at most {MAX_PATTERN} characters"
        raise InvalidSelector(f"{what} takes a regular expression, not {shown(value)}", hint=hint)
    _check_string(value, f"the operand of {what}")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        hint = "the syntax is that of Python's re module"
        raise InvalidSelector(f"{what}: cannot read {shown(value)}: {error}", hint=hint) from None
    return value


def _check_string(value: str, what: str) -> str:
    # SQLite ends a path, and PostgreSQL refuses a text, at NUL; a lone surrogate has no UTF-8.
    if re.search("[\0\ud800-\udfff]", value):
        hint = "no store keeps these"
        raise InvalidSelector(f"{what} has a NUL or a lone surrogate: {shown(value)}", hint=hint)
    return value


# Mango's operator: the operator of the test, what reads its operand, whether it is negated.
_OPERATORS: dict[str, tuple[Operator, Callable[[str, object], Operand], bool]] = {
    "$eq": ("$eq", _scalar, False),
    "$ne": ("$eq", _scalar, True),
    "$gt": ("$gt", _ordered, False),
    "$gte": ("$gte", _ordered, False),
    "$lt": ("$lt", _ordered, False),
    "$lte": ("$lte", _ordered, False),
    "$in": ("$in", _scalars, False),
    "$nin": ("$in", _scalars, True),
    "$exists": ("$exists", _boolean, False),
    "$regex": ("$regex", _pattern, False),
}


def _tests(node: Node) -> list[Test]:
    if isinstance(node, (And, Or)):
        return [test for part in node.parts for test in _tests(part)]
    return [node.test if isinstance(node, Not) else node]


def _size(node: Node) -> int:
    if isinstance(node, (And, Or)):
        return max(1, sum(map(_size, node.parts)))
    value = node.test.value if isinstance(node, Not) else node.value
    return max(1, len(value)) if isinstance(value, tuple) else 1
