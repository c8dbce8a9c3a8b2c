"""Settling and claiming, inside one write transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, fence_of, is_same_claim
from picas.selectors import Selector, to_sql
from picas.stores.base import Claim, Settlement, lost
from picas.stores.derived import changed, chosen, next_rev, read
from picas.stores.sqlite import files, rows
from picas.stores.sqlite.connection import Sql

__all__ = ["claim", "settle"]

Answer = Doc | Conflict | InvalidToken

_READ = "SELECT id, seq, doc FROM tokens WHERE id=?"
_NONE: tuple[int, Doc] = (0, {})
_CLAIM = "UPDATE tokens SET rev=?, state=2, pilot=?, not_before=NULL, doc=? WHERE seq=?"


def settle(sql: Sql, settlements: Sequence[Settlement], now: float) -> list[Answer]:
    """Apply outcomes to the documents as they are stored, each if its claim is still in force.

    All are read at once and written at once: a statement by itself costs as much as the change of a document.
    """
    ids = [(settlement.doc["_id"],) for settlement in settlements]
    stored = {token_id: (seq, read(text)) for token_id, seq, text in sql.executemany(_READ, ids)} if ids else {}
    changes = rows.Changes(sql)
    answers = [_settle(sql, settlement, stored, changes, now) for settlement in settlements]
    changes.write()
    return answers


def _settle(
    sql: Sql, settlement: Settlement, stored: dict[str, tuple[int, Doc]], changes: rows.Changes, now: float
) -> Answer:
    token_id = settlement.doc["_id"]
    seq, current = stored.get(token_id, _NONE)
    if not is_same_claim(current, settlement.doc):
        return lost(token_id, fence_of(settlement.doc), current)
    try:
        new = changed(settlement, current, now)
        has_files = bool(settlement.attachments) or "_attachments" in new
        if has_files:
            new = _with_files(sql, seq, settlement, new, now)
        new = changes.add(seq, new, unsized=bool(settlement.outcome.changes) and not has_files)
    except InvalidToken as error:
        return error
    stored[token_id] = seq, new
    return new


def _with_files(sql: Sql, seq: int, settlement: Settlement, new: Doc, now: float) -> Doc:
    if settlement.outcome.changes:
        tokens.sized(tokens.dumps(new), new["_id"])
    new = files.take_inline(sql, seq, new, now)
    for name, attachment in settlement.attachments.items():
        new = files.attach(sql, seq, new, name, attachment, now)
    return new


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
                AND {condition} AND NOT EXISTS (SELECT 1 FROM meta WHERE name='pause') ORDER BY rank, seq"""
    found: Iterable[tuple[int, str | None, str]] = sql.execute(query, (now, *values))
    return found
