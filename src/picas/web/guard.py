"""What every request must pass before a page sees it, and what every answer bears: decided here, denied by default.

Host allow-list (DNS rebinding), then where an unsafe request comes from (CSRF), then the log-in, then the body's size
and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from picas.web.login import Sessions

__all__ = ["HEADERS", "MOST_BODY_BYTES", "Guard", "Refusal", "is_loopback", "is_same_origin"]

MOST_BODY_BYTES = 1_000_000
_BODY_SECONDS = 20.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Of every answer that does not bring its own."""


@dataclass(frozen=True)
class Refusal(Exception):
    """Why a request goes no further."""

    status: int
    text: str


class Guard:
    """Stands before the application. ``open_paths`` need no log-in; ``hosts`` are names in lower case, without port."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        sessions: Sessions | None,
        cookie: str,
        open_paths: frozenset[str],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._sessions = sessions
        self._cookie = cookie
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_origin(scope, headers)
            answer = self._login_asked(scope, headers)
            if answer is None:
                receive = await _whole_body(scope, headers, receive)
        except Refusal as refusal:
            answer = _refused(scope, refusal)
        await (answer or self._app)(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        if len(headers.getlist("host")) != 1 or host_of(headers["host"]) not in self._hosts:
            raise Refusal(421, "this host name is not one of this page's; --allow-host adds one")

    def _login_asked(self, scope: Scope, headers: Headers) -> Response | None:
        """None for whoever may go on; else where to log in, or that it is needed."""
        path: str = scope["path"]
        if self._sessions is None or path in self._open or path.startswith("/static/"):
            return None
        if self._sessions.knows(cookie_of(headers, self._cookie)):
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._sessions.is_token(token.strip()):
            return None
        if path.startswith("/api/") or path == "/metrics" or scope["method"] not in _SAFE:
            raise Refusal(401, "log in first, or send the token as Authorization: Bearer")
        if headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        query = scope.get("query_string", b"").decode("latin-1")
        return RedirectResponse("/login?to=" + quote(path + (f"?{query}" if query else ""), safe=""), 303)


def host_of(value: str) -> str:
    """The name in a Host header, in lower case and without the port."""
    try:
        return (urlsplit(f"//{value}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_same_origin(headers: Mapping[str, str], scheme: str) -> bool:
    """Whether an unsafe request comes from our own page, or from no page at all that could have been made to send it.

    Browsers say so in ``Sec-Fetch-Site``, older ones in ``Origin``. Programs that send neither show the token in
    ``Authorization``, which no page of others can have a browser add.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is not None:
        return origin == f"{scheme}://{headers.get('host', '')}"
    return headers.get("authorization", "").lower().startswith("bearer ")


def cookie_of(headers: Mapping[str, str], name: str) -> str:
    """A cookie's value; empty when there is none."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _check_origin(scope: Scope, headers: Headers) -> None:
    if scope["method"] in _SAFE:
        return
    if not is_same_origin(headers, scope["scheme"]):
        raise Refusal(403, "this request was not sent from this page")


async def _whole_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """Read the body now, within limits of size and time, and give it out again. Safe requests have none."""
    if scope["method"] in _SAFE:
        return receive
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > MOST_BODY_BYTES:
        raise Refusal(413, f"at most {MOST_BODY_BYTES:,} bytes are taken")
    try:
        body = await asyncio.wait_for(_read(receive), _BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the request did not come within {_BODY_SECONDS:.0f} s") from None
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return messages.pop() if messages else await receive()

    return given


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the connection was closed")
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BODY_BYTES:
            raise Refusal(413, f"at most {MOST_BODY_BYTES:,} bytes are taken")
        if not message.get("more_body"):
            return body


def _refused(scope: Scope, refusal: Refusal) -> Response:
    headers = {"Connection": "close"} if refusal.status in (408, 413) else None
    if scope["path"].startswith("/api/"):
        told = {"error": {"message": refusal.text, "hint": ""}}
        return JSONResponse(told, refusal.status, headers=headers)
    return PlainTextResponse(f"{refusal.text}\n", refusal.status, headers=headers)


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers
