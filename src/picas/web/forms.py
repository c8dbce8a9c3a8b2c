"""What a form, or a program, sends: read once, within limits, and refused when it cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from picas.errors import UsageError

__all__ = ["Fields", "fields", "first", "json_object", "whole_number"]

_MOST_FIELDS = 5_000

Fields = Mapping[str, list[str]]
"""The values of each field that is not empty."""


async def fields(request: Request) -> Fields:
    """The fields of a form."""
    try:
        return parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise UsageError(f"a form has {_MOST_FIELDS:,} fields at most") from None


def first(form: Fields, name: str) -> str:
    """The first value of a field; empty when there is none."""
    return form.get(name, [""])[0]


async def json_object(request: Request, known: Mapping[str, type]) -> dict[str, Any]:
    """An object whose members are of these names and types, lists of text; no body at all is an empty one."""
    try:
        given = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise UsageError("the request is no JSON") from None
    if not isinstance(given, dict):
        raise UsageError("the request is no JSON object")
    for name in given:
        if name not in known:
            raise UsageError(f"{name!r:.60} is not known here", hint=f"known are {', '.join(sorted(known))}")
    return {name: _checked(name, value, known[name]) for name, value in given.items()}


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # in JSON there is one kind of number
    if type(value) is not kind:
        raise UsageError(f"{name} is to be of type {_TYPES[kind]}")
    texts: list[Any] = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    for text in texts:
        if not isinstance(text, str) or not _is_text(text):
            raise UsageError(f"{name} has something in it that is no text")
    if isinstance(value, list) and "" in value:
        raise UsageError(f"{name} has an empty text in it")
    return value


def _is_text(value: str) -> bool:
    """Whether it can be written in UTF-8: half a pair, which JSON lets through, cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


_TYPES = {str: "string", int: "integer", bool: "boolean", list: "array"}


def whole_number(text: str, what: str) -> int:
    """A number as people type it."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text):
        raise UsageError(f"{what} {text!r:.40} is not a whole number")
    return int(text)
