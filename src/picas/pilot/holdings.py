"""The tokens that a pilot holds and has not finished: which of them wait, which are with the runners."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from picas import tokens
from picas.errors import InvalidToken
from picas.lifecycle import Doc, fence_of, is_suspect

__all__ = ["Holding", "Holdings"]

_WORK_AHEAD = 0.25
"""Seconds of work to have at hand for each core, so that no runner waits for the store."""
_MOST_AHEAD = 400


@dataclass(slots=True)
class Holding:
    """One claimed token: its document, the cores it takes, its work folder, and why it is being ended if it is."""

    number: int
    doc: Doc
    cores: int
    folder: str | None = None
    sent: bool = False


class Holdings:
    """What a pilot holds, and how much more it should claim."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._held: dict[int, Holding] = {}
        self._waiting: deque[int] = deque()
        self._next = 0
        self._sent_cores = 0
        self._wide_sent = 0
        self._mean: float | None = None

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._held.values()))

    @property
    def running(self) -> int:
        """How many are being run, at most."""
        return min(len(self._held) - len(self._waiting), self._cores)

    def add(self, doc: Doc) -> None:
        """Take in a claimed token, to be sent after those that came before."""
        try:
            cores = max(1, int(tokens.requirements(doc).cores))
        except InvalidToken:
            cores = 1
        self._held[self._next] = Holding(self._next, doc, min(cores, self._cores))
        self._waiting.append(self._next)
        self._next += 1

    def next(self) -> Holding | None:
        """The token to send next, if it may go now.

        Tokens of one core queue up at the runners. A wider one goes when its cores are free, and nothing is
        queued while it runs; until then nothing passes it, so that it cannot be starved.
        """
        if not self._waiting:
            return None
        holding = self._held[self._waiting[0]]
        crowded = self._sent_cores + holding.cores > self._cores
        if crowded and (holding.cores > 1 or self._wide_sent):
            return None
        return holding

    def sent(self, holding: Holding) -> None:
        """Note that the token at the head has gone to the runners."""
        self._waiting.popleft()
        holding.sent = True
        self._sent_cores += holding.cores
        self._wide_sent += holding.cores > 1

    def get(self, number: int) -> Holding | None:
        """The token with this number, if it is still held."""
        return self._held.get(number)

    def drop(self, number: int) -> Holding | None:
        """Take a token out, whatever became of it."""
        holding = self._held.pop(number, None)
        if holding is not None and holding.sent:
            self._sent_cores -= holding.cores
            self._wide_sent -= holding.cores > 1
        elif holding is not None:
            self._waiting.remove(number)
        return holding

    def measured(self, runtime: float) -> None:
        """Learn from one more run how long runs take: quickly, since kinds of tokens come in blocks."""
        self._mean = runtime if self._mean is None else 0.9 * self._mean + 0.1 * runtime

    @property
    def may_take_suspects(self) -> bool:
        """Whether a suspect may be claimed: only when nothing else would be lost with it."""
        return not self._held

    @property
    def wanted(self) -> int:
        """How many tokens to claim now: none as long as half of what should be at hand is."""
        if len(self._held) == 1 and any(is_suspect(holding.doc) for holding in self._held.values()):
            return 0
        ahead = self._ahead()
        return ahead - len(self._held) if len(self._held) < max(self._cores, ahead // 2) else 0

    def lost(self, held: dict[str, int]) -> list[Holding]:
        """Those that, by the store's word, are not this pilot's any more."""
        return [holding for holding in self if held.get(holding.doc["_id"]) != fence_of(holding.doc)]

    def _ahead(self) -> int:
        if self._mean is None:
            return self._cores
        return self._cores + min(_MOST_AHEAD, int(_WORK_AHEAD * self._cores / max(self._mean, 1e-4)))
