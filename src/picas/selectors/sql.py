"""What the compilers to SQL share."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Sql", "joined"]

Sql = tuple[str, list[object]]
"""An expression, and the values of its placeholders, in order."""


def joined(word: str, empty: str, parts: Sequence[Sql]) -> Sql:
    """Join by halves: a chain is as deep as it is long to SQLite, which refuses a depth over 1000."""
    if len(parts) < 2:
        return parts[0] if parts else (empty, [])
    middle = len(parts) // 2
    left, left_values = joined(word, empty, parts[:middle])
    right, right_values = joined(word, empty, parts[middle:])
    return f"({left} {word} {right})", left_values + right_values
