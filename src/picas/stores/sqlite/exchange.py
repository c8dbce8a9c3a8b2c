"""Settling and claiming, inside one write transaction."""

from __future__ import annotations

from collections.abc import Iterable

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, State, fence_of, is_same_claim
from picas.selectors import Selector, to_sql
from picas.stores.base import Claim, Settlement, lost
from picas.stores.derived import chosen, next_rev, read, settled
from picas.stores.sqlite import files, rows
from picas.stores.sqlite.connection import Sql

__all__ = ["claim", "settle"]

_CLAIM = "UPDATE tokens SET rev=?, state=2, pilot=?, not_before=NULL, doc=? WHERE seq=?"


def settle(sql: Sql, settlement: Settlement, now: float) -> Doc | Conflict | InvalidToken:
    """Apply one outcome to the document as it is stored, if the claim is still in force."""
    token_id = settlement.doc["_id"]
    row = sql.execute("SELECT seq, doc FROM tokens WHERE id=?", (token_id,)).fetchone()
    current = read(row[1]) if row else {}
    if not is_same_claim(current, settlement.doc):
        return lost(token_id, fence_of(settlement.doc), current)
    try:
        new = files.take_inline(sql, row[0], settled(settlement, current, now), now)
    except InvalidToken as error:
        return error
    for name, attachment in settlement.attachments.items():
        new = files.attach(sql, row[0], new, name, attachment, now)
    return rows.replace(sql, row[0], State.LOCKED, new, checked=True)


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
