"""What an autopilot has done, on disk: before a job is submitted, and after. Whoever is killed between finds it here.

One file per pool and site, in the user's state folder, for its owner alone; with a lock, so that of two autopilots of a
site on one machine one acts.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from picas.autopilot.backoff import Backoff
from picas.autopilot.entries import Entry
from picas.autopilot.nodes import Node, Nodes
from picas.errors import ConfigError, Conflict
from picas.files import make_folder, replace, state_folder, sync
from picas.schedulers.base import JobState

__all__ = ["Journal", "Ledger", "journals_folder"]

_VERSION = 1


@dataclass(kw_only=True)
class Ledger:
    """All that is known of a site. ``looked_at`` is when the batch system last answered, ``tried_at`` when it was
    last asked; ``quiet_since`` is since when there has been no work, by kind; ``stillborn`` counts jobs that ended
    without having been pilots."""

    jobs: dict[str, Entry] = field(default_factory=dict)
    nodes: Nodes = field(default_factory=Nodes)
    looking: Backoff = field(default_factory=Backoff)
    submitting: Backoff = field(default_factory=Backoff)
    stillborn: Backoff = field(default_factory=Backoff)
    looked_at: float = 0.0
    tried_at: float = 0.0
    quiet_since: dict[str, float] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[Entry]:
        """The jobs of a kind."""
        return [entry for entry in self.jobs.values() if entry.kind == kind]


def journals_folder(environ: Mapping[str, str]) -> Path:
    """Where journals lie: ``PICAS_AUTOPILOT``, else the user's state folder."""
    if environ.get("PICAS_AUTOPILOT"):
        return Path(environ["PICAS_AUTOPILOT"])
    return state_folder("autopilot")


class Journal:
    """A ledger in a file. `lock` before anything is written; `close` gives the lock back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger()
        self._lock: int | None = None

    def lock(self) -> None:
        """Be the one that acts; Conflict when another process is."""
        make_folder(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            hint = f"end it, or leave the site to it; the lock is {self.path.with_suffix('.lock')}"
            raise Conflict("another autopilot acts for this site on this machine", hint=hint) from None

    def read(self) -> None:
        """Take up what was written; nothing when there is no file."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        try:
            self.ledger = _ledger(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            hint = "move it away: the jobs are then found again by their names"
            raise ConfigError(f"{self.path}: not a journal of picas: {error}", hint=hint) from None

    def write(self) -> None:
        """Have it on disk before this returns."""
        # Twice for each job that is submitted, of thousands: neither copied first nor indented.
        values = {"version": _VERSION, **vars(self.ledger)}
        replace(self.path, json.dumps(values, default=vars).encode("utf-8", "surrogatepass"))
        sync(self.path.parent)

    def close(self) -> None:
        """Let another act."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _ledger(values: dict[str, Any]) -> Ledger:
    if values["version"] != _VERSION:
        raise ValueError(f"it is of version {values['version']!r}")
    jobs = {name: Entry(**{**entry, "state": JobState(entry["state"])}) for name, entry in values["jobs"].items()}
    nodes = Nodes({name: Node(**node) for name, node in values["nodes"].items()})
    backoffs = {name: Backoff(**values[name]) for name in ("looking", "submitting", "stillborn")}
    return Ledger(
        jobs=jobs,
        nodes=nodes,
        looked_at=float(values["looked_at"]),
        tried_at=float(values["tried_at"]),
        quiet_since={kind: float(at) for kind, at in values["quiet_since"].items()},
        **backoffs,
    )
