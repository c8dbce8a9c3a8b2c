"""Where a CouchDB pool is: its server, its database, and how to get in; read from a URL."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from picas.errors import ConfigError

__all__ = ["Address", "read_address"]

_SCHEMES = {"couchdb": ("http", 5984), "couchdbs": ("https", 6984), "http": ("http", 80), "https": ("https", 443)}
_FORM = "couchdbs://HOST:PORT/DATABASE"
_KNOWN = ("auth", "ca", "plain")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A database on a server. ``server`` is the server's URL, ``shown`` the address as people gave it, no secrets.

    ``login`` is ``basic`` or ``cookie``. ``verified`` is false only for programs of PiCaS that ask for it.
    """

    server: str
    database: str
    shown: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    login: str = "basic"
    ca: str | None = None
    verified: bool = True

    @property
    def is_local(self) -> bool:
        """Whether the server is this machine."""
        return _is_local(urlsplit(self.server).hostname or "")

    @property
    def path(self) -> str:
        """The database's path on its server."""
        return "/" + quote(self.database, safe="")


def read_address(
    url: str, *, username: str | None = None, password: str | None = None, verified: bool = True, plain: bool = False
) -> Address:
    """Read ``couchdb://``, ``couchdbs://``, ``http://`` or ``https://``, host, port and, last in the path, database.

    A user's name and password in it count when none is given beside it.

    Parameters: ``ca=FILE`` (certificates to trust), ``auth=cookie`` (log in once instead of with every request),
    ``plain=yes`` (send the password without encryption to another machine, which is refused otherwise).
    ConfigError names what is wrong with it.
    """
    parts = urlsplit(url)
    scheme, port = _SCHEMES[parts.scheme.lower()]
    options = _options(parts.query, url)
    if username is None and parts.username is not None:
        username, password = unquote(parts.username), unquote(parts.password or "") or password
    folders, _, database = parts.path.strip("/").rpartition("/")
    if not parts.hostname or not database:
        raise ConfigError(f"pool {_bare(url)}: the address needs a host and a database", hint=_FORM)
    if scheme == "http" and password and not (plain or options.get("plain") == "yes" or _is_local(parts.hostname)):
        hint = "use couchdbs:// or https://; ?plain=yes sends it all the same"
        raise ConfigError(f"pool {_bare(url)}: the password would cross the network unencrypted", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        server=f"{scheme}://{host}:{_port(url) or port}" + (f"/{folders}" if folders else ""),
        database=unquote(database),
        shown=_bare(url),
        username=username,
        password=password,
        login=options.get("auth", "basic"),
        ca=options.get("ca"),
        verified=verified,
    )


def _options(query: str, url: str) -> dict[str, str]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in _KNOWN:
            raise ConfigError(f"pool {_bare(url)}: unknown parameter {name!r}", hint=f"known: {', '.join(_KNOWN)}")
    if given.get("auth", "basic") not in ("basic", "cookie"):
        raise ConfigError(f"pool {_bare(url)}: auth is {given['auth']!r}, not basic or cookie")
    if given.get("plain", "no") not in ("yes", "no"):
        raise ConfigError(f"pool {_bare(url)}: plain is {given['plain']!r}, not yes or no")
    if "ca" in given and not Path(given["ca"]).expanduser().is_file():
        raise ConfigError(f"pool {_bare(url)}: there is no file {given['ca']!r} of certificates")
    if "ca" in given:
        given["ca"] = str(Path(given["ca"]).expanduser())
    return given


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise ConfigError(f"pool {_bare(url)}: the port is not a number from 1 to 65535") from None


def _bare(url: str) -> str:
    """The address without what could be a secret."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
