"""Capturing a command's output through a pipe that is made once: little in memory, much on disk, too much cut.

A pipe, not a file, so that a command which writes without end is slowed to our pace instead of filling memory or
disk. The pilot's side of the writing end stays open, so that a background process which keeps the stream cannot keep
us waiting: the end of the command, not of the stream, ends the capture.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

__all__ = ["INLINE_BYTES", "TAIL_BYTES", "Capture", "nameless"]

INLINE_BYTES = 256 * 1024
"""Output up to this size stays in memory."""

TAIL_BYTES = 32 * 1024
"""The most that is told of a stream at once to who follows it."""

_READ_BYTES = 1 << 20
_AT_ONCE = 16
"""Reads in a row: a command that writes as fast as we read must not keep us from all else."""
_SLOTS = _READ_BYTES // 4096
"""Of a pipe of that size; each may be a packet that takes a read of its own (O_DIRECT in pipe(2))."""
_CHANGED = os.O_NONBLOCK | os.O_DIRECT | os.O_APPEND | os.O_ASYNC
"""Flags of a file that it shares with all who have it open (fcntl(2)), and that pipes do not have at first."""


class Capture:
    """One stream of one command after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.renew()

    def renew(self) -> None:
        """A new pipe: somebody may still hold the writing end of the old one."""
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)
        try:
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        except (OSError, AttributeError):  # over the user's allowance, or Python 3.9: the size stays as it is
            return

    def abandon(self) -> None:
        """Close the pipe and make another."""
        os.close(self.reader)
        os.close(self.writer)
        self.renew()

    def begin(self, cap: int) -> None:
        """Forget the last command's output; keep at most ``cap`` bytes of the next one's."""
        self.size = 0
        self._cap = max(cap, 4096)
        self._parts: list[bytes] = []
        self._files: _Files | None = None
        self.broken = False

    def drain(self, *, to_the_end: bool = False) -> None:
        """Take what is in the pipe now; ``to_the_end`` when nobody writes any more, so that there is one."""
        for _ in range(_SLOTS + 1 if to_the_end else _AT_ONCE):
            try:
                data = os.read(self.reader, _READ_BYTES)
            except BlockingIOError:
                return
            self._keep(data)
            if len(data) < 4096 and not to_the_end:
                return

    def is_spoilt(self) -> bool:
        """Whether a command has changed how the pipe is written to: that is shared with whoever has it next."""
        return fcntl.fcntl(self.writer, fcntl.F_GETFL) & _CHANGED != 0

    def result(self) -> bytes | str:
        """The output, or the path of the file it is in; the reader's to delete."""
        if self.broken:
            if self._files is not None:
                self._files.discard()
            return b"".join(self._parts)
        return b"".join(self._parts) if self._files is None else self._files.finish(self.size)

    @property
    def on_disk(self) -> int:
        """Bytes that the output takes on the disk now."""
        return 0 if self._files is None or self.broken else self._files.on_disk

    def recent(self, since: int, most: int) -> tuple[int, bytes]:
        """What came from a place in the stream on, the last ``most`` bytes of that; and where that begins."""
        wanted = min(self.size - since, most)
        if wanted <= 0 or self.broken:
            return self.size, b""
        data = b"".join(self._parts)[-wanted:] if self._files is None else self._files.recent(wanted)
        return self.size - len(data), data

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        if self._files is None and self.size <= min(INLINE_BYTES, self._cap):
            self._parts.append(data)
        elif not self.broken:
            try:
                self._spill(data)
            except OSError:  # the disk is full: the command's fate, not ours
                self.broken = True

    def _spill(self, data: bytes) -> None:
        if self._files is None:
            self._files = _Files(self._path, self._cap)
            data = b"".join([*self._parts, data])
        self._files.write(data)
        self._parts = []


class _Files:
    """The first half of the cap in one file; then two that take turns, so that the newest quarter is always there."""

    def __init__(self, path: Path, cap: int) -> None:
        self._path = path.with_name(f"{path.name}-{os.urandom(4).hex()}")
        self._head_left = cap // 2
        self._turn_size = max(1, cap // 4)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._head = os.open(self._path, flags, 0o600)
        self._old: int | None = None
        self._new: int | None = None
        self._written = 0
        self._has_gap = False

    def write(self, data: bytes) -> None:
        """Append; what was written longest ago after the head may go."""
        view = memoryview(data)
        if self._head_left:
            taken = min(self._head_left, len(view))
            _write(self._head, view[:taken])
            self._head_left -= taken
            view = view[taken:]
        while view:
            if self._new is None or self._written >= self._turn_size:
                self._turn()
            taken = min(self._turn_size - self._written, len(view))
            _write(self._new or 0, view[:taken])
            self._written += taken
            view = view[taken:]

    def finish(self, size: int) -> str:
        """Put the parts together in order, with a line that says how much is missing."""
        tails = [handle for handle in (self._old, self._new) if handle is not None]
        kept = sum(os.fstat(handle).st_size for handle in [self._head, *tails])
        if kept < size:
            _write(self._head, f"\n[picas: {size - kept} bytes left out here]\n".encode())
        for handle in tails:
            os.lseek(handle, 0, os.SEEK_SET)
            while data := os.read(handle, _READ_BYTES):
                _write(self._head, data)
            os.close(handle)
        os.close(self._head)
        return str(self._path)

    @property
    def on_disk(self) -> int:
        """Bytes in all the files."""
        handles = (self._head, self._old, self._new)
        return sum(os.fstat(handle).st_size for handle in handles if handle is not None)

    def recent(self, count: int) -> bytes:
        """The last so many bytes; fewer when there are not so many without a gap."""
        data = b""
        for handle in (self._new, self._old, None if self._has_gap else self._head):
            if handle is not None and len(data) < count:
                size = os.fstat(handle).st_size
                part = min(count - len(data), size)
                data = os.pread(handle, part, size - part) + data
        return data

    def discard(self) -> None:
        """Give back the room on the disk."""
        for handle in (self._head, self._old, self._new):
            if handle is not None:
                os.close(handle)
        self._path.unlink(missing_ok=True)

    def _turn(self) -> None:
        if self._old is not None:
            os.close(self._old)
            self._has_gap = True
        self._old, self._new, self._written = self._new, nameless(self._path.parent), 0


def nameless(folder: Path) -> int:
    """A new file that only its handle leads to."""
    handle, name = tempfile.mkstemp(dir=folder)
    Path(name).unlink()
    return handle


def _write(handle: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
