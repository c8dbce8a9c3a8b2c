"""The files by which a runner and its command speak: ``PICAS_TOKEN`` and ``PICAS_OUTPUT``."""

from __future__ import annotations

import os
import shutil
import stat

__all__ = ["MAX_OUTPUT_JSON", "OutputFile", "TokenFile"]

MAX_OUTPUT_JSON = 4_000_000
"""Bytes of ``PICAS_OUTPUT`` that are read."""


class TokenFile:
    """The file that ``PICAS_TOKEN`` names: written over for each token, which costs a third of making it anew.

    It is open as ``handle``, and its inode has this ``number``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._renew()

    def write(self, data: bytes) -> None:
        """Make this the content; of a new file when a command removed the old one or put another in its place."""
        try:
            known = os.stat(self.path, follow_symlinks=False)
        except OSError:
            known = None
        if known is None or known.st_ino != self.number or known.st_nlink != 1 or known.st_mode & 0o7777 != 0o600:
            old = self.handle
            self._renew()
            os.close(old)
        os.pwrite(self.handle, data, 0)
        if known is None or known.st_size > len(data):
            os.ftruncate(self.handle, len(data))

    def _renew(self) -> None:
        folder = os.path.dirname(self.path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)
        _remove(self.path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.handle = os.open(self.path, flags, 0o600)
        self.number = os.fstat(self.handle).st_ino


class OutputFile:
    """The file that ``PICAS_OUTPUT`` names, there when a command has written it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def take(self) -> bytes | None:
        """What the command wrote to ``PICAS_OUTPUT``: a regular file of its own, no link to somebody else's."""
        if not os.access(self.path, os.F_OK, follow_symlinks=False):
            return None
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError:
            _remove(self.path)
            return b""
        data = _read_regular(handle)
        _remove(self.path)
        return data


def _read_regular(handle: int) -> bytes:
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return b""
        data = b""
        while len(data) <= MAX_OUTPUT_JSON and (part := os.read(handle, MAX_OUTPUT_JSON + 1 - len(data))):
            data += part
        return data
    finally:
        os.close(handle)


def _remove(path: str) -> None:
    """Whatever a command put there, gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
