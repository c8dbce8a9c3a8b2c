"""Documents looked at, all of them, before the first is added: for stores that cannot add all or none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator

from picas import lifecycle, tokens
from picas.lifecycle import Doc

__all__ = ["staged"]


def staged(docs: Iterable[Doc]) -> Iterator[Doc]:
    """The same documents, from a temporary file, when every one of them can be added.

    InvalidToken, or whatever their source raises, comes before the first is given out. Memory stays flat.
    """
    with tempfile.TemporaryFile() as file:
        for doc in docs:
            tokens.check(doc)
            tokens.encode({name: value for name, value in lifecycle.put(doc).items() if name != "_rev"})
            file.write(tokens.dumps(doc).encode() + b"\n")
        file.seek(0)
        for line in file:
            yield tokens.parse(line)
