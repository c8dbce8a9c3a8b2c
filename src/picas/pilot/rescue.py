"""Results of dead pilots, handed in: accepted where their claim is still in force, kept as superseded where not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picas.errors import InvalidToken, PicasError, StoreUnavailable
from picas.lifecycle import Claimant, Doc, Outcome, Reason, fence_of, is_same_claim
from picas.pilot.inherited import Inherited, folders, open_spool, sweep
from picas.pilot.keep import keep
from picas.pilot.spool import host_folder
from picas.pilot.uploads import upload
from picas.pilot.work import refused
from picas.stores.base import Settlement, TokenStore, lost

__all__ = ["Fate", "Rescue", "hand_in", "was_accepted"]

log = logging.getLogger("picas.pilot")

_BATCH = 64
_AT_A_TIME = 2.0
"""Seconds that a pilot spends on others' results before it looks after its own again."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of one result: ``accepted``, ``known`` (the pool had it), ``superseded`` or ``incomplete``.

    ``place`` is where one is kept that was not accepted, ``why`` is in words.
    """

    settlement: Settlement
    became: str
    why: str = ""
    place: Path | None = None


class Rescue:
    """A pilot's look at what dead pilots of the same pool left on this machine, on a twin of its store."""

    def __init__(self, store: TokenStore, root: Path, hostname: str) -> None:
        self._store = store
        self._root = root
        self._home = host_folder(root, hostname)
        self._twin: TokenStore | None = None
        self._current: tuple[Inherited, Iterator[Fate]] | None = None
        self._told: set[str] = set()

    def look(self) -> bool:
        """Hand in what there is, for a while; False when the next look has to go on.

        StoreUnavailable when the store is away.
        """
        if not self._store.capabilities.durable:
            return True
        until = time.monotonic() + _AT_A_TIME
        while (current := self._current or self._next()) is not None:
            self._current = current
            spool, fates = current
            try:
                for fate in fates:
                    self._tell(spool, fate)
                    if time.monotonic() > until:
                        return False
                if (place := spool.remove(self._root)) is not None:
                    words = "spool of pilot %s: %s; the rest was handed in, it is kept in %s"
                    log.warning(words, spool.pilot, spool.damage, place)
            except StoreUnavailable:
                self._drop()
                raise
            except (OSError, PicasError) as error:
                # Left as it is, for a person to look at; the pilot goes on.
                log.warning("results of pilot %s in %s are left there: %s", spool.pilot, spool.folder, error)
                self._told.add(spool.folder.name)
            self._drop()
        return True

    def close(self) -> None:
        """Leave the rest to the next."""
        self._drop()
        if self._twin is not None:
            self._twin.close()
        self._twin = None

    def _next(self) -> tuple[Inherited, Iterator[Fate]] | None:
        for folder in folders(self._home):
            if folder.name in self._told:
                continue
            try:
                found = open_spool(folder)
            except OSError as error:
                self._told.add(folder.name)
                log.warning("spool %s: %s", folder, error.strerror or error)
                continue
            if not isinstance(found, Inherited):
                continue
            if found.pool not in (self._store.url, ""):
                found.close()
                continue
            if self._twin is None:
                self._twin = self._store.twin()
            return found, hand_in(found, self._twin, self._root)
        sweep(self._home)
        return None

    def _tell(self, spool: Inherited, fate: Fate) -> None:
        token_id = fate.settlement.doc["_id"]
        if fate.became == "accepted":
            log.warning("token %s: the result of pilot %s, which died, was handed in", token_id, spool.pilot)
        elif fate.place is not None:
            log.warning("%s; kept in %s", fate.why, fate.place)

    def _drop(self) -> None:
        if self._current is not None:
            self._current[0].close()
        self._current = None


