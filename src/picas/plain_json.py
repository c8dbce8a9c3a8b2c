"""orjson's two verbs in Python alone: in a bundle, where nothing compiled can be, this stands in orjson's place.

What it takes, gives and refuses is what orjson does with the options and types that picas uses; only slower.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, NoReturn

__all__ = ["OPT_STRICT_INTEGER", "JSONDecodeError", "JSONEncodeError", "dumps", "loads"]

OPT_STRICT_INTEGER = 64
"""Refuse integers beyond 53 bits."""

_READ_DEPTH = 1024
_WRITE_DEPTH = 254
_STRICT = 2**53 - 1
_LEAST, _LARGEST = -(2**63), 2**64 - 1
_LONGEST_INTEGER = len(str(_LEAST))
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F])|.)", re.DOTALL
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_EXPONENT = re.compile(r"e-0?")

JSONEncodeError = TypeError


class JSONDecodeError(json.JSONDecodeError):
    """A text is no JSON, or holds what a Python value cannot."""


def dumps(value: Any, *, option: int = 0) -> bytes:
    """JSON in UTF-8, without spaces; NaN and Infinity become null. TypeError for what JSON does not have."""
    parts: list[str] = []
    _write(value, parts.append, 0, option & OPT_STRICT_INTEGER != 0)
    return "".join(parts).encode()


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """The value of a JSON text; JSONDecodeError for any other.

    Integers beyond 64 bits become floats. NaN, Infinity, numbers too large for a float, lone surrogates, and what is
    nested deeper than 1024 levels are refused.
    """
    read = text if isinstance(text, str) else _decoded(bytes(text))
    _check(read)
    try:
        return _at_any_depth(read)
    except JSONDecodeError:
        raise
    except json.JSONDecodeError as error:
        raise JSONDecodeError(error.msg, read, error.pos) from None
    except ValueError as error:
        raise JSONDecodeError(str(error), read, 0) from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise JSONDecodeError("str is not valid UTF-8", "", error.start) from None


def _check(text: str) -> None:
    """Refuse what Python's own reader lets through, or breaks at."""
    if not text.isascii() and (bad := _SURROGATE.search(text)):
        raise JSONDecodeError("str is not valid UTF-8: surrogates not allowed", text, bad.start())
    if "\\" in text:
        # A backslash can be in strings only; anywhere else the reader refuses it.
        for escape in _ESCAPES.finditer(text):
            if escape["lone"]:
                raise JSONDecodeError("lone surrogate in string", text, escape.start())
    if text.count("[") + text.count("{") > _READ_DEPTH and _depth(text) > _READ_DEPTH:
        raise JSONDecodeError("depth limit exceeded", text, 0)


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    return deepest


def _at_any_depth(text: str) -> Any:
    """Read it; where Python's limit on recursion is the lower one, with that out of the way."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(usual + 4 * _READ_DEPTH)
        try:
            return _DECODER.decode(text)
        finally:
            sys.setrecursionlimit(usual)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("number is infinity when parsed as double")
    return value


def _integer(text: str) -> int | float:
    if len(text) <= _LONGEST_INTEGER and _LEAST <= (value := int(text)) <= _LARGEST:
        return value
    return _float(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_no_constant)


def _write(value: Any, put: Callable[[str], None], depth: int, strict: bool) -> None:
    kind = type(value)
    if kind in _SCALARS:
        put(_SCALARS[kind](value))
    elif issubclass(kind, Enum):
        _write(value.value, put, depth, strict)
    elif issubclass(kind, str):
        put(_string(value))
    elif issubclass(kind, int):
        put(_integer_text(int(value), strict))
    elif issubclass(kind, (list, dict)) or kind is tuple or dataclasses.is_dataclass(kind):
        if depth >= _WRITE_DEPTH:
            raise TypeError("Recursion limit reached")
        if issubclass(kind, list) or kind is tuple:
            _array(value, put, depth + 1, strict)
        else:
            _object(value if issubclass(kind, dict) else _fields(value), put, depth + 1, strict)
    else:
        raise TypeError(f"Type is not JSON serializable: {kind.__name__}")


def _array(value: Any, put: Callable[[str], None], depth: int, strict: bool) -> None:
    mark = "["
    for item in value:
        put(mark)
        _write(item, put, depth, strict)
        mark = ","
    put("]" if value else "[]")


def _object(value: dict[Any, Any], put: Callable[[str], None], depth: int, strict: bool) -> None:
    mark = "{"
    for name, item in value.items():
        if type(name) is not str:
            raise TypeError("Dict key must be str")
        put(f"{mark}{_string(name)}:")
        _write(item, put, depth, strict)
        mark = ","
    put("}" if value else "{}")


def _fields(value: Any) -> dict[str, Any]:
    names = (field.name for field in dataclasses.fields(value))
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def _string(value: str) -> str:
    if not value.isascii() and _SURROGATE.search(value):
        raise TypeError("str is not valid UTF-8: surrogates not allowed")
    return encode_basestring(value)


def _integer_text(value: int, strict: bool) -> str:
    if strict and not -_STRICT <= value <= _STRICT:
        raise TypeError("Integer exceeds 53-bit range")
    if not _LEAST <= value <= _LARGEST:
        raise TypeError("Integer exceeds 64-bit range")
    return str(value)


def _float_text(value: float) -> str:
    text = repr(value)
    if "e-05" in text:
        digits = text[:-4].replace(".", "").lstrip("-")
        return f"{'-' if value < 0 else ''}0.0000{digits}"
    if "n" in text:
        return "null"
    return _EXPONENT.sub("e-", text)


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: _string,
    float: _float_text,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
