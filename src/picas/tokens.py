"""What a document may hold, by the same rule on every store, and what its own fields mean.

The rule is what CouchDB, SQLite and PostgreSQL all keep exactly: I-JSON (RFC 7493) numbers and strings, no NUL,
limited depth and size. A document that breaks it is refused when it is added, never changed in silence.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from picas import amounts, retries
from picas.errors import InvalidToken, UsageError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_ID_BYTES",
    "MAX_KEYS",
    "Requirements",
    "check",
    "check_attachment_name",
    "check_id",
    "dumps",
    "encode",
    "loads",
    "log_names",
    "parse",
    "quiet_limit",
    "requirements",
    "sized",
]

MAX_BYTES = 8_000_000
"""Size of a document as JSON in UTF-8: CouchDB's default ``max_document_size``."""
MAX_DEPTH = 100
MAX_KEYS = 10_000
MAX_ID_BYTES = 255
MAX_NAME_BYTES = 512
_MAX_INTEGER = 2**53 - 1
_LEAST_FLOAT = sys.float_info.min

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:@+=-]{0,199}")
"""What needs no further look."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_RESERVED = frozenset({"_id", "_rev", "_attachments"})

_SIMPLE = frozenset({str, int, bool, type(None)})
_FEW = 100
_LARGE = 2.0**53
_BEFORE_COLON = re.compile(rb"[ \t\r\n]:")


def dumps(value: Any) -> str:
    """JSON as stores keep it, unchecked: for documents that `encode` has let in."""
    return orjson.dumps(value).decode()


parse = orjson.loads
"""JSON as `dumps` wrote it; `loads` is for what people and commands wrote."""


def check_id(token_id: object) -> str:
    """The id, when every store, URL and file name can bear it; InvalidToken otherwise."""
    if not isinstance(token_id, str) or not token_id:
        raise InvalidToken(f"id {token_id!r} is not allowed", hint="an id is a non-empty string")
    _check_name("id", token_id, MAX_ID_BYTES)
    if token_id.startswith("_"):
        raise InvalidToken(f"id {token_id!r} starts with _, which databases keep to themselves")
    return token_id


def check(doc: Mapping[str, Any]) -> str:
    """The id of a new document whose fields have the types that picas relies on; InvalidToken otherwise."""
    token_id: object = doc.get("_id")
    if type(token_id) is not str or not _PLAIN_ID.fullmatch(token_id):
        token_id = check_id(token_id)
    for name in doc:
        if name in _FIELDS:
            fits, expected = _FIELDS[name]
            if not fits(doc[name]):
                raise InvalidToken(f"token {token_id}: field {name} must be {expected}, not {doc[name]!r:.60}")
    if "requires" in doc:
        requirements(doc)
    if "retry_on" in doc:
        _check_rules(doc["retry_on"], token_id)
    return token_id


def check_attachment_name(name: str) -> str:
    """The attachment's name, when it can be stored and saved as one file; InvalidToken otherwise."""
    _check_name("attachment name", name, MAX_NAME_BYTES)
    if not name or name.startswith("_") or {"..", "."} & set(name.split("/")):
        raise InvalidToken(f"attachment name {name!r} is not allowed", hint="a path without . and .., no _ in front")
    return name


def log_names(token_id: str) -> tuple[str, str]:
    """The names under which a command's standard output and standard error are attached to its token."""
    stem = f"logs_{token_id.replace('/', '_')}"
    return f"{stem}.out", f"{stem}.err"


def encode(doc: Mapping[str, Any]) -> str:
    """The document as JSON, when it follows the rules; InvalidToken with the field's path otherwise."""
    token_id = doc.get("_id", "?")
    if len(doc) <= _FEW and _SIMPLE.issuperset(map(type, doc.values())):
        text = _encode_simple(doc)
        if text is not None:
            return sized(text, token_id)
    walk = _Walk(token_id)
    walk.mapping(doc, "", 1)
    for name in doc:
        if name.startswith("_") and name not in _RESERVED:
            raise InvalidToken(f"token {token_id}: field {name!r} starts with _, which databases keep to themselves")
    return sized(dumps(doc), token_id)


def sized(text: str, token_id: object) -> str:
    """The JSON of a document, when it is not too large; InvalidToken otherwise."""
    if len(text) * 4 > MAX_BYTES and (size := len(text.encode())) > MAX_BYTES:
        raise InvalidToken(
            f"token {token_id} has {size:,} bytes, more than the limit of {MAX_BYTES:,}",
            hint="put large input in a file or an attachment and its name in the token",
        )
    return text


def loads(text: str | bytes) -> Any:
    """JSON read strictly: no NaN, no Infinity, no name twice in an object. ValueError says what is wrong."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    # A text with as many names as the value has holds none twice, however strings in it look.
    if type(value) is dict and raw.count(b'":') == _names(value) and not _BEFORE_COLON.search(raw):
        return value
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What a token needs or a pilot offers: cores, bytes of memory, gpus, seconds, and resources by name."""

    cores: float = 0
    memory: float = 0
    gpus: float = 0
    time: float = 0
    other: Mapping[str, float] = field(default_factory=dict)

    def within(self, offer: Requirements) -> bool:
        """Whether the offer covers every dimension; a named resource that is not offered counts as none."""
        return not self.lacking(offer)

    def lacking(self, offer: Requirements) -> list[str]:
        """The dimensions in which the offer is too small."""
        mine = {
            "cores": self.cores,
            "memory": self.memory,
            "gpus": self.gpus,
            "time": self.time,
            **self.other,
        }
        theirs = {"cores": offer.cores, "memory": offer.memory, "gpus": offer.gpus, "time": offer.time}
        return [name for name, need in mine.items() if need > theirs.get(name, offer.other.get(name, 0))]


def requirements(doc: Mapping[str, Any]) -> Requirements:
    """What a token needs, from its ``requires``; one core when it does not say. InvalidToken when unreadable."""
    requires = doc.get("requires")
    if not requires:
        return _ONE_CORE
    if not isinstance(requires, Mapping):
        raise InvalidToken(f"token {doc.get('_id')}: requires must be an object such as {{'cores': 4}}")
    sizes = {name: _quantity(name, value, doc.get("_id")) for name, value in requires.items()}
    known = {name: sizes.pop(name, default) for name, default in _DEFAULTS.items()}
    return Requirements(**known, other=sizes)


_DEFAULTS = {"cores": 1.0, "memory": 0.0, "gpus": 0.0, "time": 0.0}
_ONE_CORE = Requirements(cores=1)


def _quantity(name: str, value: object, token_id: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    units = amounts.SECONDS if name == "time" else amounts.BYTES
    found = amounts.amount(value, units) if isinstance(value, str) else None
    if found is None:
        raise InvalidToken(
            f"token {token_id}: requires.{name} is {value!r}, not an amount",
            hint='an amount is a number, "8 GiB" for memory, "2 h" for time',
        )
    return found


def _check_name(what: str, name: str, limit: int) -> None:
    if _SURROGATE.search(name):
        raise InvalidToken(f"{what} {name!r} holds a lone surrogate, which is no Unicode text")
    if _CONTROL.search(name):
        raise InvalidToken(f"{what} {name!r} holds a control character")
    if len(name.encode()) > limit:
        raise InvalidToken(f"{what} {name[:40]!r}... is longer than {limit} bytes")
    if name in (".", ".."):
        raise InvalidToken(f"{what} {name!r} is not allowed")


def _check_rules(rules: object, token_id: object) -> None:
    try:
        retries.parse(rules)
    except UsageError as error:
        raise InvalidToken(f"token {token_id}: retry_on: {error.message}", hint=error.hint) from error


def quiet_limit(value: object) -> float | None:
    """Seconds after which a command that writes nothing is ended, from the field of that name; None when unreadable."""
    seconds = amounts.amount(value, amounts.SECONDS) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    return float(seconds) if 0 < seconds <= _MAX_INTEGER else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_command(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) for word in value) and bool(value[0])
    return isinstance(value, str) and bool(value.strip())


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (lambda value: isinstance(value, str), "a string"),
    "lock": (lambda value: type(value) in (int, float), "a number"),
    "done": (lambda value: type(value) in (int, float), "a number"),
    "command": (_is_command, "a command line: a string, or a list of strings"),
    "priority": (lambda value: type(value) is int, "an integer"),
    "after": (lambda value: isinstance(value, list) and all(type(v) is str for v in value), "a list of ids"),
    "not_before": (lambda value: type(value) in (int, float), "unix seconds"),
    "max_scrub": (_is_count, "a count"),
    "scrub_count": (_is_count, "a count"),
    "tags": (lambda value: isinstance(value, Mapping), "an object"),
    "quiet_limit": (lambda value: quiet_limit(value) is not None, 'a time such as 1800 or "30m"'),
}


