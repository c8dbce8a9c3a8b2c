"""What a pilot and its runners say to each other, and how: tuples, marshalled, over private sockets.

Only the two halves of one pilot ever read this, both run by one interpreter; nothing of it is stored. A runner's fast
path (``fastpath.c``) reads jobs and writes reports too, so their fields are known there.
"""

from __future__ import annotations

import marshal
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from picas.pilot.capture import nameless

__all__ = [
    "CANCEL",
    "FULL",
    "QUIT",
    "START_FAILED",
    "TAIL",
    "Frames",
    "Job",
    "Journal",
    "Report",
    "pack",
    "pack_list",
    "unpack",
]

START_FAILED = 1000
"""A code of minus this and an errno: the command could not be started."""
CANCEL = "cancel"
FULL = "full"
QUIT = "quit"
TAIL = "tail"
"""With a job's number and a place in each stream: what came from there on. The answer is a tuple, reports a list."""

_LENGTH = struct.Struct("!I")

_VERSION = 2
"""Of marshal: the last that is plain, without references from one value to another."""
_LIST = struct.Struct("<ci")

unpack = marshal.loads


def pack(message: Any) -> bytes:
    """A message as bytes."""
    return marshal.dumps(message, _VERSION)


def pack_list(parts: Sequence[bytes], count: int) -> bytes:
    """A list of so many values that are packed already, one after the other."""
    return b"".join([_LIST.pack(b"[", count), *parts])


class Job(NamedTuple):
    """One command to run. Times in seconds, sizes in bytes; ``folder`` None means where the pilot was started.

    ``quiet`` is the time after which it is ended when it writes nothing; 0 for never. ``bounds`` are what `Bounds`
    takes, None where nothing binds the command.
    """

    number: int
    argv: list[str]
    environ: dict[bytes, bytes]
    token: str
    time_limit: float
    grace: float
    output_cap: int
    folder: str | None
    quiet: float = 0.0
    bounds: tuple[tuple[int, ...], float, str] | None = None


class Report(NamedTuple):
    """How a command ended.

    ``code`` is the exit code, or minus the number of the signal that ended it, or minus 1000 minus the errno
    with which it could not be started. ``why`` is the reason the runner was given to end it, else empty.
    ``out`` and ``err`` are the bytes, or the path of a file of the runner's when they are many.
    """

    number: int
    code: int
    why: str
    start: float
    runtime: float
    max_rss: int
    out: bytes | str
    out_size: int
    err: bytes | str
    err_size: int
    output: bytes | None
    leftovers: bool


class Journal:
    """What a runner has in hand, for the event of its death: jobs not yet reported, the one that runs last.

    A file of integers, mapped, so that noting one down costs no system call: how many there are, and their numbers. It
    has no name, and how many there are is never read back from it: a command could write into it otherwise. ``count``
    is changed by `begin`, `reported`, and the fast path.
    """

    def __init__(self, handle: int, page: int) -> None:
        self.memory = mmap.mmap(handle, mmap.PAGESIZE, offset=page * mmap.PAGESIZE)
        self.count = 0
        self._numbers = memoryview(self.memory).cast("q")

    @staticmethod
    def make(folder: Path, pages: int) -> int:
        """A new file for so many, a page each, in a folder; as a handle that runners can be given."""
        handle = nameless(folder)
        os.ftruncate(handle, pages * mmap.PAGESIZE)
        return handle

    def begin(self, number: int) -> None:
        """One more job is in hand."""
        self._numbers[self.count + 1] = number
        self.count += 1
        self._numbers[0] = self.count

    def reported(self, count: int) -> None:
        """The first of them have been reported. At any moment what the file says may be too much, never too little."""
        left = self._numbers[count + 1 : self.count + 1].tolist()
        for place, number in enumerate(left, 1):
            self._numbers[place] = number
        self.count = self._numbers[0] = len(left)

    @staticmethod
    def read(handle: int, page: int) -> list[int]:
        """The numbers that a runner has noted, alive or not."""
        numbers = memoryview(os.pread(handle, mmap.PAGESIZE, page * mmap.PAGESIZE)).cast("q")
        return numbers[1 : numbers[0] + 1].tolist()


class Frames:
    """Messages of any size over a stream socket, each after its length."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._unsent = bytearray()

    def send(self, message: Any) -> None:
        """Send one message whole."""
        self.send_packed(pack(message))

    def send_packed(self, data: bytes) -> None:
        """Send one that is packed already."""
        self.sock.sendall(_LENGTH.pack(len(data)) + data)

    @property
    def is_partial(self) -> bool:
        """Whether a part of a message has come, and the rest has not."""
        return len(self._buffer) > 0

    def tell(self, message: Any) -> None:
        """Send one message without waiting for who should take it: what cannot be sent now is sent by `push`.

        OSError when the other side has gone.
        """
        data = pack(message)
        self._unsent += _LENGTH.pack(len(data)) + data
        self.push()

    def push(self) -> bool:
        """Send what could not be sent before; whether some is left."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            return True
        return False

    def receive(self) -> list[Any] | None:
        """What has arrived, after one read of the socket; None when the other side has gone."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionError:
            return None
        if not data:
            return None
        self._buffer += data
        found = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < _LENGTH.size + length:
                break
            found.append(unpack(bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])))
            del self._buffer[: _LENGTH.size + length]
        return found
