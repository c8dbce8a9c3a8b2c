r"""A selector compiled to a JavaScript expression, in the ECMAScript 5 of every engine that CouchDB had.

JavaScript sees a string as UTF-16, so what goes by code point in Python is written out. Strings are put in order by a
text in which the pairs of UTF-16 sort last. A regular expression is rewritten piece by piece: each piece that stands
for one character, ``\d`` or ``[^k]``, becomes the set of characters that Python finds it in. Nothing captures, so
whether a pattern is found does not depend on how the two languages search.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NoReturn, cast

from picas.errors import InvalidSelector
from picas.selectors.tree import And, Node, Not, Or, Path, Selector, Test, dotted, shown

MAX_TEXT = 8000  # of one pattern in JavaScript, which every view repeats; a `\w` of Unicode takes more

_HELPERS = {
    "at": (
        "function at(names) { var value = doc, i; for (i = 0; i < names.length; i += 1) {"
        ' if (typeof value !== "object" || value === null || Array.isArray(value)'
        " || !Object.prototype.hasOwnProperty.call(value, names[i])) { return void 0; }"
        " value = value[names[i]]; } return value; }"
    ),
    "listed": (
        "function listed(value, list) { return [].concat(value).some(function (member) {"
        " return list.indexOf(member) >= 0; }); }"
    ),
    "order": (
        r'function order(text) { return text.replace(/\uffff/g, "\uffff\u0000")'
        r'.replace(/[\ud800-\udbff][\udc00-\udfff]/g, "\uffff$&"); }'
    ),
}
_ORDERS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def to_javascript(selector: Selector, variable: str = "doc") -> str:
    """An expression that is ``true`` where the selector holds and ``false`` elsewhere, on one line of ASCII.

    It throws for no document that came from JSON, and can stand within any other expression. ``variable`` is pasted,
    so it comes from the program, never from data; everything else is quoted. Raises `InvalidSelector` for a
    ``$regex`` with what JavaScript has no equal of: look-behind, backreferences, atomic groups, possessive repeats,
    words by Unicode (``\\b``, ``\\w``; those of ASCII, after ``(?a)``, are fine), flags but ``(?ais)``.

    A lone surrogate in a document, which no store keeps, is no character to ``$regex``.
    """
    program = _Program()
    result = program.node(selector.root)
    if not program.fields:
        return result
    helpers = " ".join(text for name, text in _HELPERS.items() if name in program.helpers)
    reads = ", ".join(f"{name} = at([{', '.join(map(_literal, path))}])" for path, name in program.fields.items())
    return f"(function (doc) {{ {helpers} var {reads}; return {result}; }}({variable}))"


@dataclass
class _Program:
    """The variables that hold the fields read, and the functions needed, by the expressions made so far."""

    fields: dict[Path, str] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=lambda: {"at"})

    def node(self, node: Node) -> str:
        if isinstance(node, And):
            return _joined(" && ", "true", [self.node(part) for part in node.parts])
        if isinstance(node, Or):
            return _joined(" || ", "false", [self.node(part) for part in node.parts])
        if isinstance(node, Not):
            # The test alone can be false where the field is missing, so its negation would hold there.
            return f"({self.name(node.test)} !== void 0 && !{self.test(node.test)})"
        return self.test(node)

    def name(self, test: Test) -> str:
        return self.fields.setdefault(test.path, f"f{len(self.fields)}")

    def test(self, test: Test) -> str:
        name = self.name(test)
        if test.operator == "$exists":
            return f"({name} {'!==' if test.value else '==='} void 0)"
        if test.operator == "$eq":
            return f"({name} === {_literal(test.value)})"
        if test.operator == "$in":
            self.helpers.add("listed")
            return f"listed({name}, [{', '.join(map(_literal, cast('Sequence[object]', test.value)))}])"
        if test.operator == "$regex":
            return f'(typeof {name} === "string" && {_regex(test)}.test({name}))'
        return self.ordered(test, name, _ORDERS[test.operator])

    def ordered(self, test: Test, name: str, sign: str) -> str:
        if not isinstance(test.value, str):
            return f'(typeof {name} === "number" && {name} {sign} {_literal(test.value)})'
        self.helpers.add("order")
        return f'(typeof {name} === "string" && order({name}) {sign} {_literal(_ordered_text(test.value))})'


def _joined(word: str, empty: str, parts: Sequence[str]) -> str:
    return f"({word.join(parts)})" if parts else empty


def _literal(value: object) -> str:
    """A scalar as JavaScript, ASCII alone; without what ends a comment, a regular expression or a script of HTML."""
    return re.sub("[</>]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value))


def _ordered_text(text: str) -> str:
    """The text that ``order`` makes of this one: pairs, marked by a unit that sorts last, come after all else."""
    return re.sub("([\U00010000-\U0010ffff])", "\uffff\\1", text.replace("\uffff", "\uffff\0"))


_PIECE = re.compile(
    r"""
        (?P<anchor> \^ | \$ | \\[AbBZz] )
      | (?P<opening> \( (?: \?: | \?= | \?! | \?P<[^>]*> | (?!\?) ) )
      | (?P<closing> \) )
      | (?P<bar> \| )
      | (?P<repeat> (?: [*+?] | \{ (?!\}) [0-9]* (?:,[0-9]*)? \} ) [?+]? )
      | (?P<foreign> \(\? (?: [<P]. | > | [^:)]*. ) | \\[0-9] )
      | (?P<atom> \[ \^? \]? (?: \\. | [^\]\\] )* \]
                | \\x.{2} | \\u.{4} | \\U.{8} | \\N\{[^}]*\} | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
