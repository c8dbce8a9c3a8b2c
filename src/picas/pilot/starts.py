"""Whether commands can be started here at all. Decisions only.

A node on which nothing can be started fails one token after the other, faster than any good node works: it would empty
the pool. Three failed starts in a row, of three tokens, are enough to end the pilot.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from picas.lifecycle import Outcome, Reason

__all__ = ["IN_A_ROW", "Starts"]

IN_A_ROW = 3

_AT_ONCE = 1.0
"""Seconds within which bash says that it cannot find or execute a command."""
_OF_THE_COMMAND = frozenset(
    errno.errorcode[number]
    for number in (
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOEXEC,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.E2BIG,
        errno.EINVAL,
        errno.ETXTBSY,
        errno.EILSEQ,
        errno.ELIBBAD,
    )
)
"""What one bad command gives anywhere: these count while it is the same program. All other errors are the node's."""


class Starts:
    """Starts that failed in a row; ``why`` is empty until the pilot should give up, and then says it in a line."""

    def __init__(self) -> None:
        self.why = ""
        self.row: dict[str, str] = {}
        """Tokens whose starts failed since the last good one, and the program, where it may be its fault."""

    def good(self) -> None:
        """A command was started."""
        self.row.clear()

    def ended(self, token_id: str, words: Sequence[str], outcome: Outcome) -> bool:
        """A command has ended otherwise than well; whether its token is to go back uncharged."""
        problem, program = _start_problem(words, outcome)
        if not problem:
            self.good()
            return False
        return self._bad(token_id, problem, program)

    def runner_died(self, token_id: str) -> bool:
        """A runner was killed with what it ran; whether the token is to go back uncharged."""
        return self._bad(token_id, "its runner was killed", "")

    def _bad(self, token_id: str, problem: str, program: str) -> bool:
        if self.why:
            return True
        if program and any(other not in (program, "") for other in self.row.values()):
            self.row.clear()
        self.row[token_id] = program
        if len(self.row) >= IN_A_ROW:
            blamed = "something is wrong with this node, or with the command" if program else "this node is at fault"
            self.why = f"{IN_A_ROW} starts in a row failed, the last of token {token_id} ({problem}): {blamed}"
        return False


def _start_problem(words: Sequence[str], outcome: Outcome) -> tuple[str, str]:
    """What kept a command from starting, and the program where that may be its fault; empty when it did start."""
    attempt: Any = outcome.attempt or {}
    program = _program(words)
    if outcome.reason is Reason.START_FAILED:
        name = str(attempt.get("errno", ""))
        return f"{program:.60}: {name}", program if name in _OF_THE_COMMAND else ""
    by_bash = words[:2] == ["bash", "-c"] and outcome.reason is Reason.EXIT and outcome.exit_code in (126, 127)
    if by_bash and attempt.get("runtime", _AT_ONCE) < _AT_ONCE:
        return f"bash: {program:.60}: exit code {outcome.exit_code}", program
    return "", ""


def _program(words: Sequence[str]) -> str:
    if words[:2] == ["bash", "-c"]:
        return next(iter(words[2].split()), "")
    return words[0] if words else ""
