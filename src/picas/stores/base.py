"""The contract between picas and a database: `TokenStore`, about a dozen verbs on many documents at once.

Values go in and out, never types of a driver; errors are those of `picas.errors`. What can be derived from them is
in `picas.pool`. A store is done when the suite in `picas.testing` passes on it.

Rules for every store:

- ``_rev`` is optimistic concurrency for everyone: `update` and `delete` act on a document only as long as its
  revision is the one given. The *fence* is what makes settling safe: `exchange` applies an outcome to the
  document as it is stored now, whatever its revision, if and only if the claim is still in force
  (`lifecycle.holds`), and answers `ClaimLost` for that row otherwise, changing nothing.
- Time is the store's: `now`, times in claims, and the silence of pilots come from one clock per store.
- A token that waits for others (``after``) becomes ready in the same step in which the last of them is done.
- A store belongs to the thread that opened it; only `wait` may be called from another.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from picas.errors import ClaimLost, Conflict, InvalidToken, Unsupported
from picas.lifecycle import Claimant, Doc, Edit, Outcome, State, state_of
from picas.selectors import Selector
from picas.stores.live import Tail
from picas.stores.steering import Pausable
from picas.stores.viewserver import ViewServer
from picas.tokens import Requirements
from picas.views import Design, View

__all__ = [
    "Attachment",
    "Beat",
    "Capabilities",
    "Claim",
    "Exchange",
    "Loaded",
    "Page",
    "PilotRecord",
    "Problem",
    "Settlement",
    "Tail",
    "TokenStore",
    "lost",
]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store can do; the core asks this, never which store it is."""

    durable: bool
    """What was acknowledged survives the end of the process and of the machine."""
    shared: bool
    """Several processes can work on it at once."""
    atomic_load: bool
    """`load` adds all documents or none."""
    local: bool = False
    """It is on this machine: what is settled is on its disk at once, or is away as long as the machine itself."""
    javascript: bool = False
    """It has views that people write in JavaScript, and users: `TokenStore.server` is there."""
    wakes_for_work_only: bool = False
    """`TokenStore.wait` wakes for tokens that came to wait, not for every change."""
    strict_order: bool = True
    """Of equal priority the oldest is claimed first, and a claim gets all it asks for while there are as many. Else
    that is so for a pilot that is alone: of several each begins at a place of its own, and may get fewer."""
    kept_counts: bool = False
    """`TokenStore.count` of all tokens reads no token, however many there are."""
    roles: bool = False
    """Whoever makes a pool gives others the rights to work it: `TokenStore.grant`."""
    pauses_at_once: bool = True
    """`TokenStore.pause` holds for every claim from then on; else other handles obey with their next beat."""
    exact_digests: bool = True
    """The digest in the stub of an attachment is that of its bytes."""
    exact_numbers: bool = True
    """Numbers keep their kind and sign: 1.0 does not come back as 1, nor -0.0 as 0.0."""
    live_output: bool = False
    """What running commands write can be followed: `TokenStore.follow` and its like."""
    tells_followers: bool = False
    """A pilot is told at once that somebody follows, without asking: `TokenStore.has_followers`."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that belongs to a token: its bytes, or where they lie on disk when they are many."""

    content_type: str = "application/octet-stream"
    data: bytes | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A wish for up to ``count`` tokens of a view, of which none needs more than the ``offer``.

    A token that one more loss would end (`lifecycle.is_suspect`) is claimed alone, and only with ``suspects``, so that
    those which were merely beside the culprit get through. The claim stops short of it otherwise.
    """

    view: View
    count: int
    claimant: Claimant
    offer: Requirements | None = None
    suspects: bool = True


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """The end of one claim: the document as claimed (it bears the fence), what became of it, and its files."""

    doc: Doc
    outcome: Outcome | Edit
    attachments: Mapping[str, Attachment] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Answers of `TokenStore.exchange`: a document per settlement, and what was claimed.

    Instead of a document there is `ClaimLost` for a claim that is over, and `InvalidToken` for an outcome whose
    fields no store takes; the token is then still locked.
    """

    settled: list[Doc | Conflict | InvalidToken]
    claimed: list[Doc]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """How many documents `TokenStore.load` added, and how many ids were there already."""

    added: int
    existing: int


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some documents of a selection, and the cursor for the next page, None on the last one."""

    docs: list[Doc]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class PilotRecord:
    """What a pilot says of itself with each beat; ``silent``, ``watched`` and ``orders`` are added by the store.

    ``lease``, ``silent`` and ``watched`` are seconds, ``started_at`` unix seconds; ``orders`` is empty, ``drain`` or
    ``stop``. ``silent`` is for how long nothing was heard by the store's clock; ``watched`` for how long whoever asks
    has seen that itself, where pilots and store can lose sight of each other, else it is without end. ``holding`` is
    how many claims the pilot knows of, None when it does not say: one that says 0 need not be told of any. ``memory``
    (bytes), ``gpus`` (how many), ``offers`` (by name) are what it shares out, ``ends_at`` (unix seconds) when it must
    end, None for what it does not say. ``live`` pilots send output to followers. ``busy`` cores are given to commands,
    which used ``cpu`` on average since the last beat and hold ``memory_used`` bytes. ``job_name`` is its batch job's.
    """

    id: str
    hostname: str
    pid: int
    started_at: float
    lease: float
    view: str = "Monitor/todo"
    cores: int = 1
    running: int = 0
    finished: int = 0
    holding: int | None = None
    job: Mapping[str, str | None] = field(default_factory=dict)
    memory: float | None = None
    gpus: int | None = None
    offers: Mapping[str, float] = field(default_factory=dict)
    ends_at: float | None = None
    live: bool = False
    busy: int | None = None
    cpu: float | None = None
    memory_used: int | None = None
    job_name: str = ""
    orders: str = ""
    silent: float = 0.0
    watched: float = math.inf

    @property
    def alive(self) -> bool:
        """Whether the pilot has been heard of within its lease."""
        return self.silent <= self.lease

    @property
    def lapsed(self) -> bool:
        """Whether its lease is over for certain, so that its tokens may be given back."""
        return not self.alive and self.watched > self.lease


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a pilot learns from a beat: its claims (id to fence), which of them are cancelled or followed; orders."""

    held: Mapping[str, int]
    cancelled: frozenset[str] = frozenset()
    orders: str = ""
    followed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something `TokenStore.check` found: in words, and whether it was mended."""

    text: str
    mended: bool = False


class TokenStore(Pausable):
    """A database that holds one pool."""

    capabilities: Capabilities
    url: str
    """The address, without secrets."""
    server: ViewServer | None = None
    """What only CouchDB has, with ``capabilities.javascript``."""

    @abstractmethod
    def now(self) -> float:
        """The store's time, unix seconds."""

    @abstractmethod
    def put(self, docs: Sequence[Doc], *, as_given: bool = False) -> list[str | Conflict]:
        """Add documents; a revision for each, or `Conflict` for an id that exists. InvalidToken refuses all.

        A token gets the fields that every token has, unless it is to be stored ``as_given``: with whatever a program
        put into it, under names too that picas uses.
        """

    @abstractmethod
    def load(self, docs: Iterable[Doc]) -> Loaded:
        """Add any number of documents from an iterator, in flat memory; existing ids are left as they are.

        An id that comes twice is InvalidToken. With ``capabilities.atomic_load`` an exception leaves nothing added.
        """

    @abstractmethod
    def get(self, ids: Sequence[str]) -> list[Doc | None]:
        """The documents with these ids, in their order, None for each that is missing."""

    @abstractmethod
    def update(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        """Replace documents whose ``_rev`` is current; the new revision or `Conflict` for each, in order."""

    @abstractmethod
    def delete(self, docs: Sequence[Doc]) -> list[bool]:
        """Delete documents whose ``_rev`` is current, with their attachments; whether each was deleted."""

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        """Settle what is finished and claim what is next, in one step; either may be empty.

        Claims come in order of priority, highest first, then age. A token whose ``not_before`` is to come is left.
        The settled documents come back as stored. Settling again what was settled is `ClaimLost`.
        """

    @abstractmethod
    def page(
        self, view: View | None, *, after: str | None = None, limit: int = 100, where: Selector | None = None
    ) -> Page:
        """A page of the tokens of a view, or of all documents (None), that also match ``where``.

        The order is the store's, the same from page to page; documents that stay put are seen exactly once.
        """

    @abstractmethod
    def count(self, design: str = "Monitor", where: Selector | None = None) -> dict[State, int]:
        """How many tokens of a design document are in each state (all five are there)."""

    @abstractmethod
    def next_ready(self, view: View) -> float | None:
        """Seconds until a token of the view can be claimed: 0 now, None when there is none at all."""

    @abstractmethod
    def put_attachment(
        self,
        token_id: str,
        name: str,
        data: IO[bytes],
        *,
        content_type: str = "application/octet-stream",
        fence: int | None = None,
    ) -> str:
        """Store a file, read in chunks, under a name of the token; the new revision.

        With a fence only while that claim holds: `ClaimLost` otherwise, and nothing is changed.
        """

    @abstractmethod
    def get_attachment(self, token_id: str, name: str) -> Iterator[bytes]:
        """A file's bytes in chunks; KeyError when there is none of that name (before the first chunk)."""

    @abstractmethod
    def delete_attachment(self, token_id: str, name: str) -> bool:
        """Remove a file from a token; whether there was one."""

    @abstractmethod
    def beat(self, record: PilotRecord) -> Beat:
        """Renew a pilot's lease with what it says of itself, and tell it what became of its claims."""

    @abstractmethod
    def pilots(self) -> list[PilotRecord]:
        """Every pilot that has not signed off, with how long it has been silent."""

    @abstractmethod
    def order(self, pilot: str, orders: str) -> bool:
        """Leave orders for a pilot, read with its next beat; whether it is known."""

    @abstractmethod
    def forget(self, pilot: str) -> None:
        """Remove a pilot's record: it has signed off, or its tokens were given back."""

    @abstractmethod
    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        """Ask a pilot for what a token's command writes, for so long unless asked again; whether it is known."""

    @abstractmethod
    def has_followers(self, pilot: str) -> bool:
        """Whether somebody may have come to follow the pilot since this was last asked; costs no request.

        Always False without ``capabilities.tells_followers``.
        """

    @abstractmethod
    def followed(self, pilot: str) -> frozenset[str]:
        """The tokens of a pilot that somebody follows now."""

    @abstractmethod
    def send_tails(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        """Put what commands wrote beside the pilot's record, instead of what was there; the tokens that are followed.

        No token is changed by it, and nobody who waits for work is woken by it where that can be helped.
        """

    @abstractmethod
    def tails(self, pilot: str) -> list[Tail]:
        """What a pilot sent last."""

    @abstractmethod
    def install(self, design: Design) -> None:
        """Add or replace a design document."""

    @abstractmethod
    def uninstall(self, name: str) -> bool:
        """Remove a design document; whether it was there. ``Monitor`` stays."""

    @abstractmethod
    def designs(self) -> list[Design]:
        """All design documents, ``Monitor`` first."""

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Block until something changed in the pool, at most so long; whether it did. Callable from any thread.

        With ``capabilities.wakes_for_work_only`` what counts are tokens that came to wait.
        """

    @abstractmethod
    def check(self, *, mend: bool = False) -> list[Problem]:
        """What is wrong with the database itself; nothing when the list is empty."""

    def findings(self) -> Iterator[tuple[str, str]]:
        """What there is to know of the server, each with ``ok``, ``warn`` or ``bad``; nothing where there is none."""
        return iter(())

    def grant(self, role: str) -> None:
        """Let a role of the database add, work and change tokens, but neither change views nor drop the pool.

        Unsupported without ``capabilities.roles``.
        """
        raise Unsupported(f"pool {self.url} knows no roles: {role!r} cannot be given rights there")

    @abstractmethod
    def twin(self) -> TokenStore:
        """Another handle on the same pool, for another thread; closing one leaves the other open."""

    @abstractmethod
    def drop(self) -> None:
        """Delete the pool with everything in it, and close."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the store holds open; closing twice is no error."""


def lost(token_id: str, fence: int, current: Mapping[str, Any]) -> ClaimLost:
    """Why a claim is not in force any more, in words, given the token as it is; empty when it was deleted."""
    holder = current.get("claim")
    if not current:
        found = "it was deleted"
    elif isinstance(holder, Mapping) and state_of(current) is State.LOCKED:
        found = f"it is held by pilot {holder.get('pilot')} (claim {holder.get('fence')})"
    else:
        found = f"it is {state_of(current) or 'no token'} now"
    return ClaimLost(f"token {token_id}: claim {fence} is over, {found}; result superseded")
