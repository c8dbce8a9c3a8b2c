"""Settling and claiming, inside one write transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, State, fence_of, holds
from picas.selectors import Selector, to_sql
from picas.stores.base import Claim, Settlement, lost
from picas.stores.sqlite import files, rows
from picas.stores.sqlite.connection import Sql
from picas.tokens import Requirements

__all__ = ["claim", "settle"]

_CLAIM = "UPDATE tokens SET rev=?, state=2, pilot=?, not_before=NULL, doc=? WHERE seq=?"


def settle(sql: Sql, settlement: Settlement, now: float) -> Doc | Conflict | InvalidToken:
    """Apply one outcome to the document as it is stored, if the claim is still in force."""
    token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
    row = sql.execute("SELECT seq, doc FROM tokens WHERE id=?", (token_id,)).fetchone()
    current = rows.read(row[1]) if row else {}
    if not holds(current, fence, _holder(settlement.doc)):
        return lost(token_id, fence, current)
    new = lifecycle.settle(current, settlement.outcome, now)
    try:
        _check(new, settlement)
        new = files.take_inline(sql, row[0], new, now)
    except InvalidToken as error:
        return error
    for name, attachment in settlement.attachments.items():
        new = files.attach(sql, row[0], new, name, attachment, now)
    return rows.replace(sql, row[0], State.LOCKED, new, checked=True)


def _check(new: Doc, settlement: Settlement) -> None:
    """The rules, for what the outcome brought; the rest was in the store already, or is ours."""
    for name in settlement.attachments:
        tokens.check_attachment_name(name)
    if settlement.outcome.changes:
        tokens.encode({**settlement.outcome.changes, "_id": new["_id"]})
        tokens.sized(tokens.dumps(new), new["_id"])


def _holder(doc: Mapping[str, Any]) -> object:
    holder = doc.get("claim")
    return holder.get("pilot") if isinstance(holder, Mapping) else None


def claim(sql: Sql, wish: Claim, selector: Selector | None, now: float) -> list[Doc]:
    """Lock the next tokens of a view that fit the offer, in order of priority, then age."""
    found = _candidates(sql, wish, selector, now)
    claimed, changes = [], []
    for seq, text in found:
        doc = rows.read(text)
        doc = lifecycle.claim(doc, wish.claimant, now)
        doc["_rev"] = rows.next_rev(doc["_rev"])
        claimed.append(doc)
        changes.append((doc["_rev"], wish.claimant.pilot, tokens.dumps(doc), seq))
    sql.executemany(_CLAIM, changes)
    return claimed


def _candidates(sql: Sql, wish: Claim, selector: Selector | None, now: float) -> list[tuple[int, str]]:
    condition, values = to_sql(selector, "doc") if selector else ("1", [])
    query = f"""SELECT seq, requires, doc FROM tokens WHERE state=1 AND (not_before IS NULL OR not_before <= ?)
                AND {condition} ORDER BY rank, seq"""
    return _fitting(sql.execute(query, (now, *values)), wish)


def _fitting(found: Iterable[tuple[Any, ...]], wish: Claim) -> list[tuple[int, str]]:
    chosen: list[tuple[int, str]] = []
    known: dict[str | None, bool] = {}
    for seq, requires, text in found if wish.count > 0 else ():
        if requires not in known:
            known[requires] = _fits(requires, wish.offer)
        if not known[requires]:
            continue
        if '"lost":' in text and lifecycle.is_suspect(rows.read(text)):
            return chosen or ([(seq, text)] if wish.suspects else [])
        chosen.append((seq, text))
        if len(chosen) >= wish.count:
            break
    return chosen


def _fits(requires: str | None, offer: Requirements | None) -> bool:
    """A token whose needs cannot be read fits nowhere: it is passed over, not in the way of the others."""
    if offer is None:
        return True
    try:
        return tokens.requirements({"requires": json.loads(requires)} if requires else {}).within(offer)
    except InvalidToken:
        return False
