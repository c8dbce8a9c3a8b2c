"""Nodes on which pilots do not come up: set apart after three in a row, and tried again after an hour."""

from __future__ import annotations

import re
from dataclasses import dataclass

from picas.errors import UNFIT
from picas.schedulers.base import Job, JobState

__all__ = ["APART", "Node", "Nodes", "is_stillborn"]

APART = 3600.0
"""Seconds for which a node is set apart."""
_IN_A_ROW = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(kw_only=True)
class Node:
    """How many pilots in a row did not come up there, and why; until when it is set apart, 0 when it is not."""

    failures: int = 0
    reason: str = ""
    until: float = 0.0


class Nodes(dict[str, Node]):
    """What is known of nodes, by name."""

    def failed(self, name: str, reason: str, now: float) -> bool:
        """A pilot did not come up on a node; whether it is set apart by that."""
        if not _NAME.fullmatch(name):
            return False
        node = self.setdefault(name, Node())
        node.failures += 1
        node.reason = reason
        if node.failures < _IN_A_ROW or node.until > now:
            return False
        node.until = now + APART
        return True

    def worked(self, name: str) -> None:
        """A pilot came up there."""
        self.pop(name, None)

    def expire(self, now: float) -> list[str]:
        """Take back nodes whose time is over; which. The next failure there sets them apart again."""
        over = [name for name, node in self.items() if node.until and (node.until <= now or node.until > now + APART)]
        for name in over:
            self[name].until, self[name].failures = 0.0, _IN_A_ROW - 1
        return over

    def apart(self) -> list[str]:
        """The nodes that are set apart, by name."""
        return sorted(name for name, node in self.items() if node.until)


def is_stillborn(job: Job, *, heard: bool) -> bool:
    """Whether a job ended without having been a pilot: it could start nothing, or failed before it was heard of."""
    failed = job.state in (JobState.FAILED, JobState.NODE)
    return failed and (job.exit_code == UNFIT or not heard)
