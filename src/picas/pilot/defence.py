"""How a pilot defends itself and its pool: whose fault each end was is asked, and whether there is room on the disk.

It gathers what `retrying`, `starts` and `room` decide, for the pilot's loop.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from picas.lifecycle import Doc, Outcome, Reason
from picas.pilot import work
from picas.pilot.options import RunOptions
from picas.pilot.retrying import Retrying
from picas.pilot.room import Room
from picas.pilot.starts import Starts

__all__ = ["Defence"]

_EXIT = Reason.EXIT
"""Looked up once: what every good command passes through must cost it nothing."""


class Defence:
    """One pilot's. UsageError when its retry rules cannot be read."""

    def __init__(self, options: RunOptions, pilot: str) -> None:
        self._command = options.command
        self._retrying = Retrying(
            options.retry_on, dry_run=options.retry_dry_run, chance=random.Random(f"{pilot} rules")
        )
        self._starts = Starts()
        places = [Path(tempfile.gettempdir()), *([options.workdir.absolute()] if options.workdir else [])]
        self.room = Room(places, options.disk_floor)

    @property
    def why(self) -> str:
        """Why nothing more should be tried here; empty while there is no such reason."""
        return self._starts.why

    @property
    def claims_nothing(self) -> bool:
        """Whether nothing should be claimed now."""
        return self.room.is_low or bool(self._starts.why)

    def judged(self, doc: Doc, outcome: Outcome) -> Outcome:
        """The outcome of a command, after the rules for failures; a give-back when the node was at fault, not it."""
        if outcome.exit_code == 0 and outcome.reason is _EXIT:
            if self._starts.row:
                self._starts.good()
            return outcome
        if outcome.give_back:
            return outcome
        if outcome.reason is not Reason.EXCEPTION:
            words = work.command_of(doc, self._command)
            if self._starts.ended(doc["_id"], words, outcome):
                return _uncharged(outcome)
        return self._retrying.judged(doc, outcome)

    def killed(self, doc: Doc, outcome: Outcome) -> Outcome:
        """The outcome of a command whose runner was killed with it, likewise."""
        if self._starts.runner_died(doc["_id"]):
            return _uncharged(outcome)
        return self._retrying.judged(doc, outcome)


def _uncharged(outcome: Outcome) -> Outcome:
    return replace(outcome, reason=Reason.STOPPED, exit_code="", give_back=True, attempt=None)
