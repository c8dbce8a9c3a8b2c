"""The way in: a form for the token, which becomes a cookie, and the way out."""

from __future__ import annotations

import asyncio
import math
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from picas.web.guard import cookie_of
from picas.web.login import SESSION_SECONDS
from picas.web.site import Site, site_of

__all__ = ["form", "log_in", "log_out"]

_DELAY = 0.5


async def form(request: Request) -> Response:
    """The form."""
    return _form(request, to=request.query_params.get("to", "/"))


async def log_in(request: Request) -> Response:
    """Take the token for a session; it is kept nowhere."""
    site = site_of(request)
    given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    to = given.get("to", ["/"])[0]
    wait = site.logins.wait(request.client.host if request.client else "")
    if wait:
        page = _form(request, to=to, problem="too many tries: wait for a minute", status=429)
        page.headers["Retry-After"] = str(math.ceil(wait))
        return page
    if site.sessions is None or not site.sessions.is_token(given.get("token", [""])[0].strip()):
        await asyncio.sleep(_DELAY)
        return _form(request, to=to, problem="that is not the token", status=403)
    answer = RedirectResponse(_inside(to), 303)
    _set(answer, request, site, site.sessions.begin(), SESSION_SECONDS)
    return answer


async def log_out(request: Request) -> Response:
    """End the session."""
    site = site_of(request)
    if site.sessions is not None:
        site.sessions.end(cookie_of(request.headers, site.cookie))
    answer = RedirectResponse("/login", 303)
    _set(answer, request, site, "", 0)
    return answer


def _form(request: Request, *, to: str, problem: str = "", status: int = 200) -> Response:
    return site_of(request).page(request, "login.html", status, to=_inside(to), problem=problem)


def _inside(to: str) -> str:
    """A path of this page; its beginning for anything else."""
    is_path = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
    return to if is_path else "/"


def _set(answer: Response, request: Request, site: Site, value: str, seconds: int) -> None:
    is_https = request.url.scheme == "https"
    answer.set_cookie(site.cookie, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=is_https)
