"""Failed tokens put together by what they have in common: reason, exit code, and the last line of standard error."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from picas.lifecycle import Doc, State
from picas.pool import Pool
from picas.reports.words import plain
from picas.tokens import log_names
from picas.views import View
from picas.web.ansi import pieces

__all__ = ["MOST_FAILED", "Failures", "Group", "Lines", "Survey", "alike"]

MOST_FAILED = 20_000
"""Failed tokens that are looked at."""
_PAGE = 200
_LINES_PER_SURVEY = 400
_LARGEST_STDERR = 1 << 20
_LINE = 160
_UNREAD = "…"
"""Stands where a line has not been read yet."""

Lines = dict[str, tuple[object, str]]
"""By token what marks its standard error, and the last line of it."""

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\b[0-9a-f]{12,}\b|\d+")


@dataclass(kw_only=True)
class Group:
    """Tokens that failed alike."""

    key: str
    reason: str
    exit_code: str
    line: str
    ids: list[str] = field(default_factory=list)
    hosts: Counter[str] = field(default_factory=Counter)
    latest: float = 0.0

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "key": self.key,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "line": self.line,
            "tokens": len(self.ids),
            "hosts": dict(self.hosts.most_common(10)),
            "examples": self.ids[:5],
            "latest": self.latest or None,
        }


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What a survey found: groups, the largest first; ``is_whole`` unless there are more than are looked at."""

    groups: list[Group] = field(default_factory=list)
    looked_at: int = 0
    is_whole: bool = True

    def group(self, key: str) -> Group | None:
        """The group of this key."""
        return next((group for group in self.groups if group.key == key), None)


class Survey:
    """A look through the failed tokens, page by page, for whoever has the pool open: until there is what it ``found``.

    ``known`` are the ``lines`` of the survey before. So many new ones are read in one survey; the next reads more.
    """

    def __init__(self, known: Lines) -> None:
        self._known = known
        self.lines: Lines = {}
        self._left = _LINES_PER_SURVEY
        self._groups: dict[str, Group] = {}
        self._after: str | None = None
        self._count = 0
        self.found: Failures | None = None

    def take(self, pool: Pool) -> None:
        """Take in one page."""
        page = pool.store.page(View(State.ERROR), after=self._after, limit=_PAGE)
        for doc in page.docs:
            self._add(doc, self._line(pool, doc))
        self._count += len(page.docs)
        self._after = page.next
        if page.next is None or self._count >= MOST_FAILED:
            groups = sorted(self._groups.values(), key=lambda group: (-len(group.ids), group.key))
            self.found = Failures(groups=groups, looked_at=self._count, is_whole=page.next is None)

    def _add(self, doc: Doc, line: str) -> None:
        reason, code = str(doc.get("reason") or "error"), str(doc.get("exit_code", ""))
        key = hashlib.sha256("\0".join((reason, code, line)).encode("utf-8", "replace")).hexdigest()[:16]
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key=key, reason=reason, exit_code=code, line=line)
        group.ids.append(doc["_id"])
        group.hosts[str(doc.get("hostname") or "")] += 1
        done = doc.get("done")
        if isinstance(done, (int, float)):
            group.latest = max(group.latest, float(done))

    def _line(self, pool: Pool, doc: Doc) -> str:
        """What to group a token by: what its attempt says, or the last line of its standard error."""
        attempts = doc.get("attempts")
        last = attempts[-1] if isinstance(attempts, list) and attempts and isinstance(attempts[-1], dict) else {}
        for name in ("message", "errno", "signal"):
            if last.get(name):
                return alike(f"{name} {last[name]}" if name != "message" else str(last[name]))
        name = log_names(doc["_id"])[1]
        stub = (doc.get("_attachments") or {}).get(name)
        if not isinstance(stub, dict):
            return ""
        mark, line = self._known.get(doc["_id"], (None, _UNREAD))
        if mark != stub.get("revpos", doc.get("fence")) or line == _UNREAD:
            mark, line = stub.get("revpos", doc.get("fence")), self._read(pool, doc["_id"], name, stub)
        self.lines[doc["_id"]] = mark, line
        return line

    def _read(self, pool: Pool, token_id: str, name: str, stub: Mapping[str, Any]) -> str:
        if not self._left:
            return _UNREAD
        if int(stub.get("length") or 0) > _LARGEST_STDERR:
            return "(standard error of more than 1 MiB)"
        self._left -= 1
        try:
            data = b"".join(pool.store.get_attachment(token_id, name))
        except KeyError:
            return ""
        lines = data.decode("utf-8", "replace").split("\n")
        return alike(next((line for line in reversed(lines) if line.strip()), ""))


def alike(line: str) -> str:
    """A line without what differs from token to token, and without its colours: numbers, addresses, ids."""
    return _NUMBERS.sub("#", plain("".join(piece.text for piece in pieces(line)).strip()))[:_LINE]
