"""What a runner is told of a command: its words, its environment, its folder, and what it is held to."""

from __future__ import annotations

import time
from pathlib import Path

from picas.errors import InvalidToken
from picas.lifecycle import fence_of
from picas.pilot import work
from picas.pilot.holdings import Holding, Holdings
from picas.pilot.jobs import Job
from picas.pilot.offering import Offering
from picas.pilot.options import RunOptions
from picas.tokens import dumps

__all__ = ["Briefing"]


class Briefing:
    """Makes jobs of a pilot's tokens; ``deadline`` is when the pilot must end, on the monotonic clock."""

    def __init__(self, options: RunOptions, offering: Offering, holdings: Holdings, deadline: float | None) -> None:
        self._options = options
        self._offering = offering
        self._holdings = holdings
        self._deadline = deadline

    def job(self, holding: Holding, folder: Path) -> Job:
        """The job for a token, its work folder in ``folder`` if it gets one; InvalidToken when it has no command."""
        doc, options = holding.doc, self._options
        argv = work.command_of(doc, options.command)
        if any("\0" in word for word in argv):
            raise InvalidToken(f"token {doc['_id']}: its command holds a NUL character")
        environ = {b"PICAS_TOKEN_ID": doc["_id"].encode(), b"PICAS_FENCE": b"%d" % fence_of(doc)}
        if self._deadline is not None:
            environ[b"PICAS_DEADLINE"] = b"%d" % (time.time() + self._deadline - time.monotonic())
        if options.workdir or options.attach:
            base = options.workdir.absolute() if options.workdir else folder / "work"
            holding.folder = str(work.folder_of(base, doc))
        limit, bounds = options.token_time or 0.0, None
        if holding.kind:
            limit = holding.limit or limit
            grant = self._holdings.grant(holding)
            environ |= self._offering.variables(holding, grant)
            bounds = self._offering.bounds(grant)
        quiet = work.quiet_limit(doc, options.quiet_limit) if options.quiet_limit or "quiet_limit" in doc else 0.0
        return Job(
            holding.number, argv, environ, dumps(doc), limit, options.grace, options.output_cap, holding.folder,
            quiet, bounds,
        )  # fmt: skip
