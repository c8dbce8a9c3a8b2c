"""One job of an autopilot, as its journal has it; and the names by which jobs are found again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from picas.schedulers.base import JobState

__all__ = ["Entry", "fresh_name", "kind_of", "prefix_of"]

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(kw_only=True)
class Entry:
    """A job that was submitted, or is about to be. Instants in unix seconds.

    ``id`` is empty as long as its submission is in doubt. ``state`` is the last that was heard, since ``since``;
    ``missing_at`` is when the batch system first did not know it, ``misses`` how often in a row since then.
    ``heard`` says that its pilot has been heard of in the pool.
    """

    name: str
    kind: str
    at: float
    id: str = ""
    state: JobState = JobState.PENDING
    since: float = 0.0
    reason: str = ""
    node: str = ""
    missing_at: float | None = None
    misses: int = 0
    heard: bool = False
    cancelled_at: float | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether it is not known if there is such a job."""
        return not self.id


def prefix_of(pool: str, site: str) -> str:
    """What the names of all jobs of a site begin with, for one pool."""
    digest = hashlib.sha256(f"{pool}\0{site}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"picas-{site}-{digest[:5]}-"


def fresh_name(prefix: str, kind: str, taken: Collection[str]) -> str:
    """A name that no job has."""
    while True:
        name = f"{prefix}{kind}-{''.join(secrets.choice(_LETTERS) for _ in range(6))}"
        if name not in taken:
            return name


def kind_of(prefix: str, name: str) -> str:
    """Which kind a job of this prefix is of, by its name; empty for none that we gave."""
    kind, _, mark = name.removeprefix(prefix).rpartition("-")
    return kind if name.startswith(prefix) and mark else ""
