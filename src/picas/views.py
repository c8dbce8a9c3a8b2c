"""Views: the named selections that pilots claim from and people look at.

A design document is a set of views with one extra condition; `MONITOR` has none. ``SingleCore/todo`` is the
view ``todo`` of the design document ``SingleCore``; a bare ``todo`` is one of ``Monitor``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from picas.errors import UsageError
from picas.lifecycle import State
from picas.selectors import Selector, parse

__all__ = ["MONITOR", "VIEW_NAMES", "Design", "View"]

VIEW_NAMES = tuple(str(state) for state in State)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True)
class Design:
    """A design document: its name, and the condition that its views add to the state."""

    name: str
    selector: Selector | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"design document name {self.name!r} is not allowed",
                hint="letters, digits and _ . + - only, a letter or digit first, at most 100",
            )

    @classmethod
    def from_source(cls, name: str, source: Mapping[str, Any] | None) -> Design:
        """A design document from its stored form, a Mango selector or None."""
        return cls(name, parse(source) if source else None)


MONITOR = Design("Monitor")


@dataclass(frozen=True)
class View:
    """One view of a design document."""

    state: State
    design: str = MONITOR.name

    @classmethod
    def parse(cls, text: str) -> View:
        """A view from ``todo``, ``Monitor/todo`` or ``SingleCore/todo``; UsageError for anything else."""
        design, _, name = text.rpartition("/")
        if name not in VIEW_NAMES:
            raise UsageError(f"no view named {name!r}", hint=f"views are {', '.join(VIEW_NAMES)}")
        return cls(State(name), design or MONITOR.name)

    def __str__(self) -> str:
        return f"{self.design}/{self.state}"