# Python's `$` holds before a last line feed too.
_ANCHORS = {"^": "^", r"\A": "^", "$": r"(?=\n?$)", r"\Z": "$", r"\z": "$"}
_HINT = "there are characters, classes, groups, look-ahead, repeats, | ^ and $"
_ASCII_HINT = r"begin the pattern with (?a), by which \b, \d and \w go by ASCII"


def _regex(test: Test) -> str:
    """A literal whose ``test`` finds in a string what `re.search` finds."""
    pattern = str(test.value)
    start = cast("re.Match[str]", re.match(r"(?:\(\?[aisu]+\))*", pattern))[0]
    flags = "".join(flag for flag in "ais" if flag in start)
    rewriting = _Rewriting(what=f"$regex on {shown(dotted(test.path))}", flags=flags)
    for piece in _PIECE.finditer(pattern, len(start)):
        getattr(rewriting, str(piece.lastgroup))(piece[0])
    return f"/{rewriting.result()}/"


@dataclass
class _Rewriting:
    """The pieces of a pattern rewritten so far, by one method for each kind, and what ends the groups still open."""

    what: str
    flags: str
    pieces: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    looks_ahead: bool = False

    def result(self) -> str:
        text = "".join(self.pieces)
        if len(text) > MAX_TEXT:
            message = f"{self.what}: the pattern takes {len(text)} characters in JavaScript, more than {MAX_TEXT}"
            raise InvalidSelector(message, hint=f"shorten it, or {_ASCII_HINT}")
        # Only what looks ahead could be found between the two halves of a pair.
        return rf"(?![\udc00-\udfff])(?:{text})" if self.looks_ahead else text or "(?:)"

    def anchor(self, text: str) -> None:
        if text == r"\b" and "a" in self.flags:
            self.pieces.append(text)
        elif text in _ANCHORS:
            self.pieces.append(_ANCHORS[text])
        else:
            self.foreign(text)

    def opening(self, text: str) -> None:
        ahead = text in ("(?=", "(?!")
        self.looks_ahead |= ahead
        # In a group, because the standard has no repeats of a look-ahead alone.
        self.pieces.append(f"(?:{text}" if ahead else "(?:")
        self.endings.append("))" if ahead else ")")

    def closing(self, _: str) -> None:
        self.pieces.append(self.endings.pop())

    def bar(self, text: str) -> None:
        self.pieces.append(text)

    def repeat(self, text: str) -> None:
        if text[1:].endswith("+"):
            self.foreign(text)
        # Lazy or greedy, the same is found; but QuickJS never leaves a lazy repeat of what can be empty.
        greedy = text[0] + text[1:].rstrip("?")
        self.pieces.append(greedy.replace("{,", "{0,"))

    def foreign(self, text: str) -> NoReturn:
        hint = _ASCII_HINT if text == r"\b" else _HINT
        raise InvalidSelector(f"{self.what}: JavaScript has no equal of {shown(text)}", hint=hint)

    def atom(self, text: str) -> None:
        alone = len(text) == 1 and text != "." and "i" not in self.flags
        self.pieces.append(_set([(ord(text), ord(text))] if alone else _found(text, self.flags)))


@cache
def _characters() -> str:
    return "".join(map(chr, range(sys.maxunicode + 1)))


def _found(atom: str, flags: str) -> list[tuple[int, int]]:
    """The ranges of the characters in which Python finds a piece of a pattern."""
    return [(found.start(), found.end() - 1) for found in re.finditer(f"(?{flags}:{atom})+", _characters())]


def _set(ranges: list[tuple[int, int]]) -> str:
    """What matches one character of these ranges: a class, and pairs for what lies beyond 16 bits."""
    plain = [*_within(ranges, 0, 0xD7FF), *_within(ranges, 0xE000, 0xFFFF)]
    beyond = [part for a, b in _within(ranges, 0x10000, sys.maxunicode) for part in _blocks(a, b)]
    choices = [_class(plain)] if plain else []
    choices += ["".join(_class([ends]) for ends in zip(_units(a), _units(b), strict=True)) for a, b in beyond]
    return choices[0] if choices == [_class(plain)] else f"(?:{'|'.join(choices) or '(?!)'})"


def _within(ranges: list[tuple[int, int]], low: int, high: int) -> list[tuple[int, int]]:
    return [(max(a, low), min(b, high)) for a, b in ranges if a <= high and b >= low]


def _blocks(low: int, high: int) -> list[tuple[int, int]]:
    """The range cut where the first units of its pairs change, but for what has all of the second."""
    start, stop = -(-low // 0x400) * 0x400, (high + 1) // 0x400 * 0x400
    if start > stop:
        return [(low, high)]
    return [(a, b) for a, b in ((low, start - 1), (start, stop - 1), (stop, high)) if a <= b]


def _units(character: int) -> tuple[int, int]:
    return 0xD7C0 + (character >> 10), 0xDC00 + (character & 0x3FF)


def _class(ranges: list[tuple[int, int]]) -> str:
    text = "".join(_unit(a) if a == b else f"{_unit(a)}-{_unit(b)}" for a, b in ranges)
    return text if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else f"[{text}]"


def _unit(unit: int) -> str:
    character = chr(unit)
    return character if character.isascii() and character.isalnum() else f"\\u{unit:04x}"
