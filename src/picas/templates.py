"""Command templates: ``{name}`` stands for a field of the token, put in after the words were split.

No shell ever parses a value: in a list of words it becomes part of one word whatever it holds, and in a string for
bash it is quoted. Only ``{name}`` and ``{name.inner}`` are replaced, so that ``awk '{print $1}'`` stays as it is;
``{{name}}`` is a literal ``{name}``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from picas.errors import UsageError
from picas.tokens import dumps

__all__ = ["expand"]

_FIELD = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}")


def expand(template: Sequence[str], fields: Mapping[str, object]) -> list[str] | str:
    """The command for one token: a string for bash from a single word with a blank in it, else a list of words.

    UsageError names the first field that is not there.
    """
    if len(template) == 1 and re.search(r"\s", template[0]):
        return _fill(template[0], fields, shlex.quote)
    return [_fill(word, fields, str) for word in template]


def _fill(word: str, fields: Mapping[str, object], quote: Callable[[str], str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1]:
            return f"{{{found[1]}}}"
        return quote(_text(_look_up(found[2], fields)))

    return _FIELD.sub(value, word)


def _look_up(name: str, fields: Mapping[str, object]) -> object:
    here: object = fields
    if name in fields:
        return fields[name]
    for part in name.split("."):
        if not isinstance(here, Mapping) or part not in here:
            known = ", ".join(field for field in fields if not field.startswith("_"))
            raise UsageError(
                f"there is no field {name!r} for {{{name}}} in the command",
                hint=f"fields are {known}; {{{{{name}}}}} stands for the text itself",
            )
        here = here[part]
    return here


def _text(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)
