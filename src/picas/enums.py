"""Closed lists of words, as the documents and the command line write them."""

from __future__ import annotations

from enum import Enum

__all__ = ["Word"]


class Word(str, Enum):
    """Base of a closed list: each member is the text that it stands for. (``StrEnum`` came with Python 3.11.)"""

    def __str__(self) -> str:
        return str(self.value)
