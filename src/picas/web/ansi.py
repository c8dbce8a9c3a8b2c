"""What commands write for terminals, as text with classes: colours and weight stay, all else that one obeys does not.

A carriage return goes back to the line's begin, as progress bars do, so that of such a line the last state is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from picas.reports.words import plain

__all__ = ["Piece", "pieces"]

_SEQUENCE = re.compile(
    r"""\x1b\[ (?P<sgr>[0-9;:]*) m             # colours and weight
      | \x1b\[ [0-?]* [ -/]* [@-~]             # other control sequences: cursor, screen
      | \x1b[PX^_\]] .*? (?:\x1b\\|\x07|\x9c|\Z)  # strings for the terminal: titles, links, the clipboard
      | \x1b [ -/]* [0-~]?                     # the rest
      | \x9b [0-?]* [ -/]* [@-~]
      | [\x90\x98\x9d-\x9f] .*? (?:\x1b\\|\x07|\x9c|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_MOST_PIECES = 20_000
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_WEIGHTS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
_LEVELS = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True)
class Piece:
    """Text that looks the same throughout; ``classes`` are names for a style sheet, separated by blanks."""

    text: str
    classes: str = ""


@dataclass(frozen=True)
class _Look:
    front: str = ""
    back: str = ""
    weights: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        names = [f"ansi-{name}" for name in sorted(self.weights)]
        names += [f"ansi-{self.front}"] if self.front else []
        names += [f"ansi-on-{self.back}"] if self.back else []
        return " ".join(names)


def pieces(text: str) -> list[Piece]:
    """The text of a stream in pieces, each harmless in a page once it is escaped there."""
    found: list[Piece] = []
    line: list[Piece] = []
    for piece in _looks(text):
        for part in re.split(r"(\r*\n|\r)", piece.text):
            if part == "\r":
                line = []
            elif part.endswith("\n"):
                found += [*line, Piece("\n")]
                line = []
            elif part:
                line.append(Piece(_harmless(part), piece.classes))
        if len(found) > _MOST_PIECES:
            return [*_joined(found), Piece("\n… (more colours than are shown; the file has the rest)")]
    return _joined(found + line)


def _looks(text: str) -> Iterator[Piece]:
    """Pieces of one look, with control characters still in them."""
    look, start = _Look(), 0
    for match in _SEQUENCE.finditer(text):
        if match.start() > start:
            yield Piece(text[start : match.start()], look.classes)
        start = match.end()
        if match["sgr"] is not None:
            look = _changed(look, match["sgr"])
    if start < len(text):
        yield Piece(text[start:], look.classes)


def _joined(found: list[Piece]) -> list[Piece]:
    """Neighbours that look the same as one; line ends look like anything."""
    joined: list[Piece] = []
    for piece in found:
        if joined and (joined[-1].classes == piece.classes or piece.text == "\n"):
            joined[-1] = Piece(joined[-1].text + piece.text, joined[-1].classes)
        else:
            joined.append(piece)
    return joined


def _harmless(text: str) -> str:
    """Text in which backspaces have done their work, and what cannot be seen is shown."""
    left: list[str] = []
    for letter in text if "\b" in text else ():
        if letter != "\b":
            left.append(letter)
        elif left:
            left.pop()
    return "\t".join(plain(part) for part in ("".join(left) if "\b" in text else text).split("\t"))


def _changed(look: _Look, codes: str) -> _Look:
    """The look after a sequence of codes (ECMA-48 8.3.117, and the colours of xterm)."""
    numbers = [int(code[:5] or 0) for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code in (38, 48):
            name = _extended(numbers)
            look = replace(look, front=name) if code == 38 else replace(look, back=name)
        else:
            look = _simple(look, code)
    return look


def _simple(look: _Look, code: int) -> _Look:
    if code == 0:
        return _Look()
    if code in _WEIGHTS:
        return replace(look, weights=look.weights | {_WEIGHTS[code]})
    if code in _OFF:
        return replace(look, weights=look.weights - set(_OFF[code]))
    tens, ones = divmod(code, 10)
    if tens in (3, 9, 4, 10) and ones < 8:
        name = ("bright-" if tens in (9, 10) else "") + _NAMES[ones]
        return replace(look, front=name) if tens in (3, 9) else replace(look, back=name)
    return replace(look, front="") if code == 39 else replace(look, back="") if code == 49 else look


def _extended(numbers: list[int]) -> str:
    """One of 256 colours, or of all, by the nearest of the sixteen that a page has for light and dark."""
    kind = numbers.pop(0) if numbers else 0
    if kind == 5 and numbers:
        number = numbers.pop(0)
        if number < 16:
            return ("bright-" if number > 7 else "") + _NAMES[number % 8]
        return _nearest(*_cube(number))
    if kind == 2 and len(numbers) >= 3:
        return _nearest(numbers.pop(0), numbers.pop(0), numbers.pop(0))
    return ""


def _cube(number: int) -> tuple[int, int, int]:
    if number > 231:
        grey = 8 + 10 * (min(number, 255) - 232)
        return grey, grey, grey
    place = number - 16
    return _LEVELS[place // 36 % 6], _LEVELS[place // 6 % 6], _LEVELS[place % 6]


def _nearest(red: int, green: int, blue: int) -> str:
    most = max(red, green, blue)
    if most < 48:
        return "black"
    bits = sum(1 << place for place, level in enumerate((red, green, blue)) if level > most * 0.6)
    return ("bright-" if most > 200 else "") + _NAMES[bits]
