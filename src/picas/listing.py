"""What listings show of tokens and pilots, and which tokens are meant: one for the command line and the page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from picas.errors import UsageError
from picas.lifecycle import Doc, fence_of, state_of
from picas.pool import Selection
from picas.selectors import Selector, both, parse, parse_where
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot
from picas.views import VIEW_NAMES, View

__all__ = ["TOKEN_COLUMNS", "command_line", "pilot_row", "selection", "tagged", "token_row"]

TOKEN_COLUMNS = ("id", "state", "exit_code", "reason", "tries", "host", "runtime", "command")


def token_row(doc: Doc) -> dict[str, Any]:
    """What a listing shows of a token."""
    attempts = doc.get("attempts") or [{}]
    return {
        "id": doc["_id"],
        "state": str(state_of(doc)),
        "exit_code": doc.get("exit_code"),
        "reason": doc.get("reason"),
        "tries": fence_of(doc),
        "host": doc.get("hostname"),
        "runtime": attempts[-1].get("runtime"),
        "command": command_line(doc),
    }


def command_line(doc: Doc) -> str:
    """What a token is to run, in one line; its input where it has no command."""
    command = doc.get("command", doc.get("input", ""))
    return " ".join(map(str, command)) if isinstance(command, list) else str(command)


def pilot_row(record: PilotRecord) -> dict[str, Any]:
    """What a listing shows of a pilot; ages in seconds."""
    return {
        "id": record.id,
        "state": ("autopilot" if is_autopilot(record) else "alive") if record.alive else "lost",
        "host": record.hostname,
        "cores": record.cores,
        "memory": record.memory,
        "gpus": record.gpus,
        "offers": {**record.offers},
        "running": record.running,
        "finished": record.finished,
        "age": round(max(0.0, time.time() - record.started_at)),
        "silent": round(record.silent, 1) if record.silent != float("inf") else None,
        "view": record.view,
        "job": " ".join(str(value) for value in record.job.values()),
        "orders": record.orders,
    }


def selection(
    tokens: Sequence[str] | None, where: Sequence[str] | None, tags: Sequence[str] | None, everything: bool
) -> Selection:
    """What was selected, from arguments and options."""
    ids, views = [], []
    for word in tokens or ():
        if word.rpartition("/")[2] in VIEW_NAMES:
            views.append(View.parse(word))
        else:
            ids.append(word.removeprefix("id:"))
    if ids and views:
        raise UsageError("ids and views cannot be selected together", hint="`id:NAME` means a token named like a view")
    condition = parse_where(list(where)) if where else None
    return Selection(
        ids=tuple(ids), views=tuple(views), where=both(condition, tagged(tags or ())), everything=everything
    )


def tagged(tags: Sequence[str]) -> Selector | None:
    """The condition that tokens have these tags, each ``NAME=VALUE``, or ``NAME`` for any value."""
    conditions: dict[str, object] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not name:
            raise UsageError(f"--tag {tag!r} is not NAME=VALUE")
        conditions[name] = value if equals else {"$exists": True}
    return parse({"tags": conditions}) if conditions else None
