"""What the pages have in common: the desk, the summary for all, templates, and how an error is told."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from picas.errors import Conflict, PicasError, StoreError, StoreUnavailable, UsageError
from picas.reports import words
from picas.web.changes import Changes
from picas.web.desk import Busy, Desk
from picas.web.live import Live
from picas.web.login import Logins, Sessions
from picas.web.slots import Slots
from picas.web.watching import Watches

__all__ = ["HERE", "Kept", "Site", "link", "site_of", "status_of"]

HERE = Path(__file__).parent


class Kept:
    """A part of a page that is the same for all who look: made for one of them, and given to all for a moment."""

    def __init__(self) -> None:
        self._body = b""
        self._until = 0.0
        self._making = asyncio.Lock()

    async def give(self, seconds: float, make: Callable[[], Awaitable[Response]]) -> Response:
        """What was made less than so many seconds ago, else what is made now; who comes meanwhile waits for that."""
        async with self._making:
            if time.monotonic() > self._until:
                self._body = bytes((await make()).body)
                self._until = time.monotonic() + seconds
        return HTMLResponse(self._body)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What there is one of in a running ``picas web``."""

    url: str
    desk: Desk
    live: Live
    slots: Slots
    changes: Changes
    watches: Watches
    logins: Logins
    cookie: str
    sessions: Sessions | None = None
    may_write: bool = False
    kept: Mapping[str, Kept] = field(default_factory=lambda: defaultdict(Kept))
    """By name, parts of pages."""

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page made of a template; all values are escaped in it."""
        given = {"site": self, "name": words.pool_name(self.url), "path": request.url.path, **values}
        return HTMLResponse(_templates().get_template(template).render(given), status)


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    site: Site = request.app.state.site
    return site


def status_of(error: Exception) -> int:
    """The HTTP status that an error of ours is told with."""
    if isinstance(error, (StoreUnavailable, Busy)):
        return 503
    if isinstance(error, StoreError):
        return 502
    if isinstance(error, Conflict):
        return 409
    return 400 if isinstance(error, UsageError) else 404 if isinstance(error, PicasError) else 500


def link(path: str, /, **query: object) -> str:
    """A path with a query of what is not empty."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(HERE / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"link": link, "version": version("picas")}
    environment.filters |= _FILTERS
    environment.globals["ui"] = environment.get_template("macros.html").module
    return environment


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _clock(at: float | None) -> str:
    """A time of day, with the date when that is not today; UTC."""
    if at is None:
        return "-"
    is_today = time.strftime("%F", time.gmtime(at)) == time.strftime("%F", time.gmtime())
    return time.strftime("%H:%M:%S" if is_today else "%F %H:%M", time.gmtime(at))


def _short(seconds: float | None) -> str:
    """A length of time to its largest unit or two, in whole seconds."""
    return words.duration(None if seconds is None else float(round(seconds)))


_FILTERS: Mapping[str, Any] = {
    "any": any,
    "count": _count,
    "clock": _clock,
    "duration": words.duration,
    "short": _short,
    "size": words.size,
    "plain": words.plain,
}
