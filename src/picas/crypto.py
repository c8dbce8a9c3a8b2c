"""The password in PiCaS's configuration file, kept encrypted with a key (Fernet) that only its owner reads.

This keeps a password out of backups, screenshots and shared listings; it is no defence against somebody
who can read the owner's files.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

from picas import bundled
from picas.errors import ConfigError
from picas.files import MissingFile, make_folder, write_new

__all__ = ["CRYPTO_KEY_PATH", "decrypt_password", "encrypt_password", "generate_and_save_key", "read_key"]

# Not Path.expanduser(): it raises for a user without a home, as in some containers, and this is an import.
CRYPTO_KEY_PATH = os.path.expanduser("~/.config/picas/key.dat")  # noqa: PTH111

_MAX_KEY_BYTES = 1024
_WRITING_SECONDS = 1.0


def generate_and_save_key(key_path: str | os.PathLike[str] | None = None, skip_if_exists: bool = True) -> None:
    """Make a new key and save it in ``key_path`` (default ``CRYPTO_KEY_PATH``), readable by its owner alone.

    A missing folder is made with mode 0700. An existing key is never replaced, since the passwords
    encrypted with it would be lost: it is left alone, or with ``skip_if_exists=False`` raises
    ``ConfigError``. Nothing is left behind when writing fails.
    """
    _refuse_in_bundle()
    from cryptography.fernet import Fernet

    path = Path(key_path or CRYPTO_KEY_PATH)
    try:
        make_folder(path.parent)
        saved = write_new(path, Fernet.generate_key())
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be saved: {error.strerror}") from error
    if not saved and not skip_if_exists:
        hint = "remove it first, if no password is encrypted with it any more"
        raise ConfigError(f"{path}: there is a key already", hint=hint)


def read_key(key_path: str | os.PathLike[str] | None = None) -> bytes:
    """Give the key in ``key_path`` (default ``CRYPTO_KEY_PATH``).

    Raises ``ConfigError`` when it is missing (then it is a ``FileNotFoundError`` too), cannot be read, or may be
    read by others than its owner.
    """
    path = Path(key_path or CRYPTO_KEY_PATH)
    try:
        with path.open("rb") as file:
            _refuse_shared(path, file.fileno())
            return _content(file)
    except FileNotFoundError as error:
        hint = "picas-cli init makes one, and asks for the password again"
        raise MissingFile(f"{path}: the key of the encrypted password is missing", hint=hint) from error
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error


def encrypt_password(password: str | bytes, key: str | bytes | None = None) -> bytes:
    """Encrypt a password with ``key``, else with the saved one; ``ConfigError`` when the key is unusable."""
    _refuse_in_bundle()
    from cryptography.fernet import Fernet

    key = read_key() if key is None else key
    try:
        return Fernet(key).encrypt(_as_bytes(password))
    except ValueError as error:
        raise _bad_key() from error


def decrypt_password(encrypted: str | bytes, key: str | bytes | None = None) -> bytes:
    """Decrypt what ``encrypt_password`` gave, with ``key``, else with the saved one.

    Raises ``ConfigError`` when the key is unusable or another one than the password was encrypted with.
    """
    _refuse_in_bundle()
    from cryptography.fernet import Fernet, InvalidToken

    key = read_key() if key is None else key
    try:
        return Fernet(key).decrypt(_as_bytes(encrypted))
    except InvalidToken as error:
        hint = "picas-cli init asks for the password again"
        raise ConfigError("the encrypted password does not belong to this key", hint=hint) from error
    except ValueError as error:
        raise _bad_key() from error


def _refuse_in_bundle() -> None:
    bundled.refuse("has no encryption", hint="set PICAS_PASSWORD instead of keeping the password in a file")


def _content(file: BinaryIO) -> bytes:
    """Read a key; one that is empty is being written at this moment, as when many pilots start at once."""
    until = time.monotonic() + _WRITING_SECONDS
    while not (content := file.read(_MAX_KEY_BYTES)) and time.monotonic() < until:
        time.sleep(0.01)
    return content


def _refuse_shared(path: Path, descriptor: int) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        raise ConfigError(f"{path}: others than its owner may use this key", hint=f"chmod 600 {path}")


def _as_bytes(text: str | bytes) -> bytes:
    # The bytes of a locale that is not UTF-8 come back as they were typed.
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _bad_key() -> ConfigError:
    hint = "remove key.dat; picas-cli init makes a new one, and asks for the password again"
    return ConfigError("the key of the encrypted password is damaged", hint=hint)
