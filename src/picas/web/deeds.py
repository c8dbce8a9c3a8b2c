"""The part of the API that changes something: tokens, the pool, pilots. There only where that is allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from picas.errors import UsageError
from picas.web.changes import Change, Phase
from picas.web.changing import asked_verb
from picas.web.choosing import ASKED, queried
from picas.web.forms import json_object
from picas.web.openapi import Deed
from picas.web.query import Query, query_of
from picas.web.site import Site, site_of
from picas.web.steering import ordered, paused, resumed

__all__ = ["DEEDS", "change"]

_PATIENCE = 10.0
_WISH: dict[str, type] = {
    "verb": str, "priority": int, "ids": list, **dict.fromkeys(set(ASKED) - {"sort"}, str), "everything": bool,
    "expect": int, "wait": bool,
}  # fmt: skip
_MOST_PRIORITY = 999_999_999


async def begin(request: Request) -> Response:
    """Change the tokens that a query finds; with ``wait`` only find them, for `go`."""
    site, wish = site_of(request), await json_object(request, _WISH)
    verb, priority = asked_verb(wish.get("verb", ""), _priority(wish))
    query = await _query(site, wish)
    made = site.changes.begin(
        verb, query, priority=priority, waits=wish.get("wait", False), expect=wish.get("expect"), words="by a program"
    )
    await site.changes.settled(made, _PATIENCE)
    return _answer(made)


async def change(request: Request) -> Response:
    """How far a change is."""
    return _answer(site_of(request).changes.find(request.query_params.get("key", "")), 200)


async def go(request: Request) -> Response:
    """Make a change that waits to be agreed to, or go on with one that was stopped."""
    site, made = site_of(request), await _named(request)
    site.changes.go(made)
    await site.changes.settled(made, _PATIENCE)
    return _answer(made)


async def stop(request: Request) -> Response:
    """Stop a change after the step that is being made."""
    site, made = site_of(request), await _named(request)
    site.changes.stop(made)
    await site.changes.settled(made, _PATIENCE)
    return _answer(made, 200)


async def pause(request: Request) -> Response:
    """Pause the pool."""
    site = site_of(request)
    await paused(site, (await json_object(request, {"why": str})).get("why", ""))
    return await _paused(site)


async def resume(request: Request) -> Response:
    """Let the pool go on."""
    site = site_of(request)
    await json_object(request, {})
    await resumed(site)
    return await _paused(site)


async def order(request: Request) -> Response:
    """Have pilots end."""
    wish = await json_object(request, {"orders": str, "pilots": list, "everything": bool})
    pilots, everything = wish.get("pilots", []), wish.get("everything", False)
    if bool(pilots) == everything:
        raise UsageError("name pilots, or say everything, which means all pilots that are alive")
    return JSONResponse({"told": await ordered(site_of(request), pilots, wish.get("orders", ""))})


async def _named(request: Request) -> Change:
    """The change whose key is given."""
    wish = await json_object(request, {"key": str})
    return site_of(request).changes.find(wish.get("key", ""))


async def _query(site: Site, wish: dict[str, Any]) -> Query:
    """Which tokens are meant; all of them only if that is said."""
    asked = {name: wish[name] for name in ASKED if wish.get(name)}
    ids, everything = tuple(dict.fromkeys(wish.get("ids", []))), wish.get("everything", False)
    if ids and "group" in asked:
        raise UsageError("ids and a group cannot be selected together")
    if everything == bool(ids or asked):
        raise UsageError("say which tokens: ids, view, where, tag, text or group; or everything, and none of these")
    return query_of(asked, ids=ids) if ids else (await queried(site, asked))[0]


def _priority(wish: dict[str, Any]) -> int | None:
    priority = wish.get("priority")
    if priority is not None and abs(priority) > _MOST_PRIORITY:
        raise UsageError(f"priority is to be between -{_MOST_PRIORITY} and {_MOST_PRIORITY}")
    return priority


async def _paused(site: Site) -> Response:
    pause = await site.desk.do(lambda pool: pool.store.paused())
    return JSONResponse({"paused": vars(pause) if pause else None})


def _answer(made: Change, status: int | None = None) -> Response:
    """A change as JSON, 202 while it goes on. One that failed is told by its error."""
    if made.phase is Phase.FAILED and made.error is not None:
        raise made.error
    outcome = asdict(made.outcome)
    del outcome["left"]
    told = {
        "key": made.key,
        "verb": made.verb.name,
        "phase": str(made.phase),
        "tokens": made.count,
        "meant": made.meant,
        "states": dict(made.states),
        "done": made.done,
        "outcome": outcome,
        "told": made.told,
        "error": {"error": {"message": made.error.message, "hint": made.error.hint}} if made.error else None,
    }
    return JSONResponse(told, status or (202 if made.phase in (Phase.LOOKING, Phase.DOING) else 200))


def _deed(path: str, summary: str, takes: str, shape: str, *, is_long: bool = False) -> Deed:
    return Deed(path=f"/api/v1/{path}", summary=summary, takes=takes, shape=shape, is_long=is_long)


DEEDS: tuple[tuple[Deed, Callable[[Request], Awaitable[Response]]], ...] = (
    (_deed("change", "Change tokens", "Wish", "Change", is_long=True), begin),
    (_deed("change/do", "Make a change that waits or was stopped", "Key", "Change", is_long=True), go),
    (_deed("change/stop", "Stop a change", "Key", "Change"), stop),
    (_deed("pool/pause", "Have no pilot claim anything", "Reason", "Paused"), pause),
    (_deed("pool/resume", "Let pilots claim again", "Nothing", "Paused"), resume),
    (_deed("pilots/order", "Have pilots end", "Orders", "Told"), order),
)
"""Calls that change something, and who answers them."""
