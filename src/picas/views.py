"""Views: the named selections that pilots claim from and people look at.

A design document is a set of views with one extra condition; `MONITOR` has none. ``SingleCore/todo`` is the
view ``todo`` of the design document ``SingleCore``; a bare ``todo`` is one of ``Monitor``. On CouchDB there are also
views that people wrote in JavaScript, under whatever names (`Design.handwritten`, `View.name`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from picas.errors import NoSuchView, UsageError
from picas.lifecycle import State
from picas.selectors import Selector, parse

__all__ = ["MONITOR", "VIEW_NAMES", "Design", "View", "no_handwritten"]

VIEW_NAMES = tuple(str(state) for state in State)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True)
class Design:
    """A design document: its name, and the condition that its views add to the state."""

    name: str
    selector: Selector | None = None
    javascript: Mapping[str, Mapping[str, str]] | None = field(default=None, hash=False)

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

    @classmethod
    def handwritten(cls, name: str, javascript: Mapping[str, Mapping[str, str]]) -> Design:
        """A design document whose views somebody wrote: by name the ``map`` and perhaps the ``reduce`` of each.

        Unlike those made here its name may be anything that its database takes.
        """
        design = object.__new__(cls)
        for attribute, value in (("name", name), ("selector", None), ("javascript", dict(javascript))):
            object.__setattr__(design, attribute, value)
        return design


MONITOR = Design("Monitor")


@dataclass(frozen=True)
class View:
    """One view of a design document; with a ``name`` one that people wrote, of tokens in ``state``."""

    state: State
    design: str = MONITOR.name
    name: str = ""

    @classmethod
    def parse(cls, text: str, *, any_name: bool = False) -> View:
        """A view from ``todo``, ``Monitor/todo`` or ``SingleCore/todo``; NoSuchView for anything else.

        With ``any_name`` a name that is none of ours is that of a view to claim from that people wrote.
        """
        design, _, name = text.rpartition("/")
        if name in VIEW_NAMES:
            return cls(State(name), design or MONITOR.name)
        if not any_name or not name:
            raise NoSuchView(f"no view named {name!r}", hint=f"views are {', '.join(VIEW_NAMES)}")
        return cls(State.TODO, design or MONITOR.name, name)

    def __str__(self) -> str:
        return f"{self.design}/{self.name or self.state}"

    def in_design(self) -> str:
        """Its name within its design document."""
        return self.name or str(self.state)


def no_handwritten(view: View | None) -> None:
    """NoSuchView for a view that only CouchDB can have; for the stores that run no JavaScript."""
    if view is not None and view.name:
        raise NoSuchView(f"no view named {view.name!r}", hint=f"views of this pool are {', '.join(VIEW_NAMES)}")
