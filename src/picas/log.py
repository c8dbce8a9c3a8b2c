"""Logging for programs of ours that people run. Importing picas sets up nothing; a library has no say in this."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

__all__ = ["set_up"]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Lines(logging.Formatter):
    def __init__(self, clean: Callable[[object], str]) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        return self._clean(f"picas: {record.getMessage()}")


def set_up(verbosity: int, clean: Callable[[object], str] = str) -> None:
    """Send what picas logs to stderr, a line each: warnings, at 1 what is going on, at 2 every call to a store."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(clean))
    log = logging.getLogger("picas")
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(_LEVELS[min(verbosity, 2)])
