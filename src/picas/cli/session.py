"""What every command needs: the pool that was meant, and amounts as people write them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from picas import amounts
from picas.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from picas.config import PoolAddress
    from picas.pool import Pool

__all__ = [
    "SETTINGS",
    "address",
    "ask_password",
    "keep_password",
    "open_pool",
    "opened",
    "seconds",
    "size",
    "wants_password",
]


class _Settings:
    """Options given before the command."""

    pool: str | None = None
    verbose: int = 0


SETTINGS = _Settings()

_SECONDS = {unit: amounts.SECONDS[unit] for unit in ("", "s", "m", "min", "h", "d")}
_BYTES = {unit: value for unit, value in amounts.BYTES.items() if unit not in ("t", "ti")}
"""As long as options have been there; a token's ``requires`` knows more."""


def address(pool: str | None = None) -> PoolAddress:
    """Where the pool is, by option, environment, file or default."""
    from picas.config import find_pool, without_credentials

    given = SETTINGS.pool if pool is None else pool
    found = find_pool(given, os.environ, Path.cwd())
    if given is not None and without_credentials(given) != given:
        hint = "every user of this machine can read command lines; set PICAS_POOL, or write it to picas.toml"
        raise ConfigError("--pool: a password may not stand on the command line", hint=hint)
    return found


@contextmanager
def open_pool(pool: str | None = None, *, create: bool = False) -> Iterator[Pool]:
    """The pool, for as long as the command works on it."""
    with opened(address(pool), create=create) as found:
        yield found


@contextmanager
def opened(found: PoolAddress, *, password: str | None = None, create: bool = False) -> Iterator[Pool]:
    """The pool at an address, with another password when one is given."""
    from picas.pool import connect

    secret = password or (found.password.reveal() if found.password else "")
    with connect(found.url, create=create, username=found.username, password=secret) as pool:
        yield pool


def wants_password(found: PoolAddress) -> bool:
    """Whether a pool's address names a user, and nothing says the password; PostgreSQL's driver has its own ways."""
    return found.username is not None and found.password is None and not found.is_postgres


def ask_password(prompt: str, *, twice: bool = False, hint: str = "give it on standard input") -> str:
    """A password typed without echo, or a line of standard input where no person is; never an argument."""
    import getpass

    if not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\n")
        if not given:
            raise ConfigError("no password was given", hint=hint)
        return given
    given = getpass.getpass(prompt)
    if not given:
        raise ConfigError("no password was given; nothing was changed")
    if twice and getpass.getpass("the same again: ") != given:
        raise ConfigError("the two passwords are not the same; nothing was changed")
    return given


def keep_password(found: PoolAddress, password: str) -> Path:
    """Keep a pool's address and password, encrypted, in PiCaS's configuration file; that file."""
    from urllib.parse import unquote

    from picas import conf_yml
    from picas.crypto import encrypt_password, generate_and_save_key

    path = Path("~/.config/picas/conf.yml").expanduser()
    address, mark, options = found.url.partition("?")
    server, _, database = address.rpartition("/")
    scheme, _, host = server.partition("://")
    # As programs of PiCaS read it: by the protocol's own name, and with the port.
    plain, port = {"couchdb": ("http", 5984), "couchdbs": ("https", 6984)}.get(scheme, (scheme, None))
    host = f"{host}:{port}" if port and not re.search(r":[0-9]+($|/)", host) else host
    server = f"{plain}://{host}{mark}{options}"
    generate_and_save_key()
    secret = encrypt_password(password).decode()
    values = {"host_url": server, "database": unquote(database), "username": found.username or ""}
    conf_yml.write(path, {**values, "encrypted_password": secret})
    return path


def seconds(text: str | None, option: str) -> float | None:
    """A time such as ``90``, ``90s``, ``10m``, ``4h``, ``1d`` or ``01:30:00``, in seconds."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]+(:[0-9]{1,2}){1,2}", text):
        parts = [int(part) for part in text.split(":")]
        return float(sum(part * 60**place for place, part in enumerate(reversed(parts))))
    return _amount(text, option, _SECONDS, "a time such as 90s, 10m or 4h")


def size(text: str | None, option: str) -> float | None:
    """A size such as ``500MB`` or ``8GiB``, in bytes."""
    return None if text is None else _amount(text, option, _BYTES, "a size such as 8GiB")


def _amount(text: str, option: str, units: Mapping[str, float], expected: str) -> float:
    value = amounts.amount(text, units)
    if value is None:
        raise UsageError(f"{option} {text!r} is not {expected}")
    return value