def hand_in(spool: Inherited, store: TokenStore, root: Path, *, dry: bool = False) -> Iterator[Fate]:
    """Hand in a dead pilot's results, in batches; with ``dry`` only say what would become of each.

    The spool is left as it is: when all fates are known it may be removed. Whoever ends before, and begins again,
    does no harm. StoreUnavailable when the store is away.
    """
    for at in range(0, len(spool.results), _BATCH):
        batch = spool.results[at : at + _BATCH]
        lacking = {place - at: name for place, name in spool.missing.items()}
        stored = dict(zip(range(len(batch)), store.get([one.doc["_id"] for one in batch]), strict=True))
        due: list[Settlement] = []
        for place, settlement in enumerate(batch):
            fate = _judge(settlement, stored[place] or {}, lacking.get(place))
            if fate is None and not dry:
                due.append(settlement)
                continue
            yield _put_aside(fate, root) if fate and not dry else fate or Fate(settlement=settlement, became="accepted")
        for fate in _settle(due, store):
            yield _put_aside(fate, root)


def was_accepted(doc: Mapping[str, Any], settlement: Settlement) -> bool:
    """Whether the pool has this very result: an attempt of the same claim that was not merely lost."""
    claim = settlement.doc.get("claim")
    pilot = claim.get("pilot") if isinstance(claim, Mapping) else None
    attempts = doc.get("attempts")
    known = [one for one in attempts if isinstance(one, Mapping)] if isinstance(attempts, list) else []
    mine = [one for one in known if (one.get("fence"), one.get("pilot")) == (fence_of(settlement.doc), pilot)]
    return any(one.get("reason") != str(Reason.LOST) for one in mine)


def _judge(settlement: Settlement, doc: Doc, lacking: str | None) -> Fate | None:
    """What became of a result by what is stored; None when its claim is in force, and nothing is missing."""
    token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
    if was_accepted(doc, settlement):
        return Fate(settlement=settlement, became="known")
    if not is_same_claim(doc, settlement.doc):
        return Fate(settlement=settlement, became="superseded", why=str(lost(token_id, fence, doc)))
    if lacking is not None:
        why = f"token {token_id}: its file {lacking} is gone; the result is not handed in, and the token runs again"
        return Fate(settlement=settlement, became="incomplete", why=why)
    return None


def _settle(due: list[Settlement], store: TokenStore) -> Iterator[Fate]:
    ready: list[tuple[Settlement, Settlement]] = []
    for settlement in due:
        sent = upload(store, settlement)
        if isinstance(sent, Settlement):
            ready.append((settlement, sent))
        else:
            yield Fate(settlement=settlement, became="superseded", why=str(sent))
    if not ready:
        return
    answers = store.exchange([sent for _, sent in ready]).settled
    odd = [(one, answer) for (one, _), answer in zip(ready, answers, strict=True) if not isinstance(answer, dict)]
    settled = [one for (one, _), answer in zip(ready, answers, strict=True) if isinstance(answer, dict)]
    refusals = [
        Settlement(doc=one.doc, outcome=_refusal(one, why)) for one, why in odd if isinstance(why, InvalidToken)
    ]
    if refusals:
        store.exchange(refusals)
    now = store.get([one.doc["_id"] for one, _ in odd])
    for (one, why), doc in zip(odd, now, strict=True):
        became = "known" if was_accepted(doc or {}, one) and not isinstance(why, InvalidToken) else "superseded"
        yield Fate(settlement=one, became=became, why=str(why))
    for one in settled:
        yield Fate(settlement=one, became="accepted")


def _refusal(settlement: Settlement, problem: InvalidToken) -> Outcome:
    claim = settlement.doc["claim"]
    claimant = Claimant(pilot=claim["pilot"], hostname=settlement.doc.get("hostname", ""))
    return refused(settlement.doc, problem, claimant, time.time())


def _put_aside(fate: Fate, root: Path) -> Fate:
    """Keep a result that the pool did not take, durably, before its spool may go."""
    if fate.became not in ("superseded", "incomplete"):
        return fate
    place = keep(fate.settlement, fate.why, root)
    return Fate(settlement=fate.settlement, became=fate.became, why=fate.why, place=place)
