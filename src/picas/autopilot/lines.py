"""On which line of a TOML file something stands, for messages; the parser itself does not tell."""

from __future__ import annotations

import re

__all__ = ["Lines"]

_HEADER = re.compile(r"\s*\[+\s*([^\[\]]+?)\s*\]+")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


class Lines:
    """Finds tables and keys in the text of a file that has been parsed."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _parts(header[1])
                self._found.setdefault(table, number)
            elif key := _KEY.match(line):
                self._found.setdefault((*table, *_parts(key[1])), number)

    def of(self, place: tuple[str, ...]) -> int:
        """The line of a key or table; of what it lies in, where it has no line of its own."""
        for known in range(len(place), 0, -1):
            lines = [line for path, line in self._found.items() if path[:known] == place[:known]]
            if lines:
                return min(lines)
        return 1


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
