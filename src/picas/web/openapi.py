"""The description of the API (OpenAPI 3.1), made from its table of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from picas.stores.steering import DRAIN, STOP
from picas.verbs import VERBS
from picas.web.changes import Phase

__all__ = ["Deed", "Parameter", "document"]


@dataclass(frozen=True)
class Parameter:
    """What a call takes in its query: text, one of a few words, or a whole number within bounds."""

    name: str
    description: str
    required: bool = False
    among: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None

    def told(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        schema: dict[str, Any] = {"type": "string"}
        if self.among:
            schema["enum"] = list(self.among)
        elif self.least is not None:
            schema = {"type": "integer", "minimum": self.least, "maximum": self.most}
        elif self.required:
            schema["minLength"] = 1
        told = {"name": self.name, "in": "query", "required": self.required, "schema": schema}
        return {**told, "description": self.description}


Calls = Mapping[str, tuple[str, str, tuple[Parameter, ...]]]
"""By path: what a call is for, the shape of its answer, what it takes."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A call that changes something: what it takes and answers are names of shapes; 202 when it is not over yet."""

    path: str
    summary: str
    takes: str
    shape: str
    is_long: bool = False

    def told(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        good = {"description": "It is done.", "content": _content(self.shape)}
        later = {"202": good | {"description": "It goes on; ask for it by its key."}} if self.is_long else {}
        return {
            "summary": self.summary,
            "operationId": "post_" + self.path.removeprefix("/api/v1/").replace("/", "_"),
            "requestBody": {"required": bool(_SHAPES[self.takes]["required"]), "content": _content(self.takes)},
            "responses": {"200": good, **later, **{code: _problem(w) for code, w in (_PROBLEMS | _REFUSED).items()}},
        }


def document(calls: Calls, deeds: Iterable[Deed] = ()) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {path: {"get": _operation(path, *told)} for path, told in calls.items()}
    for deed in deeds:
        paths.setdefault(deed.path, {})["post"] = deed.told()
    return {
        "openapi": "3.1.0",
        "info": {"title": "picas", "version": version("picas"), "description": "A pool of tokens and its pilots."},
        "paths": paths,
        "components": {
            "schemas": {**_SHAPES, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(path: str, summary: str, shape: str, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    good = {"description": "What was asked for.", "content": _content(shape)}
    return {
        "summary": summary,
        "operationId": path.rpartition("/")[2].partition(".")[0],
        "parameters": [parameter.told() for parameter in parameters],
        "responses": {"200": good, **{status: _problem(words) for status, words in _PROBLEMS.items()}},
    }


def _content(shape: str) -> dict[str, Any]:
    if shape == "File":
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


_PROBLEMS = {
    "400": "The call makes no sense.",
    "401": "Log in first.",
    "404": "There is no such thing.",
    "502": "The pool's database is broken.",
    "503": "The pool's database is away, or too much is asked at once: try again later.",
}

_REFUSED = {
    "403": "The request came from another page, or from a program without the token.",
    "409": "It is not as you expected.",
    "413": "The request is too large.",
}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_MAYBE_TEXT = {"type": ["string", "null"]}
_COUNTS = _object(held=_COUNT, todo=_COUNT, locked=_COUNT, done=_COUNT, error=_COUNT)
_OPEN = {"type": "object"}
_ERROR = _object(error=_object(message=_TEXT, hint=_TEXT))
_PILOT = _object(
    id=_TEXT, state={"enum": ["alive", "lost", "autopilot"]}, host=_TEXT, cores=_NUMBER, running=_COUNT,
    finished=_COUNT, age=_NUMBER, silent=_MAYBE_NUMBER, view=_TEXT, job=_TEXT, orders=_TEXT,
    busy={"type": ["integer", "null"]}, cpu=_MAYBE_NUMBER, memory_used=_MAYBE_NUMBER, started_at=_NUMBER,
    ends_at=_MAYBE_NUMBER, job_ids=_OPEN, job_name=_TEXT, holding={"type": ["integer", "null"]}, holds=_list(_TEXT),
)  # fmt: skip
_GROUP = _object(
    key=_TEXT, reason=_TEXT, exit_code=_TEXT, line=_TEXT, tokens=_COUNT, hosts=_OPEN, examples=_list(_TEXT),
    latest=_MAYBE_NUMBER,
)  # fmt: skip
_ESTIMATE = _object(left=_COUNT, rate=_MAYBE_NUMBER, soonest=_MAYBE_NUMBER, latest=_MAYBE_NUMBER, why_unknown=_TEXT)

_PAUSED = {"oneOf": [{"type": "null"}, _object(by=_TEXT, at=_NUMBER, why=_TEXT)]}
_WISH = {
    "verb": {"enum": list(VERBS)}, "priority": {"type": "integer", "minimum": -999_999_999, "maximum": 999_999_999},
    "ids": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}, "view": _TEXT, "where": _TEXT,
    "tag": _TEXT, "text": _TEXT, "group": _TEXT, "everything": {"type": "boolean"},
    "expect": {"type": "integer", "minimum": 0}, "wait": {"type": "boolean"},
}  # fmt: skip


def _closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    """What is taken: these members and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_SHAPES: dict[str, Any] = {
    "Document": _OPEN,
    "Lines": _object(lines=_list(_TEXT)),
    "Pool": _object(
        pool=_TEXT, at=_NUMBER, away_since=_MAYBE_NUMBER, why=_TEXT, counts=_COUNTS,
        paused=_PAUSED,
        pilots=_object(alive=_COUNT, lost=_COUNT), cores=_object(offered=_NUMBER, busy=_NUMBER),
        estimate=_ESTIMATE,
        designs={"oneOf": [{"type": "null"}, {"type": "object", "additionalProperties": _COUNTS}]},
    ),
    "Tokens": _object(tokens=_list(_OPEN), next=_MAYBE_TEXT, looked_at=_COUNT, is_cut={"type": "boolean"}),
    "Pilots": _object(pilots=_list(_PILOT), is_held_cut={"type": "boolean"}),
    "Change": _object(
        key=_TEXT, verb={"enum": list(VERBS)}, phase={"enum": [str(phase) for phase in Phase]}, tokens=_COUNT,
        meant=_COUNT, states=_OPEN, done=_COUNT, told=_TEXT, error={"oneOf": [{"type": "null"}, _ERROR]},
        outcome=_object(ended=_COUNT, pending=_COUNT, skipped=_COUNT, conflicts=_COUNT, moved=_COUNT, gone=_COUNT),
    ),
    "Wish": _closed(("verb",), **_WISH),
    "Key": _closed(("key",), key=_TEXT),
    "Reason": _closed((), why={"type": "string", "maxLength": 500}),
    "Nothing": _closed(()),
    "Orders": _closed(
        ("orders",), orders={"enum": [DRAIN, STOP]}, pilots={"type": "array", "items": _TEXT, "minItems": 1},
        everything={"type": "boolean"},
    ),
    "Paused": _object(paused=_PAUSED),
    "Told": _object(told=_list(_TEXT)),
    "Failures": _object(groups=_list(_GROUP), looked_at=_COUNT, is_whole={"type": "boolean"}),
}  # fmt: skip
