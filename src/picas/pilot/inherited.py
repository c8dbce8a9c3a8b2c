"""The spool of a pilot that is dead: found, locked, read, and removed when its results have gone where they belong."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from picas.files import matching
from picas.lifecycle import fence_of
from picas.pilot.records import FILE_PREFIX, VERSION, Contents, File, read
from picas.pilot.spool import PILOTS, RESULTS
from picas.stores.base import Attachment, Settlement

__all__ = ["DAMAGED", "Inherited", "folders", "open_spool", "sweep"]

DAMAGED = "damaged"
"""Where spools lie of which something could not be read."""


@dataclass
class Inherited:
    """A dead pilot's spool, locked as long as this is open. Of each claim it has the last result."""

    folder: Path
    pilot: str
    hostname: str
    pool: str
    damage: str
    results: list[Settlement]
    missing: dict[int, str]
    """Of results that lack a file: its name, by the result's place."""
    _handle: int

    def remove(self, root: Path) -> Path | None:
        """All of it has gone where it belongs: remove it; a damaged one is kept aside, and its new place returned."""
        place = None
        if self.damage:
            place = root / DAMAGED / f"{self.folder.name}-{os.urandom(3).hex()}"
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.rename(place)
        else:
            _discard(self.folder)
        self.close()
        return place

    def close(self) -> None:
        """Unlock it."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def folders(place: Path) -> Iterator[Path]:
    """Spool folders of pilots in a folder: that of kept results, of all machines, of one, or of one pilot itself."""
    for pattern in (RESULTS, f"*/{RESULTS}", f"*/*/{RESULTS}", f"{PILOTS}/*/*/{RESULTS}"):
        for path in matching(place, pattern):
            if not path.parent.is_symlink() and DAMAGED not in path.parts[len(place.parts) :]:
                yield path.parent


def open_spool(folder: Path) -> Inherited | str | None:
    """A pilot's spool; None when there is nothing in it, and why it has to be left alone otherwise.

    OSError when it cannot be read.
    """
    try:
        handle = os.open(folder / RESULTS, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    kept = False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return "it is no file"
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "its pilot lives, or somebody else is at it"
        if not _is_still(folder / RESULTS, handle):
            return None
        contents = read(_whole(handle))
        if not contents.head and not contents.damage:
            # Its pilot died when it made it; or is about to lock it, and will see that it is gone.
            _discard(folder)
            return None
        found = _inherited(folder, contents, handle)
        kept = isinstance(found, Inherited)
        return found
    finally:
        if not kept:
            os.close(handle)


def _inherited(folder: Path, contents: Contents, handle: int) -> Inherited | str:
    head = contents.head
    if head.get("picas", VERSION) != VERSION:
        return "a newer picas wrote it"
    last = {(one.doc["_id"], fence_of(one.doc)): (one, files) for one, files in contents.results}
    results: list[Settlement] = []
    missing: dict[int, str] = {}
    owner = os.fstat(handle).st_uid
    for settlement, files in last.values():
        found = {one.name: _find(folder, one, owner) for one in files}
        there = {name: one for name, one in found.items() if one is not None}
        if len(there) < len(found):
            missing[len(results)] = next(name for name, one in found.items() if one is None)
        results.append(replace(settlement, attachments={**settlement.attachments, **there}))
    words = {name: str(head.get(name, "")) for name in ("pilot", "hostname", "pool")}
    return Inherited(folder=folder, damage=contents.damage, results=results, missing=missing, _handle=handle, **words)


def _find(folder: Path, file: File, owner: int) -> Attachment | None:
    """A large file: in the folder, or where it lay. Only a regular one of the spool's own owner is taken."""
    places = [Path(file.path)]
    if file.file.startswith(FILE_PREFIX) and "/" not in file.file:
        places.insert(0, folder / file.file)
    for place in places:
        try:
            known = place.lstat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(known.st_mode) and known.st_uid == owner:
            return Attachment(content_type=file.content_type, path=str(place))
    return None


def _whole(handle: int) -> bytes:
    parts = []
    while part := os.read(handle, 1 << 24):
        parts.append(part)
    return b"".join(parts)


def _is_still(path: Path, handle: int) -> bool:
    """Whether a file that was opened, and then locked, has not been removed in between."""
    try:
        now = path.lstat()
    except OSError:
        return False
    return os.path.samestat(now, os.fstat(handle))


def _discard(folder: Path) -> None:
    """Remove a spool: large files first, so that whoever dies on the way leaves what still says whose they were."""
    for path in matching(folder, f"{FILE_PREFIX}*"):
        path.unlink(missing_ok=True)
    (folder / RESULTS).unlink(missing_ok=True)
    sweep(folder.parent)


def sweep(home: Path) -> None:
    """Remove what is empty of a machine's folder of spools: whoever removes one may die before its folder is gone."""
    for folder in [*matching(home, "*"), home]:
        try:
            folder.rmdir()
        except OSError:  # there is something in it
            continue
