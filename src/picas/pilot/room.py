"""Room on the disk where a pilot writes: without it the pilot claims nothing, and ends commands that fill what is left.

Nothing is looked at more often than every few seconds, and no token costs a look.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from picas.amounts import bytes_text
from picas.pilot.holdings import Holding

__all__ = ["DISK_FLOOR", "Room"]

log = logging.getLogger("picas.pilot")

DISK_FLOOR = 2_000_000_000
"""Bytes that must be free for a pilot to claim; at half of that the commands that fill the disk are ended."""

_EVERY = 2.0
_EVERY_WHEN_LOW = 1.0
_ASK_POOL_EVERY = 10.0
_MOST_FILES = 100_000
"""Files of a work folder that are looked at to see whether it grows."""


class _Crew(Protocol):
    def warn_full(self) -> None: ...

    def cancel(self, numbers: Iterable[int], why: str, grace: float) -> None: ...


class Room:
    """The free room in some folders, of which the least counts. With a floor of 0 none is too little."""

    def __init__(self, folders: Iterable[Path], floor: float) -> None:
        self.is_low = False
        self._folders = list(folders)
        self._floor = floor
        self._look_at = 0.0 if floor > 0 else float("inf")
        self._ask_at = 0.0
        self._sizes: dict[int, int] = {}

    def look(self, crew: _Crew, holdings: Iterable[Holding], grace: float) -> None:
        """When it is time: note whether there is room, and have those ended that fill the last of it."""
        now = time.monotonic()
        if now < self._look_at:
            return
        free, folder = min((_free(folder), folder) for folder in self._folders)
        self._note(free, folder)
        self._look_at = now + (_EVERY_WHEN_LOW if self.is_low else _EVERY)
        if free >= self._floor / 2:
            self._sizes.clear()
            return
        # Runners know how much output they keep; what is in work folders is seen from here.
        crew.warn_full()
        sizes = {holding.number: _size(Path(holding.folder)) for holding in holdings if holding.sent and holding.folder}
        growing = [number for number, size in sizes.items() if size > self._sizes.get(number, size)]
        self._sizes = sizes
        for number in growing:
            log.warning("only %s are left in %s: a command that fills it is ended", bytes_text(free), folder)
            crew.cancel([number], "disk", grace)

    def may_ask(self) -> bool:
        """Whether it is time to ask the pool if any token waits at all for there to be room."""
        now = time.monotonic()
        if now < self._ask_at:
            return False
        self._ask_at = now + _ASK_POOL_EVERY
        return True

    def _note(self, free: float, folder: Path) -> None:
        was, self.is_low = self.is_low, free < self._floor
        if self.is_low and not was:
            log.warning(
                "only %s are free in %s, less than the %s of --disk-floor: claiming nothing until there is room",
                bytes_text(free),
                folder,
                bytes_text(self._floor),
            )
        elif was and not self.is_low:
            log.warning("there is room in %s again", folder)


def _free(folder: Path) -> float:
    """Bytes that a user may still write in there, or in the nearest folder above that is there."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            break
        return float(found.f_bavail * found.f_frsize)
    return float("inf")


def _size(folder: Path) -> int:
    """Bytes on the disk below a folder."""
    total = seen = 0
    for place, _, names in os.walk(folder):
        for name in names:
            seen += 1
            try:
                total += os.lstat(Path(place, name)).st_blocks * 512
            except OSError:
                continue
        if seen > _MOST_FILES:
            break
    return total
