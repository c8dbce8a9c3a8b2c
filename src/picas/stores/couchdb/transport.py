"""HTTP to one server: kept connections, time limits, log-in, repeated reads; every failure one of `picas.errors`."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlencode

import orjson
import urllib3
from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    InvalidHeader,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from picas.errors import ConfigError, StoreFailure, StoreUnavailable
from picas.stores.couchdb.address import Address
from picas.stores.couchdb.answers import (
    Answer,
    Busy,
    Unsent,
    Unsure,
    is_login_refused,
    place,
    reason,
    tail,
    wish,
)
from picas.stores.couchdb.clock import ServerClock

__all__ = ["READ", "Http", "Login"]

_chance = random.SystemRandom()

CONNECT = 5.0
"""Seconds for a connection to come about."""
READ = 20.0
"""Seconds without a byte of the answer: less than a lease, within which a pilot must be heard of."""
_SLOW = 5.0
"""Seconds after which what failed is not tried again at once: who asks has waited long enough."""
_TRIES = 3
_PAUSE = 0.2
_BUSY = frozenset({429, 500, 502, 503, 504, 507})
_CHUNK_BYTES = 256 * 1024
_JSON = {"Accept": "application/json", "Content-Type": "application/json"}


@dataclass
class Login:
    """How to get in, shared by all handles of a pool: a name that was refused is not tried again by another."""

    address: Address
    cookie: str = ""
    refused: bool = False
    guard: threading.Lock = field(default_factory=threading.Lock)

    def headers(self) -> dict[str, str]:
        """The header that says who asks."""
        if self.address.username is None:
            return {}
        if self.address.login == "cookie":
            return {"Cookie": self.cookie} if self.cookie else {}
        # In UTF-8, as CouchDB reads it; urllib3's own helper writes latin-1.
        secret = f"{self.address.username}:{self.address.password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(secret).decode()}"}


class Http:
    """Requests to the server of an address. Threads may share it; a process that was forked gets connections anew."""

    def __init__(self, address: Address, login: Login, clock: ServerClock) -> None:
        self.address = address
        self.login = login
        self.clock = clock
        self.outages = 0
        self._aborted = False
        self._host = address.server.partition("://")[2]
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        self._open()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        repeat: bool | None = None,
        read: float = READ,
    ) -> Answer:
        """Ask, with a body of JSON (bytes are JSON already). The answer, whatever its status, but for those that mean
        the same for every request: not logged in, no right to it, busy, to be asked elsewhere.

        Reads (GET, HEAD, and what ``repeat`` marks) are tried again at once when an answer does not come;
        StoreUnavailable when that does not help. For a write that may have been carried out it is `Unsure`.
        """
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        safe = method in ("GET", "HEAD") if repeat is None else repeat
        answer: Answer = self._tried(
            lambda: self._once(method, path, params, data, _JSON, safe=safe, read=read), safe=safe
        )
        return answer

    def upload(self, path: str, params: Mapping[str, Any], data: IO[bytes], length: int, content_type: str) -> Answer:
        """PUT a file of so many bytes, read as it is sent. `Unsure` when no answer comes."""
        headers = {"Content-Type": content_type, "Content-Length": str(length), "Accept": "application/json"}

        def ask() -> Answer:
            data.seek(0)
            return self._once("PUT", path, params, data, headers, safe=False, read=READ)

        answer: Answer = self._tried(ask, safe=False)
        return answer

    def download(self, path: str) -> tuple[int, Iterator[bytes]]:
        """GET a file: the status, and its bytes in chunks; StoreUnavailable when they break off."""

        def ask() -> urllib3.BaseHTTPResponse:
            if self.login.refused:
                raise self._refused()
            with self._translated(safe=True):
                return self._send("GET", path, None, {"Accept": "*/*"}, READ, preload=False)

        response = self._tried(ask, safe=True)
        if response.status == 200:
            return 200, self._chunks(response)
        answer = Answer(response.status, response.headers, response.data)
        if is_login_refused(answer) and self._log_in():
            return self.download(path)
        self._judge(answer, "GET", path, safe=True)
        return response.status, iter(())

    def json(self, answer: Answer) -> Any:
        """The body as JSON; StoreFailure when it is something else."""
        if answer.value is not None:
            return answer.value
        try:
            return orjson.loads(answer.data)
        except ValueError:
            kind = answer.headers.get("Content-Type", "something") or "something"
            raise StoreFailure(
                f"{self._host} answered {kind} where JSON was expected",
                hint="is this the address of a CouchDB server, and not of a page or a proxy?",
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def abort(self) -> None:
        """Break off what another thread waits for, and ask nothing any more. `close` is still to be called."""
        self._aborted = True
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _open(self) -> None:
        options: dict[str, Any] = {"maxsize": 4, "retries": False}
        if self.address.server.startswith("https:"):
            options |= {"cert_reqs": "CERT_REQUIRED", "ca_certs": self.address.ca}
            if not self.address.verified:
                # The caller has been told; the driver's warning at each request would end programs.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                options |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        self._pid = os.getpid()
        self._pool = urllib3.connection_from_url(self.address.server, **options)
        self._pool.ConnectionCls = _noted(self._pool.ConnectionCls, self._sockets)

    def _tried(self, ask: Any, *, safe: bool) -> Any:
        begun = time.monotonic()
        for failures in range(1, _TRIES + 1):
            try:
                return ask()
            except Unsure:
                self.outages += 1
                raise
            except StoreUnavailable as error:
                self.outages += 1
                is_enough = failures == _TRIES or self._aborted or time.monotonic() - begun > _SLOW
                if is_enough or not (safe or isinstance(error, (Unsent, Busy))):
                    raise
                wish = error.wish if isinstance(error, Busy) else 0.0
                time.sleep(wish + _chance.uniform(0.0, _PAUSE * failures))
        raise AssertionError("unreachable")

    def _once(
        self, method: str, path: str, params: Any, data: Any, headers: dict[str, str], *, safe: bool, read: float
    ) -> Answer:
        target = path + ("?" + urlencode(params) if params else "")
        answer = self._ask(method, target, data, headers, safe=safe, read=read)
        if is_login_refused(answer) and self._log_in():
            if hasattr(data, "seek"):
                data.seek(0)
            answer = self._ask(method, target, data, headers, safe=safe, read=read)
        self._judge(answer, method, path, safe=safe)
        self._check_whole(answer, safe)
        return answer

    def _check_whole(self, answer: Answer, safe: bool) -> None:
        """Raise for an answer that should be JSON and breaks off: servers and proxies end some so when they fail."""
        if answer.status >= 300 or "html" in (answer.headers.get("Content-Type") or ""):
            return
        try:
            answer.value = orjson.loads(answer.data)
        except ValueError as error:
            if "depth limit" not in str(error):
                kind = StoreUnavailable if safe else Unsure
                raise kind(f"{self._host} broke off its answer after {len(answer.data):,} bytes") from None

    def _ask(self, method: str, target: str, data: Any, headers: dict[str, str], *, safe: bool, read: float) -> Answer:
        if self.login.refused:
            raise self._refused()
        with self._translated(safe=safe):
            response = self._send(method, target, data, headers, read)
            return Answer(response.status, response.headers, response.data)

    def _send(
        self, method: str, target: str, data: Any, headers: dict[str, str], read: float, *, preload: bool = True
    ) -> urllib3.BaseHTTPResponse:
        if os.getpid() != self._pid:
            self._open()
        if self._aborted:
            raise Unsent(f"{self._host}: nothing is asked any more")
        sent = time.monotonic()
        response = self._pool.urlopen(
            method,
            self._prefix + target,
            body=data,
            headers={**headers, **self.login.headers()},
            timeout=urllib3.Timeout(connect=CONNECT, read=read),
            redirect=False,
            preload_content=preload,
        )
        self.clock.learn(response.headers.get("Date"), sent, time.monotonic())
        return response

    @property
    def _prefix(self) -> str:
        _, slash, folders = self._host.partition("/")
        return slash + folders

    def _log_in(self) -> bool:
        """Get a cookie, where one is wanted; whether it is worth asking again."""
        login = self.login
        if login.address.login != "cookie" or login.address.username is None:
            return False
        with login.guard:
            body = urlencode({"name": login.address.username, "password": login.address.password or ""}).encode()
            login.cookie = ""
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            answer = self._ask("POST", "/_session", body, headers, safe=True, read=READ)
            login.cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
            return answer.status == 200 and bool(login.cookie)

    def _judge(self, answer: Answer, method: str, path: str, *, safe: bool) -> None:
        """Raise what a status means that is the same for every request."""
        status = answer.status
        if is_login_refused(answer):
            self.login.refused = self.login.address.username is not None
            raise self._refused()
        if status in (401, 403):
            raise StoreFailure(
                f"{self._who()} may not {method} {path} on {self._host}: {reason(answer)}",
                hint="ask an administrator of the database, or use another user",
            )
        if status in _BUSY:
            what = f"{self._host} is busy or out of order ({status}): {reason(answer)}"
            raise Busy(what, wish(answer)) if safe or status == 429 else Unsure(what)
        if 300 <= status < 400 and status != 304:
            raise StoreFailure(
                f"{self._host} sends on to {place(answer)}; not followed",
                hint="a password goes to the server it is for only; give that address instead if it is right",
            )

    def _refused(self) -> ConfigError:
        if self.login.address.username is None:
            return ConfigError(
                f"{self._host} wants a user name and a password",
                hint="set PICAS_USERNAME and PICAS_PASSWORD, or run `picas init`",
            )
        return ConfigError(
            f"{self._host} refused {self._who()}: the name or the password is wrong",
            hint="not tried again, since servers lock users out; `picas config show` says where they come from",
        )

    def _who(self) -> str:
        name = self.login.address.username
        return "an unknown user" if name is None else f"user {name}"

    @contextmanager
    def _translated(self, *, safe: bool) -> Iterator[None]:
        """Within it the errors of the driver become ours."""
        try:
            yield
        except NameResolutionError:
            raise Unsent(f"{self._host}: no machine of that name is known", hint="is the address right?") from None
        except SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error) or "doesn't match" in str(error):
                raise StoreFailure(
                    f"{self._host}: its certificate is not trusted: {tail(error)}",
                    hint="a certificate authority of your own is named by ?ca=FILE in the pool's address",
                ) from None
            raise self._away(error, safe) from None
        except NewConnectionError as error:
            raise Unsent(f"{self._host} cannot be reached: {tail(error)}") from None
        except InvalidHeader as error:
            raise StoreFailure(f"{self._host} does not speak HTTP as it should: {tail(error)}") from None
        except (HTTPError, OSError) as error:
            raise self._away(error, safe) from None

    def _away(self, error: Exception, safe: bool) -> StoreUnavailable:
        kind = StoreUnavailable if safe else Unsure
        what = "broke off its answer" if isinstance(error, IncompleteRead) else "does not answer"
        return kind(f"{self._host} {what}: {tail(error)}")

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            with self._translated(safe=True):
                yield from response.stream(_CHUNK_BYTES)
        finally:
            response.release_conn()
            response.close()


def _noted(kind: Any, sockets: weakref.WeakSet[Any]) -> Any:
    """A kind of connection that tells of its socket."""

    class Noted(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    Noted.__name__ = kind.__name__
    return Noted
