"""What SQL stores keep beside a document, in columns of its row: all of it follows from the document."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from picas import lifecycle, tokens
from picas.errors import InvalidToken, StoreFailure
from picas.lifecycle import Doc, State, state_of
from picas.stores.base import Claim, Settlement
from picas.tokens import Requirements

__all__ = [
    "RESTORE",
    "STATES",
    "Columns",
    "changed",
    "chosen",
    "columns",
    "fits",
    "new_document",
    "next_rev",
    "read",
    "settled",
    "state_number",
    "state_numbered",
]

STATES = {None: 0, State.TODO: 1, State.LOCKED: 2, State.DONE: 3, State.ERROR: 4, State.HELD: 5}
"""States as numbers; 0 is a document that is no token."""

RESTORE = "run `picas pool check`, or restore a copy"

_BY_NUMBER = {number: state for state, number in STATES.items()}

_random_bits = random.Random(os.urandom(32)).getrandbits  # one that asks the kernel each time is slow

_MANY = 1000
_needs_known: dict[str, str] = {}

_LOCKED = STATES[State.LOCKED]

T = TypeVar("T")


Columns = tuple[int, int, "float | None", "str | None", "str | None"]
"""State as a number, the priority turned round, when it may be claimed, who has it, and its needs as JSON."""


def columns(doc: Mapping[str, Any]) -> Columns:
    """The columns of a document."""
    state = state_number(doc)
    priority, requires, not_before = doc.get("priority", 0), doc.get("requires"), doc.get("not_before")
    claim = doc.get("claim") if state == _LOCKED else None
    return (
        state,
        -priority if type(priority) is int else 0,
        None if not_before is None or not isinstance(not_before, (int, float)) else float(not_before),
        _holder(claim) if claim else None,
        _needs(requires) if requires else None,
    )


def _holder(claim: object) -> str | None:
    pilot = claim.get("pilot") if isinstance(claim, Mapping) else None
    return pilot if isinstance(pilot, str) else None


def _needs(requires: object) -> str:
    """What a token requires as JSON. Tokens come in kinds: each is put into JSON once."""
    shown = repr(requires)
    found = _needs_known.get(shown)
    if found is None:
        if len(_needs_known) >= _MANY:
            _needs_known.clear()
        found = _needs_known[shown] = json.dumps(requires, sort_keys=True)
    return found


def state_numbered(number: int) -> State | None:
    """The state that a number stands for."""
    return _BY_NUMBER[number]


def read(text: str) -> Doc:
    """A document from the JSON of its row; StoreFailure when that is damaged."""
    try:
        doc: Doc = tokens.parse(text)
    except ValueError as error:
        raise StoreFailure(f"a document of the pool is damaged: {error}", hint=RESTORE) from None
    return doc


def state_number(doc: Mapping[str, Any]) -> int:
    """The state of a document, as a number."""
    return STATES[state_of(doc)]


def settled(settlement: Settlement, current: Doc, now: float) -> Doc:
    """The document as it is after an outcome, without the files; InvalidToken when that breaks a rule."""
    new = changed(settlement, current, now)
    if settlement.outcome.changes:
        tokens.sized(tokens.dumps(new), new["_id"])
    return new


def changed(settlement: Settlement, current: Doc, now: float) -> Doc:
    """As `settled`, but for its size, which whoever makes JSON of it sees by itself.

    What the outcome brought is checked; the rest was in the store already, or is ours.
    """
    new = lifecycle.settle(current, settlement.outcome, now)
    for name in settlement.attachments:
        tokens.check_attachment_name(name)
    if settlement.outcome.changes:
        tokens.encode({**settlement.outcome.changes, "_id": new["_id"]})
    return new


def next_rev(rev: str | None) -> str:
    """The revision after ``rev``: its number plus one, and 64 random bits, so that none ever comes again."""
    number = int(rev.partition("-")[0]) + 1 if rev else 1
    return f"{number}-{_random_bits(64):016x}"


def new_document(doc: Doc, *, as_given: bool = False) -> tuple[Doc, str]:
    """A document to add, with its first revision, and its JSON; InvalidToken when it breaks a rule."""
    if as_given:
        tokens.check_id(doc.get("_id"))
    else:
        tokens.check(doc)
    new = {**doc} if as_given else lifecycle.put(doc)
    new["_rev"] = f"1-{_random_bits(64):016x}"
    return new, tokens.encode(new)


def chosen(found: Iterable[tuple[T, str | None, str]], wish: Claim) -> list[tuple[T, Doc]]:
    """Of waiting tokens in their order (key, ``requires``, JSON) those to claim.

    A token that one more loss would end is claimed alone, and ends the choice otherwise.
    """
    kept: list[tuple[T, Doc]] = []
    known: dict[str | None, bool] = {}
    for key, requires, text in found if wish.count > 0 else ():
        if requires not in known:
            known[requires] = fits(requires, wish.offer)
        if not known[requires]:
            continue
        doc = read(text)
        if '"lost":' in text and lifecycle.is_suspect(doc):
            return kept or ([(key, doc)] if wish.suspects else [])
        kept.append((key, doc))
        if len(kept) >= wish.count:
            break
    return kept


def fits(requires: str | None, offer: Requirements | None) -> bool:
    """Whether the needs of a token are met. One whose needs cannot be read fits nowhere: others pass it."""
    if offer is None:
        return True
    try:
        return tokens.requirements({"requires": json.loads(requires)} if requires else {}).within(offer)
    except InvalidToken:
        return False
