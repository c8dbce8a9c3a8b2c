"""Where the pool is: an address found on the command line, in the environment, or in a file.

The order, the first that is there: ``--pool``; ``PICAS_POOL``; the PiCaS variables (``PICAS_HOST_URL`` and
``PICAS_DATABASE``, with ``PICAS_USERNAME`` and ``PICAS_PASSWORD``); ``picas.toml`` in the working directory or
the nearest folder above; PiCaS's own ``~/.config/picas/conf.yml``; else ``picas.db`` in the working directory.
Variables and keys that are empty count as not there. A file that is there but wrong is an error, never
skipped: work would go to another pool than the one that was meant.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from picas.crypto import decrypt_password, read_key
from picas.errors import ConfigError

__all__ = ["PoolAddress", "Secret", "find_pool"]

_MAX_FILE_BYTES = 1_000_000
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_COUCHDB = re.compile(r"(https?|couchdbs?)://[^/]", re.IGNORECASE)
_ESCAPES = "in a user name or password write : / ? # @ as %3A %2F %3F %23 %40"

# Keys of PiCaS's conf.yml, all needed, and the variables that stand in for them.
_PICAS_VARIABLES = {
    "host_url": "PICAS_HOST_URL",
    "database": "PICAS_DATABASE",
    "username": "PICAS_USERNAME",
    "password": "PICAS_PASSWORD",
}
_PICAS_KEYS = ("host_url", "database", "username", "encrypted_password")


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


def find_pool(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> PoolAddress:
    """Give the address of the pool that is meant, by the order at the top of this module.

    ``explicit`` is what ``--pool`` said. Relative paths are relative to ``cwd``, those in a file to its folder.
    Only reads files. Raises ``ConfigError``, in which no password occurs, for an address or a file that is wrong.
    """
    cwd = cwd.absolute()
    # Not Path.home(): it raises for a user without a home, as in some containers.
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    if explicit is not None:
        return _address(explicit, "--pool", cwd, home)
    if environ.get("PICAS_POOL"):
        return _address(environ["PICAS_POOL"], "PICAS_POOL", cwd, home)
    return (
        _from_variables(environ)
        or _from_toml(cwd, home)
        or _from_conf(home / ".config" / "picas" / "conf.yml", environ)
        or PoolAddress(url=str(cwd / "picas.db"), origin="default")
    )


def _address(text: str, origin: str, folder: Path, home: Path) -> PoolAddress:
    """Read one address, a path or a URL; ``origin`` begins the error's message."""
    text = text.strip()
    if not text:
        raise ConfigError(f"{origin}: the pool address is empty", hint="give a path or a URL")
    if _SCHEME.match(text):
        return _from_url(text, origin)
    path = home / text[2:] if text.startswith("~/") else folder / text
    return PoolAddress(url=str(path), origin=origin)


def _from_url(text: str, origin: str) -> PoolAddress:
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
    given = _picas_variables(environ)
    if "host_url" not in given or "database" not in given:
        return None
    return _couchdb(given, "PICAS_HOST_URL")


def _picas_variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: environ[name] for key, name in _PICAS_VARIABLES.items() if environ.get(name)}


def _couchdb(given: Mapping[str, str], origin: str) -> PoolAddress:
    """Put PiCaS's four values together; a user name or password of their own wins over those in the URL."""
    if not _COUCHDB.match(given["host_url"]):
        raise ConfigError(f"{origin}: the server's address must begin with https:// or http://")
    server = _from_url(given["host_url"].strip(), origin)
    return PoolAddress(
        url=f"{server.url.rstrip('/')}/{quote(given['database'], safe='')}",
        username=given.get("username", server.username),
        password=Secret(given["password"]) if "password" in given else server.password,
        origin=origin,
    )


def _from_toml(cwd: Path, home: Path) -> PoolAddress | None:
    for folder in (cwd, *cwd.parents):
        path = folder / "picas.toml"
        text = _text_of(path)
        if text is not None:
            return _address(_pool_in_toml(path, text), str(path), folder, home)
    return None


def _pool_in_toml(path: Path, text: str) -> str:
    values = _toml(path, text)
    unknown = sorted(set(values) - {"pool"})
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}", hint="the one known key is pool")
    pool = values.get("pool")
    if not isinstance(pool, str):
        raise ConfigError(f"{path}: pool is missing or not text", hint='write: pool = "ADDRESS"')
    return pool


def _toml(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _from_conf(path: Path, environ: Mapping[str, str]) -> PoolAddress | None:
    text = _text_of(path)
    if text is None:
        return None
    given = {**_picas_conf(path, text), **_picas_variables(environ)}
    covered = {*given, "encrypted_password"} if "password" in given else set(given)
    missing = [key for key in _PICAS_KEYS if key not in covered]
    if missing:
        raise ConfigError(f"{path}: {missing[0]} is missing", hint="picas-cli init writes this file")
    if "password" not in given:
        given["password"] = _decrypted(path, given["encrypted_password"])
    return _couchdb(given, str(path))


def _decrypted(path: Path, encrypted: str) -> str:
    try:
        return decrypt_password(encrypted, read_key(path.with_name("key.dat"))).decode()
    except UnicodeDecodeError:
        # Its message would hold a piece of the password.
        raise ConfigError(f"{path}: the decrypted password is not UTF-8 text") from None


def _picas_conf(path: Path, text: str) -> dict[str, str]:
    """Read ``key: value`` lines from the YAML parser's events: nothing is constructed, aliases expand to nothing."""
    import yaml

    values: dict[str, str] = {}
    try:
        for key, value in _scalar_pairs(path, text):
            line = key.start_mark.line + 1
            if key.value not in _PICAS_KEYS:
                hint = f"known keys: {', '.join(_PICAS_KEYS)}"
                raise ConfigError(f"{path} line {line}: unknown key {key.value!r}", hint=hint)
            if key.value in values:
                raise ConfigError(f"{path} line {line}: {key.value} is there twice")
            # Plain, not quoted: YAML's ways to write nothing.
            if not (value.style is None and value.value in {"", "~", "null"}):
                values[key.value] = value.value
    except yaml.YAMLError as error:
        raise _bad_yaml(path, error) from error
    return values


def _scalar_pairs(path: Path, text: str) -> list[tuple[Any, Any]]:
    """Give the (key, value) events of a document that is one flat mapping; ``ConfigError`` for any other."""
    import yaml

    frame = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    scalars: list[Any] = []
    expected: type[yaml.Event] = yaml.MappingStartEvent
    for event in events:
        if isinstance(event, frame):
            continue
        if expected is yaml.ScalarEvent and isinstance(event, yaml.MappingEndEvent):
            expected = yaml.StreamEndEvent
        elif not isinstance(event, expected) or getattr(event, "tag", None):
            hint = "one 'key: value' per line, without aliases, tags or nesting"
            raise ConfigError(f"{path} line {event.start_mark.line + 1}: not a plain value", hint=hint)
        elif expected is yaml.ScalarEvent:
            scalars.append(event)
        else:
            expected = yaml.ScalarEvent
    return list(zip(scalars[::2], scalars[1::2], strict=True))


def _bad_yaml(path: Path, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f"{path} line {mark.line + 1}" if mark else str(path)
    return ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'it is not text'}")


def _text_of(path: Path) -> str | None:
    """Give a configuration file's text, None when there is no such file."""
    try:
        # A pipe or device of that name would block, or never end.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: too large for a configuration file (the limit is 1 MB)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (UTF-8)") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty", hint="fill it in or remove it")
    return text
