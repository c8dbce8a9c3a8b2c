"""Small files of a person's own, for configuration and keys: read within limits, written for their owner alone."""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path

from picas.errors import ConfigError

__all__ = ["MissingFile", "make_folder", "matching", "read_text", "replace", "state_folder", "sync", "write_new"]

_MAX_BYTES = 1_000_000


class MissingFile(ConfigError, FileNotFoundError):
    """A file that is needed is not there; PiCaS programs catch it as ``FileNotFoundError``."""


def read_text(path: Path) -> str | None:
    """Give a configuration file's text, None when there is no such file.

    Raises ``ConfigError`` when it cannot be read, is empty, too large, or no text in UTF-8.
    """
    try:
        # A pipe or device of that name would block, or never end.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: too large for a configuration file (the limit is 1 MB)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (UTF-8)") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty", hint="fill it in or remove it")
    return text


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for its owner alone (0700); ``OSError`` as of mkdir(2)."""
    # Not mkdir(parents=True): that leaves the mode of the folders above to the umask.
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def write_new(path: Path, content: bytes) -> bool:
    """Write a new private file (0600); False, and nothing done, when something has that name already.

    Raises ``OSError``, with nothing left behind, when it cannot be written.
    """
    # O_EXCL and O_NOFOLLOW: nobody's link or prepared file gets the content, and it is 0600 from its first byte.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a Path cannot open a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def replace(path: Path, content: bytes) -> None:
    """Write a private file (0600), in the place of an older one if there is one: all of it or nothing.

    A symbolic link of that name is refused, and never followed. Raises ``OSError`` when it cannot be written.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    if not write_new(fresh, content):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(fresh))
    try:
        # A link planted since then is replaced by the rename, not followed.
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def matching(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, by name, while others may be removing it: a folder that goes away has nothing in it.

    (``Path.glob`` raises when one goes between being found and being read.) Hidden names match no wildcard.
    """
    return [folder / name for name in sorted(glob.glob(pattern, root_dir=folder))]  # noqa: PTH207


def state_folder(name: str) -> Path:
    """A file or folder of that name where this user's programs keep what is to outlive them; it need not be there."""
    import platformdirs

    return Path(platformdirs.user_state_dir("picas")) / name


def sync(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
