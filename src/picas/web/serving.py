"""Serving the page until somebody ends it: the socket, the names it answers to, and the server."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress

import uvicorn

from picas.errors import ConfigError
from picas.pool import Pool
from picas.web.app import create_app
from picas.web.guard import is_loopback

__all__ = ["bound", "names", "serve"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_GRACE = 3
_NICENESS = 10
"""Pilots and their commands on the same machine go first (nice(2)), and the page has what they leave."""
_MOST_CONNECTIONS = 1000


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; ConfigError when it is taken or not one of this machine."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        hint = "--port names another, and 0 takes one that is free"
        raise ConfigError(f"cannot listen on port {port} of {host}: {error.strerror}", hint=hint) from None
    return listening


def names(host: str, more: Iterable[str]) -> frozenset[str]:
    """The names by which a browser may call a page served at this host."""
    own = {host.strip("[]").lower(), *_LOOPBACK}
    if not is_loopback(host):
        with suppress(OSError):
            own |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(own | {name.strip("[]").lower().rstrip(".") for name in more})


def serve(
    pool: Pool,
    listening: socket.socket,
    *,
    hosts: frozenset[str],
    token: str | None,
    may_write: bool,
    ready: Callable[[], None],
) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is called when requests are answered."""
    os.nice(_NICENESS)
    port = listening.getsockname()[1]
    app = create_app(
        # Cookies know no ports: two pages on one machine would log each other out by a name of both.
        pool,
        hosts=hosts,
        cookie=f"picas-{port}",
        token_for_login=token,
        may_write=may_write,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # From whom a request comes is not what it says itself: tries to log in are counted by it.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt):
            _Server(config, ready).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