class _Walk:
    """One pass over a document that knows the path it is at, for the message."""

    def __init__(self, token_id: object) -> None:
        self.token_id = token_id
        self.keys = 0

    def mapping(self, value: Mapping[str, Any], path: str, depth: int) -> None:
        self.keys += len(value)
        if self.keys > MAX_KEYS:
            self.refuse(path, f"holds more than {MAX_KEYS:,} fields in all")
        if depth > MAX_DEPTH:
            self.refuse(path, f"is nested deeper than {MAX_DEPTH} levels")
        for name, item in value.items():
            if type(name) is not str:
                self.refuse(path, f"has {name!r} as a field name, which is no string")
            self.string(name, path)
            kind = type(item)
            if kind is str:
                if not item.isascii() or "\x00" in item:
                    self.string(item, f"{path}.{name}")
            elif kind is not bool and item is not None:
                self.value(item, f"{path}.{name}", depth)

    def value(self, value: Any, path: str, depth: int) -> None:
        if isinstance(value, bool) or value is None:
            return
        if isinstance(value, str):
            self.string(value, path)
        elif isinstance(value, int):
            if not -_MAX_INTEGER <= value <= _MAX_INTEGER:
                self.refuse(path, "is an integer beyond 2**53 - 1, which databases round", "write it as a string")
        elif isinstance(value, float):
            if not math.isfinite(value):
                self.refuse(path, f"is {value}, which JSON does not have")
            if value and abs(value) < _LEAST_FLOAT:
                self.refuse(path, f"is {value}, which some databases round to zero", "write it as a string")
        elif isinstance(value, Mapping):
            self.mapping(value, path, depth + 1)
        elif isinstance(value, list):
            self.array(value, path, depth + 1)
        else:
            self.refuse(path, f"is a {type(value).__name__}, which JSON does not have")

    def array(self, value: list[Any], path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse(path, f"is nested deeper than {MAX_DEPTH} levels")
        for place, item in enumerate(value):
            self.value(item, f"{path}[{place}]", depth)

    def string(self, value: str, path: str) -> None:
        if "\x00" in value:
            self.refuse(path, "holds a NUL character", "databases cannot keep it; encode it, in base64 say")
        if not value.isascii() and _SURROGATE.search(value):
            self.refuse(path, "holds a lone surrogate, which is no Unicode text")

    def refuse(self, path: str, what: str, hint: str = "") -> NoReturn:
        place = path.lstrip(".")
        shown = f"field {place[:80]}" if place else "the document"
        raise InvalidToken(f"token {self.token_id}: {shown} {what}", hint=hint)


def _encode_simple(doc: Mapping[str, Any]) -> str | None:
    """The JSON of a document without anything nested, quickly; None where a rule may be broken, for it to be told."""
    try:
        text = orjson.dumps(doc, option=orjson.OPT_STRICT_INTEGER)
    except (TypeError, ValueError):
        return None
    # Strings that look like a name that databases keep to themselves, or like NUL, are looked at in the long way.
    if b"\\u0000" in text or text.count(b'"_') != ("_id" in doc) + ("_rev" in doc) + ("_attachments" in doc):
        return None
    return text.decode()


def _names(value: Any) -> int:
    """How many names the objects in a value have in all; -1 where it has a number that may stand for another.

    The quick reader makes floats of integers that are too long for it.
    """
    items, count = (value.values(), len(value)) if type(value) is dict else (value, 0)
    if _SIMPLE.issuperset(map(type, items)):
        return count
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            inner = _names(item)
            if inner < 0:
                return -1
            count += inner
        elif kind is float and not -_LARGE < item < _LARGE:
            return -1
    return count


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
