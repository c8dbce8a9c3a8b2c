"""Answers of a server, what they mean, and the errors of those that did not come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from picas.config import without_credentials
from picas.errors import StoreUnavailable

__all__ = ["Answer", "Busy", "Unsent", "Unsure", "in_a_line", "is_login_refused", "place", "reason", "tail", "wish"]

_LONGEST_WISH = 2.0


@dataclass
class Answer:
    """Status, headers, and body of an answer; ``value`` is the body as JSON, once it was read as that."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    value: Any = None


class Unsure(StoreUnavailable):
    """A write may or may not have been carried out: its answer did not arrive."""


class Unsent(StoreUnavailable):
    """Nothing has reached the server."""


class Busy(StoreUnavailable):
    """The server does not want to now, and asks to be left alone for ``wish`` seconds."""

    def __init__(self, message: str, wish: float) -> None:
        super().__init__(message)
        self.wish = wish


def is_login_refused(answer: Answer) -> bool:
    """Whether nobody is let in by this name. CouchDB says 401, too, to a user who wants to do what only others may."""
    return answer.status == 401 and b"server admin" not in answer.data


def in_a_line(text: object) -> str:
    """What a server says, on one line and not long."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", str(text)).split())[:200]


def reason(answer: Answer) -> str:
    try:
        found = orjson.loads(answer.data)
        return in_a_line(found.get("reason") or found.get("error") or "no reason given")
    except (ValueError, AttributeError):
        return "no reason given"


def place(answer: Answer) -> str:
    return in_a_line(without_credentials(answer.headers.get("Location") or "another place"))[:100]


def tail(error: Exception) -> str:
    """What a driver's error says, without the object in front."""
    text = " ".join(str(error).split())
    return re.sub(r"^(<[^>]*>|\w+\([^)]*\)): ", "", text)[:200]


def wish(answer: Answer) -> float:
    """Seconds that the server asks to be left alone, up to a few."""
    text = answer.headers.get("Retry-After", "") or ""
    return min(float(text), _LONGEST_WISH) if re.fullmatch("[0-9]{1,9}", text) else 0.0
