"""Settling and claiming, inside one write transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, State, fence_of, holds
from picas.selectors import Selector, to_sql
from picas.stores.base import Claim, Settlement, lost
from picas.stores.derived import chosen, next_rev, read
from picas.stores.sqlite import files, rows
from picas.stores.sqlite.connection import Sql

__all__ = ["claim", "settle"]

_CLAIM = "UPDATE tokens SET rev=?, state=2, pilot=?, not_before=NULL, doc=? WHERE seq=?"


def settle(sql: Sql, settlement: Settlement, now: float) -> Doc | Conflict | InvalidToken:
    """Apply one outcome to the document as it is stored, if the claim is still in force."""
    token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
    row = sql.execute("SELECT seq, doc FROM tokens WHERE id=?", (token_id,)).fetchone()
    current = read(row[1]) if row else {}
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
    claimed, changes = [], []
    for seq, found in chosen(_candidates(sql, selector, now), wish):
        doc = lifecycle.claim(found, wish.claimant, now)
        doc["_rev"] = next_rev(doc["_rev"])
        claimed.append(doc)
        changes.append((doc["_rev"], wish.claimant.pilot, tokens.dumps(doc), seq))
    sql.executemany(_CLAIM, changes)
    return claimed


def _candidates(sql: Sql, selector: Selector | None, now: float) -> Iterable[tuple[int, str | None, str]]:
    condition, values = to_sql(selector, "doc") if selector else ("1", [])
    query = f"""SELECT seq, requires, doc FROM tokens WHERE state=1 AND (not_before IS NULL OR not_before <= ?)
                AND {condition} ORDER BY rank, seq"""
    found: Iterable[tuple[int, str | None, str]] = sql.execute(query, (now, *values))
    return found
