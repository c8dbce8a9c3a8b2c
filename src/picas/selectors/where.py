"""The shorthand of the command line, ``cores>=4 and tags.site=nikhef``, turned into Mango.

    any    = all {"or" all}
    all    = one {"and" one}
    one    = "not" one | "(" any ")" | field rest
    rest   = comparison value | ["not"] "in" "(" value {"," value} ")" | ["not"] "exists"

A comparison is one of ``= == != > >= < <= ~ !~``, where ``~`` finds a regular expression. A value is a JSON literal
(``4``, ``true``, ``null``, ``"two words"``), ``'text'`` without escapes, or a bare word, which is a string. What has
blanks, quotes, commas, parentheses or ``=<>!~`` in it is written in quotes, a field too. Sizes (``8GiB``) are strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, cast

from picas.errors import InvalidSelector
from picas.selectors.tree import MAX_DEPTH, Selector, parse, shown

_Mango = dict[str, object]

_COMPARISONS = {
    "=": "$eq",
    "==": "$eq",
    "!=": "$ne",
    ">": "$gt",
    ">=": "$gte",
    "<": "$lt",
    "<=": "$lte",
    "~": "$regex",
    "!~": "$regex",
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted> "(?:[^"\\]|\\.)*" | '[^']*' )
      | (?P<mark> == | != | >= | <= | !~ | [=<>~(),] )
      | (?P<word> [^\s"'=<>!~(),]+ )
      | (?P<end> \Z )
      | (?P<wrong> . )
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = ("and", "or", "not", "in", "exists")
_HINT = "write conditions such as: cores>=4 and tags.site=nikhef"
_QUOTE_HINT = "put what has blanks or any of \"'=<>!~(), in it in quotes"


def parse_where(text: str | Sequence[str]) -> Selector:
    """Read a condition in shorthand, or Mango if it starts with ``{``; several are all to hold.

    Raises `InvalidSelector` with the position of what cannot be read.
    """
    texts = [text] if isinstance(text, str) else list(text)
    sources = [_source(one) for one in texts]
    return parse(sources[0] if len(sources) == 1 else _grouped("$and", sources))


def _source(text: str) -> Mapping[str, object]:
    if text.lstrip().startswith("{"):
        return _from_json(text)
    reader = _Reader(text)
    source = reader.any()
    if reader.kind != "end":
        hint = "join conditions with 'and' or 'or'; " + _QUOTE_HINT
        reader.fail(f"expected the end, not {reader.seen}", hint)
    return source


def _from_json(text: str) -> _Mango:
    try:
        source: _Mango = json.loads(text)
    except ValueError as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        message = f"not JSON{where} of {shown(text)}: {getattr(error, 'msg', error)}"
        raise InvalidSelector(message, hint='write Mango as JSON: {"cores": {"$gte": 4}}') from None
    except RecursionError:
        raise InvalidSelector("the JSON of a selector is nested too deep", hint=_HINT) from None
    return source


def _grouped(operator: str, parts: Sequence[object]) -> _Mango:
    return {operator: list(parts)}


@dataclass
class _Reader:
    """One pass over the text; ``kind``, ``found`` and ``start`` are of the piece that comes next."""

    text: str
    kind: str = ""
    found: str = ""
    start: int = 0
    _stop: int = 0
    _depth: int = 0

    def __post_init__(self) -> None:
        self.advance()

    @property
    def seen(self) -> str:
        return "the end" if self.kind == "end" else shown(self.found)

    def advance(self) -> str:
        """Goes to the next piece; returns the one it leaves."""
        left = self.found
        match = cast("re.Match[str]", _TOKEN.match(self.text, self._stop))  # ``wrong`` takes what nothing else does
        self.kind = match.lastgroup or ""
        self.found = match[self.kind]
        self.start, self._stop = match.span(self.kind)
        if self.kind == "wrong":
            self.fail(f"cannot read {shown(self.text[self.start :])}", _QUOTE_HINT)
        return left

    def fail(self, message: str, hint: str = _HINT) -> NoReturn:
        raise InvalidSelector(f"{message} at character {self.start + 1} of {shown(self.text)}", hint=hint)

    def take(self, *wanted: str) -> bool:
        """Goes over the next piece if it is one of these keywords or marks."""
        if self.kind == "quoted" or self.found.lower() not in wanted:
            return False
        self.advance()
        return True

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            self.fail(f"expected {mark!r}, not {self.seen}", _QUOTE_HINT)

    def any(self) -> _Mango:
        parts = [self.all()]
        while self.take("or"):
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else _grouped("$or", parts)

    def all(self) -> _Mango:
        parts = [self.one()]
        while self.take("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else _grouped("$and", parts)

    def one(self) -> _Mango:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.fail(f"a condition is nested at most {MAX_DEPTH} deep")
        if self.take("not"):
            source: _Mango = {"$not": self.one()}
        elif self.take("("):
            source = self.any()
            self.expect(")")
        else:
            source = {self.field(): self.rest()}
        self._depth -= 1
        return source

    def field(self) -> str:
        if self.kind not in ("word", "quoted") or (self.kind == "word" and self.found.lower() in _KEYWORDS):
            self.fail(f"expected a field, not {self.seen}")
        if self.found.startswith("$"):
            self.fail(f"a field does not start with '$': {shown(self.found)}", "operators are for Mango, in JSON")
        return self.string() if self.kind == "quoted" else self.advance()

    def rest(self) -> _Mango:
        negated = self.take("not")
        if self.take("exists"):
            return {"$exists": not negated}
        if self.take("in"):
            return {"$nin" if negated else "$in": self.values()}
        if negated or self.found not in _COMPARISONS:
            expected = "'in' or 'exists'" if negated else "a comparison, 'in' or 'exists'"
            self.fail(f"expected {expected}, not {self.seen}")
        mark = self.advance()
        if mark == "!~":
            return {"$not": {"$regex": self.pattern()}}
        return {_COMPARISONS[mark]: self.pattern() if mark == "~" else self.value()}

    def values(self) -> list[object]:
        self.expect("(")
        values = [self.value()]
        while self.take(","):
            values.append(self.value())
        self.expect(")")
        return values

    def value(self) -> object:
        if self.kind == "quoted":
            return self.string()
        word = self.word()
        try:
            return json.loads(word, parse_constant=str)
        except (ValueError, RecursionError):
            return word

    def pattern(self) -> str:
        return self.string() if self.kind == "quoted" else self.word()

    def word(self) -> str:
        if self.kind != "word":
            self.fail(f"expected a value, not {self.seen}", _QUOTE_HINT)
        return self.advance()

    def string(self) -> str:
        if self.found.startswith("'"):
            return self.advance()[1:-1]
        try:
            value = str(json.loads(self.found))
        except ValueError:
            hint = "within \"...\" a backslash is written twice; within '...' once"
            self.fail(f"{shown(self.found)} is not a JSON string", hint)
        self.advance()
        return value
