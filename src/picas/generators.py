"""PiCaS token generator."""

from __future__ import annotations

from typing import Any

__all__ = ["TokenGenerator"]


class TokenGenerator:
    """Make tokens to fill in."""

    @staticmethod
    def get_empty_token() -> dict[str, Any]:
        """Give a new token that is free to take; it has no ``_id`` yet."""
        return {"lock": 0, "done": 0, "hostname": "", "scrub_count": 0, "type": "token"}
