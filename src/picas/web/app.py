"""The application: which place answers what, as a table, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from picas.errors import PicasError
from picas.pool import Pool
from picas.web import api, changing, deeds, entrance, export, files, metrics, overview, pilots, steering, token, tokens
from picas.web.changes import Changes
from picas.web.desk import Desk
from picas.web.guard import Guard
from picas.web.live import Live
from picas.web.login import Logins, Sessions
from picas.web.site import HERE, Site, site_of, status_of
from picas.web.slots import Slots
from picas.web.watching import Watches

__all__ = ["PLACES", "Place", "create_app"]


@dataclass(frozen=True)
class Place:
    """What is at a path: who answers, to which method, and whether anybody may ask who reaches the server."""

    path: str
    answer: Callable[[Request], Awaitable[Response]]
    method: str = "GET"
    is_open: bool = False
    writes: bool = False
    """Whether it changes the pool, and so is not there unless asked for."""


PLACES: tuple[Place, ...] = (
    Place("/", overview.overview),
    Place("/live/overview", overview.renewed),
    Place("/tokens", tokens.tokens),
    Place("/token", token.token),
    Place("/pilots", pilots.pilots),
    Place("/live/pilots", pilots.renewed),
    Place("/live/token", token.renewed),
    Place("/export", export.export),
    Place("/export", export.export, "POST"),
    Place("/file", files.download),
    Place("/picture", files.picture),
    Place("/change", changing.ask, writes=True),
    Place("/live/change", changing.renewed, writes=True),
    Place("/change", changing.begin, "POST", writes=True),
    Place("/change/do", changing.go, "POST", writes=True),
    Place("/change/stop", changing.stop, "POST", writes=True),
    Place("/pool/pause", steering.ask_pause, writes=True),
    Place("/pool/pause", steering.pause, "POST", writes=True),
    Place("/pool/resume", steering.resume, "POST", writes=True),
    Place("/pilots/order", steering.ask_order, writes=True),
    Place("/pilots/order", steering.order, "POST", writes=True),
    Place("/login", entrance.form, is_open=True),
    Place("/login", entrance.log_in, "POST", is_open=True),
    Place("/logout", entrance.log_out, "POST"),
    Place("/metrics", metrics.metrics),
    Place("/healthz", metrics.health, is_open=True),
    *(Place(one.path, one.answer, writes=one.writes) for one in api.CALLS),
    *(Place(deed.path, answer, "POST", writes=True) for deed, answer in deeds.DEEDS),
)
"""Everything there is, but for the files under ``/static/``. GET changes nothing."""


def create_app(
    pool: Pool,
    *,
    hosts: frozenset[str],
    cookie: str = "picas",
    token_for_login: str | None = None,
    may_write: bool = False,
) -> Starlette:
    """The application for a pool, which stays open as long; it opens handles of its own.

    ``hosts`` are the names by which it may be called. With a token everything but the way in is for who showed it;
    nothing is written without.
    """
    sessions = Sessions(token_for_login) if token_for_login else None
    places = [place for place in PLACES if may_write or not place.writes]
    guard = Middleware(
        Guard,
        hosts=hosts,
        sessions=sessions,
        cookie=cookie,
        open_paths=frozenset(place.path for place in places if place.is_open),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        desk = Desk(pool)
        live = Live(desk)
        slots = Slots(desk, live)
        changes = Changes(desk, live)
        app.state.site = Site(
            url=pool.url,
            desk=desk,
            live=live,
            slots=slots,
            changes=changes,
            watches=Watches(desk),
            logins=Logins(),
            cookie=cookie,
            sessions=sessions,
            may_write=may_write,
        )
        looking_on = asyncio.create_task(live.run())
        yield
        changes.close()
        looking_on.cancel()
        await asyncio.wait([looking_on])
        slots.seen.stop()
        desk.close()

    handlers = {PicasError: _error, HTTPException: _no_such_place, Exception: _fault}
    return Starlette(routes=_routes(places), middleware=[guard], exception_handlers=handlers, lifespan=lifespan)


def _routes(places: list[Place]) -> list[BaseRoute]:
    routes: list[BaseRoute] = [Route(place.path, place.answer, methods=[place.method]) for place in places]
    return [*routes, Mount("/static", _Static(directory=HERE / "static"))]


class _Static(StaticFiles):
    """Files that browsers keep, asking each time whether they are still the same."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        response = super().file_response(*given, **named)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PicasError)
    return _told(request, status_of(error), error.message, error.hint)


async def _no_such_place(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    answer = _told(request, status, "there is nothing here" if status == 404 else "that cannot be done here", "")
    if status == 405:
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _methods(request: Request) -> set[str]:
    """What can be done at the place that was asked for; a path may be there once for each method."""
    here = (route for route in request.app.routes if isinstance(route, Route) and route.path == request.url.path)
    return {method for route in here for method in route.methods or ()}


async def _fault(request: Request, error: Exception) -> Response:
    message = f"this is a fault of picas: {type(error).__name__}"
    return _told(request, 500, message, "the terminal of `picas web` shows where; please report it")


def _told(request: Request, status: int, message: str, hint: str) -> Response:
    headers = {"Retry-After": "5"} if status == 503 else None
    if request.url.path.startswith(("/api/", "/metrics", "/healthz")):
        return JSONResponse({"error": {"message": message, "hint": hint}}, status, headers=headers)
    page = site_of(request).page(request, "error.html", status, message=message, hint=hint)
    page.headers.update(headers or {})
    return page
