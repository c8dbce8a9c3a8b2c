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
    """An object whose members are of these names and types; none at all is an empty one."""
    body = await request.body()
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise UsageError("the request is no JSON") from None
    if not isinstance(given, dict):
        raise UsageError("the request is no JSON object")
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{name!r:.60} is not known here", hint=f"known are {', '.join(sorted(known))}")
        if type(value) is not known[name]:
            raise UsageError(f"{name} is to be of type {_TYPES[known[name]]}")
    return given


_TYPES = {str: "string", int: "integer", bool: "boolean", list: "array"}


def whole_number(text: str, what: str) -> int:
    """A number as people type it."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text):
        raise UsageError(f"{what} {text!r:.40} is not a whole number")
    return int(text)
