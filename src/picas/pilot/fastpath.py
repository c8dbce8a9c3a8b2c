"""The fast path of a runner, in C where it could be compiled: see ``fastpath.c`` for what it does, and what it leaves.

It saves a runner's own work between two short commands, nothing else: without it everything is as it is with it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from picas.pilot.capture import Capture
from picas.pilot.handover import TokenFile
from picas.pilot.jobs import Journal

__all__ = ["Desk", "Ended", "FastPath", "Step", "load"]

_LIBRARY = Path(__file__).with_name("libfastpath.so")
_SWITCH = "PICAS_FASTPATH"
"""A variable of the environment; 0 turns it off."""
_INTERFACE = 1
_MESSAGE_BYTES = 1 << 20
_REPORTS_BYTES = 1 << 18


class Step(IntEnum):
    """Why it came back, as in ``enum step``."""

    IDLE = 0
    GONE = 1
    DUE = 2
    TOLD = 3
    FAILED = 4
    LONG = 5
    ENDED = 6


IN_HAND = frozenset({Step.TOLD, Step.FAILED, Step.LONG, Step.ENDED})
"""Those with a job in hand."""


class Desk(ctypes.Structure):
    """``struct desk``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("jobs", "control", "null")),
        *((name, ctypes.c_int64) for name in ("out_reader", "out_writer", "err_reader", "err_writer", "token")),
        ("token_number", ctypes.c_uint64),
        ("is_home", ctypes.c_int64),
        ("refused", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("refused_count", "batch")),
        *((name, ctypes.c_double) for name in ("patience", "held_back")),
        ("environment", ctypes.POINTER(ctypes.c_char_p)),
        *((name, ctypes.c_char_p) for name in ("token_path", "output_path")),
        ("journal", ctypes.c_void_p),
        ("held", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("message", "reports")),
        *((name, ctypes.c_int64) for name in ("message_room", "reports_room")),
        *((name, ctypes.c_int64) for name in ("is_noted", "message_length", "reports_length", "reports_count")),
        ("oldest", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("pid", "status", "max_rss", "error")),
        *((name, ctypes.c_double) for name in ("start", "begun", "runtime")),
    ]


class Ended(NamedTuple):
    """How a command ended: its wait status, and the most memory it had, in bytes."""

    status: int
    max_rss: int


class FastPath:
    """What a runner's fast path works with. Only one thing at a time: it runs in the runner's only thread."""

    def __init__(
        self,
        library: ctypes.CDLL,
        handles: Mapping[str, int],
        *,
        token: TokenFile,
        output_path: str,
        environ: Mapping[bytes, bytes],
        journal: Journal,
        patience: float,
        held_back: float,
    ) -> None:
        self._serve = library.picas_serve
        self._token = token
        self._message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._reports = ctypes.create_string_buffer(_REPORTS_BYTES)
        lines = [name + b"=" + value for name, value in environ.items()]
        self._environment = (ctypes.c_char_p * (len(lines) + 1))(*lines, None)
        self._journal = journal
        self._numbers = ctypes.c_char.from_buffer(journal.memory)
        self._refused = array("q")
        self.desk = Desk(
            **handles,
            patience=patience,
            held_back=held_back,
            environment=self._environment,
            token_path=os.fsencode(token.path),
            output_path=os.fsencode(output_path),
            journal=ctypes.addressof(self._numbers),
            message=ctypes.addressof(self._message),
            reports=ctypes.addressof(self._reports),
            message_room=_MESSAGE_BYTES,
            reports_room=_REPORTS_BYTES,
        )

    def refuse(self, numbers: Iterable[int]) -> None:
        """Leave these jobs to Python."""
        self._refused = array("q", numbers)
        self.desk.refused, self.desk.refused_count = self._refused.buffer_info()

    def serve(self, out: Capture, err: Capture, batch: int, is_home: bool) -> Step:
        """Run jobs, with output through these pipes, until there is something else to do, or so many have run.

        None is run while this process is not in the folder in which they are to start.
        """
        desk = self.desk
        desk.out_reader, desk.out_writer = out.reader, out.writer
        desk.err_reader, desk.err_writer = err.reader, err.writer
        desk.token, desk.token_number = self._token.handle, self._token.number
        desk.batch, desk.is_home = batch, is_home
        desk.held = self._journal.count
        desk.reports_length = desk.reports_count = desk.is_noted = 0
        step = Step(self._serve(ctypes.byref(desk)))
        self._journal.count = desk.held
        return step

    @property
    def message(self) -> bytes:
        """The job in hand."""
        return ctypes.string_at(self._message, self.desk.message_length)

    @property
    def reports(self) -> bytes:
        """The reports of the jobs that have run, packed one after the other: as many as ``desk.reports_count``."""
        return ctypes.string_at(self._reports, self.desk.reports_length)


def load() -> ctypes.CDLL | None:
    """The compiled half; None where there is none, where it is for another machine or version, or is not wanted."""
    # In C, words are what they are in UTF-8.
    if os.environ.get(_SWITCH) == "0" or sys.getfilesystemencoding() != "utf-8":
        return None
    try:
        library = ctypes.CDLL(str(_LIBRARY))
        is_ours = library.picas_interface() == _INTERFACE << 16 | ctypes.sizeof(Desk)
    except (OSError, AttributeError):
        return None
    return library if is_ours else None
