"""Which jobs were submitted from here, to be asked about later: one JSON line each, in a file of the user's own.

Lines are only added, a second one says what became of a job; the file is written anew when it has grown large.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from picas import files
from picas.schedulers.base import JobState

__all__ = ["Entry", "Journal", "entries", "journal_here"]

_MOST_BYTES = 1_000_000
_MOST_ENTRIES = 2000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A job: ``at`` is when it was submitted, ``absent`` since when its batch system does not know it (unix seconds).

    ``state`` is None until it has ended; ``pool`` is whatever the submitter calls what the jobs work for.
    """

    system: str
    id: str
    name: str
    pool: str
    at: float
    absent: float | None = None
    state: JobState | None = None


class Journal:
    """The file, which need not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entries: Iterable[Entry]) -> None:
        """Write down jobs that were submitted. OSError when that cannot be done."""
        self._append([_as_line(entry) for entry in entries])

    def entries(self, pool: str) -> list[Entry]:
        """The jobs for a pool, in order."""
        return [entry for entry in self._read() if entry.pool == pool]

    def note(self, changes: Iterable[tuple[Entry, float | None, JobState | None]]) -> None:
        """Write down since when jobs are absent, or how they have ended, where that is news."""
        lines = []
        for entry, absent, state in changes:
            if (absent, state) != (entry.absent, entry.state):
                lines.append({"system": entry.system, "id": entry.id, "absent": absent, "state": state})
        if lines:
            self._append(lines)

    def _append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        files.make_folder(self._path.parent)
        with self._locked():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self._path, flags, 0o600), "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(text)
                size = file.tell()
            if size > _MOST_BYTES:
                kept = self._read()[-_MOST_ENTRIES:]
                files.replace(self._path, "".join(json.dumps(_as_line(entry)) + "\n" for entry in kept).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._path.with_suffix(".lock")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> list[Entry]:
        """What the lines come to; one that was cut off, or is not ours, counts as not there."""
        found: dict[tuple[str, str], Entry] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                _take(found, json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue
        return list(found.values())


def journal_here() -> Journal:
    """This user's journal."""
    return Journal(files.state_folder("jobs.jsonl"))


def entries(system: str, pool: str, jobs: Mapping[str, str]) -> list[Entry]:
    """Entries for jobs that were submitted just now, from their ids and names."""
    now = time.time()
    return [Entry(system=system, id=job_id, name=name, pool=pool, at=now) for job_id, name in jobs.items()]


def _take(found: dict[tuple[str, str], Entry], line: dict[str, Any]) -> None:
    key = (str(line["system"]), str(line["id"]))
    if "name" in line:
        # A batch system may give an id again: the job that had it is long over.
        found.pop(key, None)
        found[key] = Entry(
            system=key[0], id=key[1], name=str(line["name"]), pool=str(line["pool"]), at=float(line["at"])
        )
    state = line.get("state")
    if key in found and ("absent" in line or state):
        found[key] = replace(found[key], absent=line.get("absent"), state=JobState(state) if state else None)


def _as_line(entry: Entry) -> dict[str, Any]:
    line = {"at": round(entry.at, 3), "system": entry.system, "id": entry.id, "name": entry.name, "pool": entry.pool}
    return line | {name: value for name, value in (("absent", entry.absent), ("state", entry.state)) if value}
