"""JSON in Python alone gives what orjson gives, byte for byte, and refuses what orjson refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picas import plain_json
from picas.enums import Word
from picas.testing.values import TEXTS, VALUES

REFUSED = "refused"
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**66), 2**66) | st.floats() | st.text()
    | st.text(st.characters(codec=None))
)  # fmt: skip
VALUE = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner), max_leaves=20
)
PIECES = st.sampled_from(
    [*"[]{}:,\"\\ \t\n\r0123456789-+.eEux/bfnrtNI", "true", "false", "null", "NaN", "Infinity", "\\ud83d", "\\uDE00",
     "\\u0000", "\\ud800", "\\n", '"a"', '"b":', "1e5", "1e400", "é", "\ufeff", "\x00", "\x1f", "\x7f", "\ud800", "٣"]
)  # fmt: skip


class Lazy(list):
    """A kind of list."""


class Name(str):
    """A kind of string."""


class Half(float):
    """A kind of float."""


class Pair(Word):
    ONE = "one"


class Plain(Enum):
    TWO = (2, "two")


class Number(IntEnum):
    THREE = 3


@dataclasses.dataclass
class Thing:
    name: str
    parts: list[int]
    _hidden: int = 1


class Point(NamedTuple):
    x: int
    y: int


def outcome(verb: Callable[..., Any], given: Any, *errors: type[Exception], **options: Any) -> Any:
    """What came of it: the result, in a form that tells 1 from 1.0 and 0.0 from -0.0; or that it was refused."""
    try:
        return repr(verb(given, **options))
    except RecursionError:
        raise
    except errors:
        return REFUSED


def both_write(value: Any) -> Any:
    for option in (0, orjson.OPT_STRICT_INTEGER):
        ours = outcome(plain_json.dumps, value, plain_json.JSONEncodeError, option=option)
        assert ours == outcome(orjson.dumps, value, orjson.JSONEncodeError, option=option)
    return ours


def both_read(text: str | bytes) -> Any:
    ours = outcome(plain_json.loads, text, plain_json.JSONDecodeError)
    assert ours == outcome(orjson.loads, text, orjson.JSONDecodeError)
    return ours


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@given(VALUE)
def test_it_writes_the_same_bytes(value: Any) -> None:
    both_write(value)


@given(st.floats())
@example(1e-5)
@example(-1.5e-05)
@example(9.999e-06)
@example(1e15)
@example(1e16)
@example(math.nan)
@example(-math.inf)
@example(5e-324)
def test_it_writes_floats_alike(value: float) -> None:
    both_write(value)


@pytest.mark.parametrize("value", [*VALUES.values(), *TEXTS.values(), *map(chr, range(0x120))])
def test_it_writes_what_documents_hold(value: Any) -> None:
    assert both_write([value, {"a": value}]) != REFUSED


@pytest.mark.parametrize(
    "value",
    [
        Lazy([1]), OrderedDict(a=1), Name("a"), Pair.ONE, Plain.TWO, Number.THREE, True, (1, (2,)), Thing("a", [1]),
        2**64 - 1, -(2**63), {}, [], (), "",
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_kinds_that_are_written(value: Any) -> None:
    assert outcome(plain_json.dumps, value, TypeError) == outcome(orjson.dumps, value, TypeError) != REFUSED


@pytest.mark.parametrize(
    "value",
    [
        Half(1.5), Point(1, 2), {1: 2}, {Name("a"): 1}, {Pair.ONE: 1}, {1, 2}, b"a", object(), 2**64, -(2**63) - 1,
        Thing, "\ud800", {"\udc00": 1}, ["a", object()],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_kinds_that_are_refused(value: Any) -> None:
    assert both_write(value) == REFUSED


@pytest.mark.parametrize("kind", [list, dict])
def test_how_deep_a_value_may_be(kind: type) -> None:
    assert both_write(nested(254, kind)) != REFUSED
    assert both_write(nested(255, kind)) == REFUSED


@given(VALUE)
def test_it_reads_what_either_wrote(value: Any) -> None:
    try:
        text = json.dumps(value)
    except ValueError:
        return
    both_read(text)
    both_read(text.encode())


@given(st.lists(PIECES, max_size=12).map("".join))
def test_it_reads_and_refuses_any_text_alike(text: str) -> None:
    both_read(text)
    both_read(f'{{"a":[{text}]}}')
    both_read(f'"{text}"')


@given(st.binary(max_size=12))
@example(b"\xef\xbb\xbf1")
@example('"é"'.encode("utf-16"))
@example('"é"'.encode("utf-32-le"))
@example(b'"\xed\xa0\x80"')
def test_it_reads_and_refuses_any_bytes_alike(data: bytes) -> None:
    both_read(data)
    both_read(b'"' + data + b'"')


@given(st.text(r"\ud8cDAe0x/n1", max_size=24))
@example(r"\\ud800")
@example(r"\\\ud800")
@example(r"\ud800\udc00")
@example(r"\udc00\ud800")
@example(r"\ud800\ud800\udc00")
@example(r"\ud800\\udc00")
def test_escapes_of_half_characters(text: str) -> None:
    both_read(f'"{text}"')


@given(st.from_regex(r"-?[0-9]{0,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{0,4})?", fullmatch=True))
@example("-0")
@example("-0.0")
@example("1" * 5000)
@example("1" * 300)
@example("18446744073709551616")
@example("-9223372036854775809")
@example("1e309")
def test_numbers(text: str) -> None:
    both_read(text)


@pytest.mark.parametrize("shape", ["[{}]", '{{"a":{}}}'])
def test_how_deep_a_text_may_be(shape: str) -> None:
    def deep(depth: int) -> str:
        text = '"[{"'
        for _ in range(depth):
            text = shape.format(text)
        return text

    def innermost(value: Any) -> Any:
        while not isinstance(value, str):
            value = value[0] if isinstance(value, list) else value["a"]
        return value

    for read in (plain_json.loads, orjson.loads):
        assert innermost(read(deep(1024))) == "[{"
        with pytest.raises(ValueError, match="depth limit"):
            read(deep(1025))


def test_an_error_says_where() -> None:
    with pytest.raises(json.JSONDecodeError, match=r"line 1 column 2 \(char 1\)"):
        plain_json.loads("[x]")
    assert issubclass(plain_json.JSONDecodeError, ValueError)


def test_memory_is_read_like_bytes() -> None:
    assert plain_json.loads(memoryview(b"[1]")) == plain_json.loads(bytearray(b"[1]")) == [1]
