"""Where the pool is: an address found on the command line, in the environment, or in a file.

The order, the first that is there: ``--pool``; ``PICAS_POOL``; the PiCaS variables (``PICAS_HOST_URL`` and
``PICAS_DATABASE``, with ``PICAS_USERNAME`` and ``PICAS_PASSWORD``); in a bundle the pool it was made for;
``picas.toml`` in the working directory or the nearest folder above; PiCaS's own ``~/.config/picas/conf.yml``; else
``picas.db`` in the working directory.
Variables and keys that are empty count as not there. A file that is there but wrong is an error, never
skipped: work would go to another pool than the one that was meant.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from picas import bundled, conf_yml
from picas.crypto import decrypt_password, read_key
from picas.errors import ConfigError
from picas.files import read_text

__all__ = ["PoolAddress", "Secret", "find_pool", "parse_toml", "read_url", "without_credentials", "without_secrets"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_COUCHDB = re.compile(r"(https?|couchdbs?)://[^/]", re.IGNORECASE)
_POSTGRES = re.compile(r"postgres(ql)?://", re.IGNORECASE)
_ADDRESSES = ("PICAS_POOL", conf_yml.VARIABLES["host_url"])
_SECRETS = (conf_yml.VARIABLES["password"], "PGPASSWORD", "PICAS_WEB_TOKEN")
_ESCAPES = "in a user name or password write : / ? # @ as %3A %2F %3F %23 %40"
# To the last @ before a space or quote: a password may have any of : / @ in it.
_CREDENTIALS = re.compile(r"(?<=://)[^\s\"'<>/:]*:[^\s\"'<>]*@")


class Secret:
    """A text that does not show itself: ``str``, ``repr`` and formatting give ``***``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, kw_only=True)
class PoolAddress:
    """Where a pool is, and who said so.

    ``url`` is an absolute path, or a URL without user name and password, and so fit to be shown. ``origin``
    is in a person's words: ``--pool``, ``PICAS_POOL``, the path of a file, ``default``.
    """

    url: str
    username: str | None = None
    password: Secret | None = None
    origin: str

    @property
    def is_couchdb(self) -> bool:
        """Whether it is on a server that speaks CouchDB's protocol."""
        return _COUCHDB.match(self.url) is not None

    @property
    def is_postgres(self) -> bool:
        """Whether the driver looks for a password itself, where users of PostgreSQL keep it: PGPASSWORD, ~/.pgpass."""
        return _POSTGRES.match(self.url) is not None


def without_credentials(text: str) -> str:
    """Give a text in which no URL has a ``user:password@``, fit to be shown or kept."""
    return _CREDENTIALS.sub("", text)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Give an environment for the commands of tokens: no password, and no address that has one in it."""
    kept = {name: value for name, value in environ.items() if name not in _SECRETS}
    return kept | {name: without_credentials(kept[name]) for name in _ADDRESSES if name in kept}


def find_pool(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> PoolAddress:
    """Give the address of the pool that is meant, by the order at the top of this module.

    ``explicit`` is what ``--pool`` said. Relative paths are relative to ``cwd``, those in a file to its folder.
    Only reads files. Raises ``ConfigError``, in which no password occurs, for an address or a file that is wrong.
    """
    cwd = cwd.absolute()
    # Not Path.home(): it raises for a user without a home, as in some containers.
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    conf = home / ".config" / "picas" / "conf.yml"
    if explicit is not None:
        return _completed(_address(explicit, "--pool", cwd, home), conf, environ)
    if environ.get("PICAS_POOL"):
        return _completed(_address(environ["PICAS_POOL"], "PICAS_POOL", cwd, home), conf, environ)
    found = _from_variables(environ) or _from_bundle() or _from_toml(cwd, home) or _from_conf(conf, environ)
    return _completed(found, conf, environ) if found else PoolAddress(url=str(cwd / "picas.db"), origin="default")


def _completed(found: PoolAddress, conf: Path, environ: Mapping[str, str]) -> PoolAddress:
    """An address that names a user, or nobody, with what ``PICAS_USERNAME``, ``PICAS_PASSWORD`` or conf.yml add to it.

    The file's password goes only to the server that the file names, and only for its user.
    """
    if found.password is not None or not (found.is_postgres or found.is_couchdb):
        return found
    given = conf_yml.given_in(environ)
    username = found.username or given.get("username")
    if "password" in given and username:
        return replace(found, username=username, password=Secret(given["password"]))
    if found.is_postgres:
        return replace(found, username=username)
    stored = conf_yml.read(conf) or {}
    is_of_file = urlsplit(stored.get("host_url", "")).netloc.rpartition("@")[2] == urlsplit(found.url).netloc
    if is_of_file and stored.get("encrypted_password") and stored.get("username") == (username or stored["username"]):
        secret = Secret(_decrypted(conf, stored["encrypted_password"]))
        return replace(found, username=stored["username"], password=secret)
    return replace(found, username=username)


def _address(text: str, origin: str, folder: Path, home: Path) -> PoolAddress:
    """Read one address, a path or a URL; ``origin`` begins the error's message."""
    text = text.strip()
    if not text:
        raise ConfigError(f"{origin}: the pool address is empty", hint="give a path or a URL")
    if _SCHEME.match(text):
        return read_url(text, origin)
    path = home / text[2:] if text.startswith("~/") else folder / text
    return PoolAddress(url=str(path), origin=origin)


