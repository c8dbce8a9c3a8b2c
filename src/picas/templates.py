"""Command templates: ``{name}`` in a command line becomes the value of that field of a token.

A template is a list of words. Exactly one word with a blank in it is a string for ``bash -c``, in which values are
shell-quoted; anything else is a list of arguments, which no shell reads, and values go in as they are. ``{name}`` is
an identifier, ``{tags.site}`` reaches into objects; ``{{name}}`` stands for a literal ``{name}``; other braces are
left alone.

Within quotes (and comments, backticks, arithmetic, here-documents) quoting again would let a value end the quotes and
be run: there only values that no shell reads in any other way are put in, and others are refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from picas.errors import UsageError
from picas.tokens import dumps

__all__ = ["expand"]

_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*"
_PLACE = re.compile(rf"\{{\{{(?P<literal>{_NAME})\}}\}}|\{{(?P<name>{_NAME})\}}")
_HARMLESS = re.compile(r"[A-Za-z0-9_@%+:,./=-]*")
_HERE_DOCUMENT = re.compile(r"<<-?\s*[\\'\"]?[A-Za-z_]")
_MISSING = object()


def expand(template: Sequence[str], fields: Mapping[str, object]) -> list[str] | str:
    """The command of one token: an argument list, or a string for bash.

    Raises UsageError for a name that is no field, and for a value that cannot be quoted where it stands.
    """
    if len(template) == 1 and re.search(r"\s", template[0]):
        return _script(template[0], fields)
    return [_PLACE.sub(lambda found: _argument(found, fields), word) for word in template]


def _argument(found: re.Match[str], fields: Mapping[str, object]) -> str:
    return "{" + found["literal"] + "}" if found["literal"] else _value(found["name"], fields)


def _script(text: str, fields: Mapping[str, object]) -> str:
    pieces: list[str] = []
    shell = _Shell()
    end = 0
    for found in _PLACE.finditer(text):
        pieces.append(text[end : found.start()])
        shell.read(pieces[-1])
        pieces.append(_quoted(found, fields, quoted=shell.quoted))
        end = found.end()
    return "".join([*pieces, text[end:]])


def _quoted(found: re.Match[str], fields: Mapping[str, object], *, quoted: bool) -> str:
    if found["literal"]:
        return "{" + found["literal"] + "}"
    value = _value(found["name"], fields)
    if not quoted:
        return shlex.quote(value)
    if not _HARMLESS.fullmatch(value):
        raise UsageError(
            f"the value {value!r:.60} of {{{found['name']}}} cannot be put within quotes or an expression safely",
            hint=f"take the quotes around {{{found['name']}}} away: picas quotes values itself",
        )
    return value


def _value(name: str, fields: Mapping[str, object]) -> str:
    value = _lookup(name, fields)
    if value is _MISSING:
        known = ", ".join(sorted(map(str, fields))) or "none"
        raise UsageError(
            f"the command has {{{name}}}, but there is no field {name!r}",
            hint=f"fields: {known}; for braces as they are, write {{{{{name}}}}}",
        )
    return value if isinstance(value, str) else dumps(value)


def _lookup(name: str, fields: Mapping[str, object]) -> object:
    if name in fields:
        return fields[name]
    value: object = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


@dataclass
class _Shell:
    """Where in a bash string one is, told from what was read so far; in doubt, within quotes.

    ``mark`` is what ends the quotes or comment that are open. ``lost`` is set, for good, by what nests: from there
    on nothing is taken to be outside quotes.
    """

    mark: str = ""
    lost: bool = False
    before: str = " "

    @property
    def quoted(self) -> bool:
        return self.lost or bool(self.mark)

    def read(self, text: str) -> None:
        """Go on over a piece of the string."""
        self.lost = self.lost or "((" in text or "`" in text or bool(_HERE_DOCUMENT.search(text))
        letters = iter(text)
        for letter in letters:
            self._step(letter, letters)
            self.before = letter
        self.before = "x"  # what a placeholder becomes, before the next piece

    def _step(self, letter: str, letters: Iterator[str]) -> None:
        if letter == "\\" and self.mark not in ("'", "\n"):
            # A backslash at the end would take the quote that a value begins with.
            self.lost = self.lost or next(letters, None) is None
        elif self.mark:
            self._inside(letter)
        elif letter in "'\"":
            self.mark = "$'" if letter == "'" and self.before == "$" else letter
        elif letter == "#" and self.before in " \t\n;&|()":
            self.mark = "\n"

    def _inside(self, letter: str) -> None:
        if self.mark == '"' and self.before == "$" and letter in "({":
            self.lost = True
        if letter == self.mark[-1]:
            self.mark = ""
