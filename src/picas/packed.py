"""Files of JSON lines, plain or compressed, that are whole under their name and never lose what was committed.

A file is written as ``NAME.part`` and takes its name when it is complete. What is written between two commits is one
piece of a compressed file (a gzip member, a Zstandard frame), so that all up to the last commit can be read however
the process ended.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from picas.errors import UsageError

__all__ = ["PartFile", "reading", "scan"]

_CHUNK_BYTES = 1 << 16
_ZSTD_MAGIC, _GZIP_MAGIC = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_LEVEL = 6


class PartFile:
    """A file on its way: appended to, committed, and named when it is whole. A context manager.

    UsageError when its name is taken, when another process is writing it, or when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._packer = _packer(path.name)
        self._open: Any = None

    def __enter__(self) -> PartFile:
        if self.path.exists():
            raise UsageError(f"{self.path} exists already", hint="name a new file")
        try:
            # Only its owner reads it, as with a pool in a file: tokens may hold what others should not see.
            self.file: IO[bytes] = os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        except OSError as error:
            raise UsageError(f"{self.part} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise UsageError(f"{self.part} is being written by another process") from None
        except OSError:
            pass  # a file system without locks
        if self.path.exists() or not self.part.exists():
            self.file.close()
            raise UsageError(f"{self.path} was finished by another process just now", hint="name a new file")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def cut(self, place: int) -> None:
        """Go on from this place; what is behind it goes."""
        self.file.truncate(place)
        self.file.seek(place)

    def write(self, line: str) -> None:
        """Add a line, which is on the disk after the next `commit`."""
        if self._open is None:
            self._open = self._packer()
        self.file.write(self._open.compress(line.encode()))

    def commit(self) -> None:
        """All that was written is on the disk when this returns, and can be read by itself."""
        if self._open is not None:
            self.file.write(self._open.flush())
            self._open = None
        self.file.flush()
        os.fsync(self.file.fileno())
        _sync_folder(self.part.parent)

    def finish(self) -> None:
        """Commit, and give the file its name."""
        self.commit()
        self.part.rename(self.path)
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove it."""
        self.part.unlink(missing_ok=True)


def scan(file: IO[bytes], name: str) -> Iterator[bytes | int]:
    """The lines of a file from its start, and after each piece that is whole the place where it ends.

    A piece that was cut ends the scan. UsageError when something in it is damaged.
    """
    file.seek(0)
    if _packer(name) is _Plain:
        yield from _scan_plain(file)
        return
    place = 0
    rest = b""
    while data := rest or file.read(_CHUNK_BYTES):
        unpacker, line = _unpacker(name), b""
        while data and not unpacker.eof:
            try:
                *lines, line = (line + unpacker.decompress(data)).split(b"\n")
            except _errors(name) as error:
                raise UsageError(
                    f"{name} is damaged behind byte {place}: {error}", hint="move it away; `picas pool import` reads "
                    "what is whole of it"
                ) from None  # fmt: skip
            yield from lines
            place += len(data)
            data = b"" if unpacker.eof else file.read(_CHUNK_BYTES)
        if not unpacker.eof:
            return
        rest = unpacker.unused_data
        place -= len(rest)
        yield place


@contextmanager
def reading(path: str | None) -> Iterator[Iterator[str]]:
    """The lines of a file, or of standard input (None), whatever it is compressed with.

    UsageError when it cannot be read; what is cut ends early, and the last line tells.
    """
    try:
        file = open(path if path is not None else 0, "rb", closefd=path is not None)  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"{path or 'standard input'} cannot be read: {error.strerror or error}") from None
    with file:
        yield _lines(file, path or "standard input")


def _lines(file: io.BufferedReader, name: str) -> Iterator[str]:
    start = file.peek(4)[:4]
    unpacked: Any = file
    if start == _ZSTD_MAGIC:
        unpacked = io.BufferedReader(_zstandard().ZstdDecompressor().stream_reader(file, read_across_frames=True))
    elif start.startswith(_GZIP_MAGIC):
        unpacked = gzip.GzipFile(fileobj=file)
    try:
        with io.TextIOWrapper(unpacked, encoding="utf-8", newline="\n") as text:
            yield from text
    except EOFError:
        return
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is no text: {error}") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{name} is damaged: {error}") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise UsageError(f"{name} is damaged: {error}") from None


class _Plain:
    """What is not compressed, by the verbs of a compressor."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _scan_plain(file: IO[bytes]) -> Iterator[bytes | int]:
    place = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        place += len(line)
        yield line
        yield place


def _packer(name: str) -> Any:
    """What makes a compressor for a file of this name."""
    if name.endswith(".zst"):
        # A checksum, so that a damaged piece is never taken for a whole one.
        return _zstandard().ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj
    if name.endswith(".gz"):
        return lambda: zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return _Plain


def _unpacker(name: str) -> Any:
    if name.endswith(".zst"):
        return _zstandard().ZstdDecompressor().decompressobj()
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _errors(name: str) -> tuple[type[Exception], ...]:
    return (cast("type[Exception]", _zstandard().ZstdError),) if name.endswith(".zst") else (zlib.error,)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            "files that end in .zst need the Python package zstandard",
            hint="pip install 'picas[archive]'; names that end in .gz need nothing",
        ) from None
    return zstandard


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where that can be asked for."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse; they have written the name already
    finally:
        os.close(descriptor)