def read_url(text: str, origin: str) -> PoolAddress:
    """Take user name and password out of a URL; ``ConfigError``, which ``origin`` begins, when it has them astray."""
    parts = _split(text, origin)
    userinfo, _, host = parts.netloc.rpartition("@")
    username, colon, password = userinfo.partition(":")
    return PoolAddress(
        url=parts._replace(netloc=host).geturl() if userinfo else text,
        username=unquote(username) or None,
        password=Secret(unquote(password)) if colon else None,
        origin=origin,
    )


def _split(text: str, origin: str) -> SplitResult:
    """Take a URL apart, refusing one with a password anywhere but before the host: it would be shown."""
    try:
        parts = urlsplit(text)
    except ValueError:
        # Its message may hold a piece of the password.
        raise ConfigError(f"{origin}: the pool address is not a valid URL", hint=_ESCAPES) from None
    if any("password" in name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        hint = "write it before the host: postgresql://user:password@host/database"
        raise ConfigError(f"{origin}: a password may not be a parameter of the pool address", hint=hint)
    if parts.netloc:
        astray = "@" in parts.path + parts.query + parts.fragment
    else:
        # A file's path may have an @, but user:password@host without its scheme or with a slash too many may not.
        astray = re.search(":.*@", text.partition("://")[2] or text) is not None
    if astray:
        raise ConfigError(f"{origin}: the pool address has an @ where no user name can be", hint=_ESCAPES)
    return parts


def _from_variables(environ: Mapping[str, str]) -> PoolAddress | None:
    given = conf_yml.given_in(environ)
    if "host_url" not in given or "database" not in given:
        return None
    return _couchdb(given, "PICAS_HOST_URL")


def _couchdb(given: Mapping[str, str], origin: str) -> PoolAddress:
    """Put PiCaS's four values together; a user name or password of their own wins over those in the URL."""
    if not _COUCHDB.match(given["host_url"]):
        raise ConfigError(f"{origin}: the server's address must begin with https:// or http://")
    server = read_url(given["host_url"].strip(), origin)
    base, mark, options = server.url.partition("?")
    return PoolAddress(
        url=f"{base.rstrip('/')}/{quote(given['database'], safe='')}{mark}{options}",
        username=given.get("username", server.username),
        password=Secret(given["password"]) if "password" in given else server.password,
        origin=origin,
    )


def _from_bundle() -> PoolAddress | None:
    about = bundled.about()
    return read_url(about.pool, "this bundle") if about and about.pool else None


def _from_toml(cwd: Path, home: Path) -> PoolAddress | None:
    for folder in (cwd, *cwd.parents):
        path = folder / "picas.toml"
        text = read_text(path)
        if text is not None:
            return _address(_pool_in_toml(path, text), str(path), folder, home)
    return None


def _pool_in_toml(path: Path, text: str) -> str:
    values = parse_toml(path, text)
    unknown = sorted(set(values) - {"pool"})
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}", hint="the one known key is pool")
    pool = values.get("pool")
    if not isinstance(pool, str):
        raise ConfigError(f"{path}: pool is missing or not text", hint='write: pool = "ADDRESS"')
    return pool


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """What a TOML file says; ``ConfigError``, with the line, when it is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            bundled.refuse("reads no picas.toml on Python 3.10", hint=f"set PICAS_POOL to what {path} says")
            raise
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _from_conf(path: Path, environ: Mapping[str, str]) -> PoolAddress | None:
    stored = conf_yml.read(path)
    if stored is None:
        return None
    given = {**stored, **conf_yml.given_in(environ)}
    password = given.pop("password", None)
    conf_yml.check(given if password is None else {"encrypted_password": "", **given}, str(path))
    given["password"] = password or _decrypted(path, given["encrypted_password"])
    return _couchdb(given, str(path))


def _decrypted(path: Path, encrypted: str) -> str:
    bundled.refuse(f"cannot read the encrypted password in {path}", hint="set PICAS_PASSWORD")
    try:
        return decrypt_password(encrypted, read_key(path.with_name("key.dat"))).decode()
    except UnicodeDecodeError:
        # Its message would hold a piece of the password.
        raise ConfigError(f"{path}: the decrypted password is not UTF-8 text") from None
