"""How a pilot is asked to work, and what it tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from picas.lifecycle import State
from picas.pilot.room import DISK_FLOOR
from picas.views import View

__all__ = ["AWAY_GRACE", "GRACE", "Progress", "RunOptions", "RunReport"]

AWAY_GRACE = 15.0
"""Seconds for which a pilot that was told to stop waits for a pool that is away, before it keeps results on disk."""
GRACE = 10.0
"""Seconds between TERM and KILL when a command is ended."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a pilot works; times in seconds, sizes in bytes, None for found or unlimited.

    ``gpus`` are ids, or how many; ``offers`` are resources by names of one's own. ``retry_on`` are rules
    (`picas.retries`), which ``retry_dry_run`` only has written down; ``disk_floor`` must be free for anything to be
    claimed; ``quiet_limit`` ends commands that write nothing for so long, 0 none.
    """

    view: View = field(default_factory=lambda: View(State.TODO))
    command: tuple[str, ...] | None = None
    cores: int | None = None
    memory: float | None = None
    gpus: int | tuple[str, ...] | None = None
    offers: Mapping[str, float] = field(default_factory=dict)
    max_tasks: int | None = None
    max_time: float | None = None
    token_time: float | None = None
    idle: float = 0.0
    max_scrub: int = 0
    attach: tuple[str, ...] = ()
    workdir: Path | None = None
    lease: float = 60.0
    output_cap: int = 1 << 30
    grace: float = GRACE
    retry_on: str = ""
    retry_dry_run: bool = False
    disk_floor: float = DISK_FLOOR
    quiet_limit: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the pilot is; ``todo`` is what waits in its view, None when that was not looked up."""

    done: int
    failed: int
    running: int
    todo: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a pilot did in its life, and why it ended; ``unfit`` when nothing could be started where it ran."""

    done: int
    failed: int
    retried: int
    given_back: int
    superseded: int
    seconds: float
    why: str
    unfit: bool = False
