"""What ``logs -f`` prints: bytes as they are in a pipe; on a terminal text that moves nothing."""

from __future__ import annotations

import codecs
import sys
from typing import TYPE_CHECKING

from picas.cli.output import clean, is_terminal, say
from picas.following import Follower, Note, Piece

if TYPE_CHECKING:
    from picas.pool import Pool

__all__ = ["follow"]


def follow(pool: Pool, token_id: str, streams: tuple[str, ...]) -> None:
    """Print what a token's command writes until the token is done or failed."""
    printer = _Printer(labelled=len(streams) > 1)
    for found in Follower(pool, token_id, streams).follow():
        if isinstance(found, Note):
            printer.break_line()
            say(found.text)
        else:
            printer.show(found)
    printer.break_line()


class _Printer:
    """Keeps the two streams apart on a terminal, and characters whole that come in two pieces."""

    def __init__(self, *, labelled: bool) -> None:
        self._is_terminal = is_terminal()
        self._labelled = labelled and self._is_terminal
        self._stream = ""
        self._is_open = False
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("out", "err")}

    def show(self, piece: Piece) -> None:
        """Print one piece at once."""
        if not self._is_terminal:
            sys.stdout.buffer.write(piece.data)
            sys.stdout.buffer.flush()
            return
        if self._labelled and piece.stream != self._stream:
            self.break_line()
            say(f"--- std{piece.stream}")
        self._stream = piece.stream
        text = self._decoders[piece.stream].decode(piece.data)
        sys.stdout.write(harmless(text))
        sys.stdout.flush()
        self._is_open = bool(text) and not text.endswith("\n")

    def break_line(self) -> None:
        """Begin a new line, if one is open on the terminal."""
        if self._is_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._is_open = False


def harmless(text: str) -> str:
    """Text whose lines and tabs stay, and nothing else that a terminal would obey."""
    return "\n".join("\t".join(clean(cell) for cell in line.split("\t")) for line in text.split("\n"))
