"""A pilot's results on disk until the pool has them, so that they outlive the pilot.

One folder per pilot, ``pilots/HOST/PILOT`` below the place for kept results, with one file, ``results``: appended to
once per exchange with one fsync, cut back when all in it are settled. The file is locked (flock(2)) for as long as its
pilot lives. Large files are linked into the folder, or, where their disk is another one, left where they are.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from picas.files import make_folder, sync
from picas.lifecycle import Outcome
from picas.pilot.records import FILE_PREFIX, File, head_of, pack
from picas.stores.base import Settlement, TokenStore

__all__ = ["LARGE_BYTES", "PILOTS", "RESULTS", "Spool", "host_folder", "is_worth_keeping", "spool_of"]

PILOTS = "pilots"
RESULTS = "results"
LARGE_BYTES = 1 << 20
"""A file of more than this is linked, not copied into the record."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """The results of one pilot. Nothing is made on disk before the first `write`; ``pool`` is an address."""

    def __init__(self, root: Path, pilot: str, hostname: str, pool: str) -> None:
        self.folder = host_folder(root, hostname) / quote(pilot, safe="")[:180]
        self._head = head_of(pilot, hostname, pool)
        self._handle: int | None = None
        self._size = 0
        self._numbers = 0
        self._large: list[File] = []

    def write(self, settlements: Sequence[Settlement]) -> None:
        """Add results, durably. OSError when that could not be done: the file is then as it was before."""
        worth = [one for one in settlements if is_worth_keeping(one)]
        if not worth:
            return
        handle = self._open()
        linked: list[File] = []
        try:
            data = pack([(one, _small(one), self._link(one, linked)) for one in worth])
            _write(handle, data)
            os.fdatasync(handle)
        except OSError:
            os.ftruncate(handle, self._size)
            _remove(self.folder / one.file for one in linked)
            raise
        self._size += len(data)
        self._large += linked

    def forget(self) -> None:
        """All that was written is settled."""
        if self._handle is None or self._size == len(self._head):
            return
        # Not made durable: whoever finds these results again finds in the pool that it has them.
        os.ftruncate(self._handle, len(self._head))
        self._size = len(self._head)
        _remove(self.folder / one.file for one in self._large)
        self._large = []

    def release(self) -> None:
        """The pilot ends, and leaves its results to whoever hands them in. OSError when a file could not be kept."""
        for one in self._large:
            if not (self.folder / one.file).exists():
                shutil.copyfile(one.path, self.folder / one.file, follow_symlinks=False)
                sync(self.folder / one.file)
        self._close()

    def close(self) -> None:
        """The pilot ends, and all is settled: nothing is left on disk."""
        if self._handle is None:
            return
        self.forget()
        _remove([self.folder / RESULTS])
        self._close()
        for folder in (self.folder, self.folder.parent):
            try:
                folder.rmdir()
            except OSError:  # others have their spools there
                return

    def _open(self) -> int:
        if self._handle is not None:
            return self._handle
        make_folder(self.folder.parent)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self.folder / RESULTS, _NEW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink == 0:
                # Somebody took it for a dead pilot's before it was locked; the next try makes another.
                raise BlockingIOError(errno.EAGAIN, "it was removed")
            _write(handle, self._head)
            os.fsync(handle)
            for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
                sync(folder)
        except OSError:
            _remove([self.folder / RESULTS])
            os.close(handle)
            raise
        self._handle, self._size = handle, len(self._head)
        return handle

    def _link(self, settlement: Settlement, linked: list[File]) -> list[File]:
        found = []
        for name, attachment in settlement.attachments.items():
            if attachment.path is None or _fits(attachment.path):
                continue
            self._numbers += 1
            kind, path = attachment.content_type, os.path.abspath(attachment.path)  # noqa: PTH100 - no link is followed
            one = File(name=name, content_type=kind, file=f"{FILE_PREFIX}{self._numbers:06d}", path=path)
            try:
                os.link(path, self.folder / one.file, follow_symlinks=False)
            except OSError:  # on another disk, or links are not allowed: it stays where it is
                sync(Path(path))
            else:
                sync(self.folder / one.file)
                sync(self.folder)
            linked.append(one)
            found.append(one)
        return found

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None


def spool_of(store: TokenStore, root: Path, pilot: str, hostname: str) -> Spool | None:
    """The spool of a pilot on a store; None where nothing outlives its process, so that results need not either."""
    return Spool(root, pilot, hostname, store.url) if store.capabilities.durable else None


def host_folder(root: Path, hostname: str) -> Path:
    """Where the pilots of a machine have their spools."""
    return root / PILOTS / (quote(hostname, safe="")[:180] or "unknown")


def is_worth_keeping(settlement: Settlement) -> bool:
    """Whether there is a result: of what is merely given back there is none."""
    return isinstance(settlement.outcome, Outcome) and not settlement.outcome.give_back


def _small(settlement: Settlement) -> dict[str, bytes]:
    found = {}
    for name, attachment in settlement.attachments.items():
        if attachment.data is not None:
            found[name] = attachment.data
        elif attachment.path is not None and _fits(attachment.path):
            found[name] = Path(attachment.path).read_bytes()
    return found


def _fits(path: str) -> bool:
    return Path(path).stat().st_size <= LARGE_BYTES


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    os.lseek(handle, 0, os.SEEK_END)
    while view:
        view = view[os.write(handle, view) :]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
