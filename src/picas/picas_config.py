"""PiCaS's configuration: the server, the database and the user of a CouchDB pool, the password encrypted."""

from __future__ import annotations

import getpass
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from picas import conf_yml
from picas.conf_yml import PicasConfigSchemaError
from picas.config import without_credentials
from picas.crypto import decrypt_password, encrypt_password, generate_and_save_key
from picas.errors import ConfigError, PicasError
from picas.files import MissingFile

__all__ = ["PICAS_CONFIG_SCHEMA", "PicasConfig", "PicasConfigSchemaError"]

_DEFAULT_PATH = "~/.config/picas/conf.yml"

PICAS_CONFIG_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "host_url": {"type": "string", "default": "http://localhost:5984", "description": "Address of the server."},
        "database": {"type": "string", "default": "mypicasdb", "description": "Name of the database of the pool."},
        "username": {"type": "string", "default": None, "description": "Name of the user in CouchDB."},
        "encrypted_password": {"type": "string", "default": None, "description": "Password, by ``picas.crypto``."},
    },
    "required": list(conf_yml.KEYS),
    "additionalProperties": False,
}
"""What the file holds, as a JSON Schema."""


class PicasConfig:
    """The configuration in a file; ``config`` is the dict of its four keys, ``{}`` when nothing was loaded.

    The PiCaS variables win over the file when it is loaded, and are not written to it. A password is asked for at
    the terminal, without echo, wherever none is given.
    """

    def __init__(self, config_path: str | os.PathLike[str] | None = None, load: bool = True) -> None:
        self.config_path = config_path or _DEFAULT_PATH
        self.config: dict[str, str] = {}
        if load:
            self.load_config()

    def __repr__(self) -> str:
        return f"<PicasConfig {os.fspath(self.config_path)}>"

    def __str__(self) -> str:
        """The configuration in lines, without the password."""
        if not self.config:
            return "PicasConfig: no configuration loaded"
        shown = {**self.config, "encrypted_password": "***masked***"}
        return "\n".join(["PicasConfig:", *(f"{key}: {without_credentials(shown[key])}" for key in sorted(shown))])

    @property
    def path(self) -> Path:
        """The path of the file, its ``~`` expanded."""
        # Not Path.expanduser(): it raises for a user without a home, as in some containers.
        return Path(os.path.expanduser(self.config_path))  # noqa: PTH111

    def load_config(self) -> None:
        """Read the file and the variables into ``config``; with all four variables set no file is needed.

        A password in ``PICAS_PASSWORD`` is encrypted with the saved key, which is made when there is none. Raises
        ``PicasConfigSchemaError``, another ``ConfigError``, or one that is a ``FileNotFoundError`` too.
        """
        given = conf_yml.given_in(os.environ)
        stored = conf_yml.read(self.path)
        if stored is None and len(given) < len(conf_yml.VARIABLES):
            hint = "picas-cli init writes this file"
            raise MissingFile(f"configuration file not found: {self.config_path}", hint=hint)
        if "password" in given:
            given["encrypted_password"] = _encrypted(given.pop("password"))
        found = {**(stored or {}), **given}
        conf_yml.check(found, str(self.config_path))
        self.config = found

    def save_config(self, args: Any) -> None:
        """Write a configuration with ``host_url database username`` of ``args``, and ``password``.

        A password that is None is taken from ``PICAS_PASSWORD``, else asked for.
        """
        config = {"host_url": args.host_url, "database": args.database, "username": args.username}
        conf_yml.check({**config, "encrypted_password": ""}, str(self.config_path))
        password = args.password
        if password is None:
            password = os.environ.get("PICAS_PASSWORD") or _asked(f"CouchDB password of {args.username}: ")
        self.write_config({**config, "encrypted_password": _encrypted(password)})

    def write_config(self, config: dict[str, str]) -> None:
        """Write the file (mode 0600, its folder 0700 when it is made), all of it or nothing; it is ``config`` then.

        Raises ``PicasConfigSchemaError``, or ``ConfigError`` when it cannot be written or is a symbolic link.
        """
        conf_yml.write(self.path, config)
        self.config = config

    def validate_config(self, config: Mapping[str, Any] | None = None) -> None:
        """Raise ``PicasConfigSchemaError`` unless this configuration, or the one given, has the four keys as text."""
        if config is not None and not isinstance(config, Mapping):
            raise PicasConfigSchemaError(f"{self.config_path}: a configuration is a dict")
        conf_yml.check(self.config if config is None else config, str(self.config_path))

    def change_password(self, args: Any) -> None:
        """Change the user's password on the server, then in the file, to ``args.new_password``, asked for when None.

        Raises ``ValueError`` when the server refuses or there is no configuration; nothing was changed then.
        """
        if "encrypted_password" not in self.config:
            raise ValueError("no encrypted password in the configuration")
        stored = conf_yml.read(self.path) or {}
        old = decrypt_password(self.config["encrypted_password"])
        new = args.new_password
        if new is None:
            new = _asked_twice(self.config["username"])
        encrypted = _encrypted(new)
        self.change_couchdb_password(self.config["host_url"], self.config["username"], old, new)
        self._save_changed({**self.config, **stored, "encrypted_password": encrypted})

    def change_couchdb_password(
        self, uri: str, username: str, old_password: str | bytes, new_password: str | bytes
    ) -> None:
        """Change a user's password in the ``_users`` database of a server; ``ValueError`` when that fails."""
        from picas.stores.couchdb.users import change_user_password

        try:
            change_user_password(without_credentials(uri), username, _text(old_password), _text(new_password))
        except PicasError as error:
            raise _NotChanged(error) from None

    def _save_changed(self, stored: dict[str, str]) -> None:
        try:
            conf_yml.write(self.path, stored)
        except ConfigError as error:
            hint = "picas-cli init writes this file, with the new password"
            raise ConfigError(f"changed on the server, but not here: {error.message}", hint=hint) from error
        self.config = {**self.config, "encrypted_password": stored["encrypted_password"]}


class _NotChanged(PicasError, ValueError):
    """A password that is as it was: the server's reason, with its exit code, as the ``ValueError`` of PiCaS."""

    def __init__(self, reason: PicasError) -> None:
        super().__init__(f"the password was not changed: {reason.message}", hint=reason.hint)
        self.exit_code = reason.exit_code


def _encrypted(password: str | bytes) -> str:
    generate_and_save_key()
    return encrypt_password(password).decode()


def _text(password: str | bytes) -> str:
    return password.decode("utf-8", "surrogateescape") if isinstance(password, bytes) else password


def _asked_twice(username: str) -> str:
    new = _asked(f"new CouchDB password of {username}: ")
    if _asked("the same again: ") != new:
        raise ConfigError("the two passwords are not the same; nothing was changed")
    return new


def _asked(prompt: str) -> str:
    with warnings.catch_warnings():
        # There is no echo to turn off where a pipe is read.
        warnings.simplefilter("ignore", getpass.GetPassWarning)
        try:
            password = getpass.getpass(prompt)
        except EOFError:
            password = ""
    if not password:
        raise ConfigError("no password was given; nothing was changed")
    return password
