"""Documents as rows: the one way in and out of the table ``tokens``, so that no derived column can be stale.

What changes rows returns how the number of tokens in each state changes with it; a transaction notes the sum of that.

A token that waits for others is made ready in the transaction in which the last of them is done. Two transactions
that end two of them at once both look whether that was the last: they take turns by locking the waiting row first.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from picas import lifecycle, tokens
from picas.errors import UsageError
from picas.lifecycle import Doc, State
from picas.stores.derived import STATES, columns, new_document, next_rev, read, state_number
from picas.stores.postgres.connection import Sql
from picas.views import View

__all__ = [
    "Tally",
    "add",
    "behind",
    "changed",
    "counts",
    "fold",
    "follow",
    "note",
    "recheck",
    "release_dependents",
    "remove",
    "replace",
    "rewritten",
    "start_waiting",
    "write",
]

_NAMES = "id, rev, state, rank, not_before, pilot, requires, doc"
_GIVEN = """ROWS FROM (unnest(%s::text[]), unnest(%s::text[]), unnest(%s::int2[]), unnest(%s::int8[]),
    unnest(%s::float8[]), unnest(%s::text[]), unnest(%s::text[]), json_array_elements(%s::json)"""
"""Documents as arrays, a column each; JSON as one array, whose elements keep their text and need no quoting."""
_INSERT = f"""INSERT INTO @tokens ({_NAMES}) SELECT {_NAMES} FROM {_GIVEN}) AS n ({_NAMES})
    ON CONFLICT (id) DO NOTHING RETURNING id"""
_SET = """SET rev = n.rev, state = n.state, rank = n.rank, not_before = n.not_before, pilot = n.pilot,
    requires = n.requires, doc = n.doc"""
_UPDATE = f"UPDATE @tokens t {_SET} FROM {_GIVEN}) AS n ({_NAMES}) WHERE t.id = n.id"
_UPDATE_CURRENT = f"""UPDATE @tokens t {_SET} FROM {_GIVEN}, unnest(%s::text[])) AS n ({_NAMES}, old)
    WHERE t.id = n.id AND t.rev = n.old RETURNING t.id"""
_MET = """SELECT t.id, t.doc::text FROM @tokens t WHERE t.id = ANY(%s) AND t.state = 5 AND NOT EXISTS (
    SELECT FROM @waits w LEFT JOIN @tokens o ON o.id = w.needs WHERE w.id = t.id AND o.state IS DISTINCT FROM 3)"""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WIDTH = len(STATES)
_SUM = "ARRAY[" + ", ".join(f"coalesce(sum(counts[{place}]), 0)::bigint" for place in range(1, _WIDTH + 1)) + "]"
_COUNTS = f"SELECT {_SUM} FROM @tallies"
_FOLD = f"""WITH old AS (SELECT number FROM @tallies ORDER BY number LIMIT 5000 FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM @tallies USING old WHERE @tallies.number = old.number AND (SELECT count(*) FROM old) > 200
        RETURNING counts)
    INSERT INTO @tallies (counts) SELECT {_SUM} FROM gone HAVING count(*) > 0"""

_HELD, _DONE, _TODO = STATES[State.HELD], STATES[State.DONE], STATES[State.TODO]

Tally = Counter[int]
"""By how much the number of tokens in each state (as a number) rises."""


def changed(old: Iterable[int], new: Iterable[int]) -> Tally:
    """The tally of rows that go from one state to another."""
    tally: Tally = Counter(new)
    tally.subtract(old)
    return tally


def note(sql: Sql, tally: Tally) -> None:
    """Write down how counts change with this transaction."""
    if tally[_TODO] > 0:
        sql.wakes = True
    if any(tally.values()):
        sql.run("INSERT INTO @tallies (counts) VALUES (%s)", [tally[number] for number in range(len(STATES))])


def fold(sql: Sql) -> None:
    """Put tallies together into one, when there are many: whoever is adding one is not in the way of it."""
    sql.run(_FOLD)


def counts(sql: Sql) -> list[int]:
    """How many tokens are in each state, by the states' numbers."""
    (found,) = sql.one(_COUNTS)
    return list(found)


def recheck(sql: Sql, held: Sequence[str], done: Sequence[str]) -> None:
    """Look once more at tokens that were added in a transaction that has ended.

    What they wait for, or who waits for them, may have been added at the same moment, each unseen by the other.
    """
    needs = [row[0] for row in sql.rows("SELECT DISTINCT needs FROM @waits WHERE id = ANY(%s)", list(held))]
    sql.rows("SELECT id FROM @tokens WHERE id = ANY(%s) ORDER BY id FOR SHARE", needs)
    _release_met(sql, set(held))
    if done:
        release_dependents(sql, done)


def rewritten(doc: Doc) -> Doc:
    """A document that is to be stored in place of one, with its next revision."""
    return {**doc, "_rev": next_rev(doc["_rev"])}


def write(
    sql: Sql, docs: Sequence[Doc], *, texts: Iterable[str] | None = None, revs: Sequence[str] | None = None
) -> Any:
    """Send documents to be stored in place of what is there, ``texts`` being their JSON if that was made; a cursor.

    With ``revs`` only in place of these revisions; the cursor then has the ids of those that were.
    """
    values = _arrays(docs, texts)
    return sql.run(_UPDATE, *values) if revs is None else sql.run(_UPDATE_CURRENT, *values, list(revs))


def add(sql: Sql, docs: Sequence[Doc], *, as_given: bool = False) -> dict[str, str]:
    """Insert documents whose ids are new; the revision of each that was added, by id."""
    made: dict[str, tuple[Doc, str]] = {}
    for doc in docs:
        new, text = new_document(doc, as_given=as_given)
        made.setdefault(new["_id"], (new, text))
    values = _arrays([new for new, _ in made.values()], [text for _, text in made.values()])
    found = {row[0] for row in sql.rows(_INSERT, *values)}
    added = [doc for token_id, (doc, _) in made.items() if token_id in found]
    note(sql, changed([], [state_number(doc) for doc in added]))
    revs = {doc["_id"]: doc["_rev"] for doc in added}
    follow(sql, [(None, doc) for doc in added], revs)
    return revs


def storable(names: Sequence[str]) -> list[str]:
    """Those names that the server can be asked for: it has no text with NUL or a lone surrogate."""
    return [name for name in names if not _UNSTORABLE.search(name)]


def locked(sql: Sql, ids: Sequence[str]) -> dict[str, Doc]:
    """Documents by id, kept from changing until the transaction ends."""
    query = "SELECT id, doc::text FROM @tokens WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
    return {token_id: read(text) for token_id, text in sql.rows(query, storable(ids))}


def replace(sql: Sql, changes: Sequence[tuple[int, Doc]], *, checked: bool = False) -> list[Doc]:
    """Write changed documents under new revisions, with all that follows from their states; what was stored.

    Each comes with its old state. ``checked`` spares the rules a second look at what was read from the store and
    changed by us only.
    """
    news = [rewritten(doc) for _, doc in changes]
    if not news:
        return []
    write(sql, news, texts=map(tokens.dumps if checked else tokens.encode, news))
    states = [state_number(doc) for doc in news]
    sql.wakes |= _TODO in states
    note(sql, changed([old for old, _ in changes], states))
    revs: dict[str, str] = {}
    follow(sql, [(old, new) for (old, _), new in zip(changes, news, strict=True)], revs)
    return [{**doc, "_rev": revs.get(doc["_id"], doc["_rev"])} for doc in news]


def follow(sql: Sql, changes: Sequence[tuple[int | None, Doc]], revs: dict[str, str]) -> None:
    """What follows from the states of documents that were just written: waits begun, ended and met.

    ``revs`` is told the revisions of those that were written once more.
    """
    states = [(old, state_number(doc), doc) for old, doc in changes]
    ended = [doc["_id"] for old, _, doc in states if old == _HELD]
    if ended:
        sql.run("DELETE FROM @waits WHERE id = ANY(%s)", ended)
    begun = [doc for _, new, doc in states if new == _HELD]
    if begun:
        revs.update(start_waiting(sql, begun))
    done = [doc["_id"] for old, new, doc in states if new == _DONE != old]
    if done:
        revs.update(release_dependents(sql, done))


def start_waiting(sql: Sql, docs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Note what held tokens wait for; those with nothing left to wait for become ready: id and revision of each."""
    pairs = [(need, str(doc["_id"])) for doc in docs for need in lifecycle.awaited(doc)]
    if not pairs:
        return {}
    needs, ids = zip(*pairs, strict=True)
    # Whoever is about to end one of these has its row locked, and looks for who waits afterwards.
    sql.rows("SELECT id FROM @tokens WHERE id = ANY(%s) ORDER BY id FOR SHARE", sorted(set(needs)))
    sql.run(
        "INSERT INTO @waits (needs, id) SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING",
        list(needs),
        list(ids),
    )
    return _release_met(sql, set(ids))


def release_dependents(sql: Sql, done: Sequence[str]) -> dict[str, str]:
    """Make ready the held tokens that waited for these last; id and revision of each."""
    found = sql.rows("SELECT DISTINCT id FROM @waits WHERE needs = ANY(%s)", list(done))
    return _release_met(sql, {row[0] for row in found})


def remove(sql: Sql, ids: Sequence[str]) -> None:
    """Delete documents with their files and what they wait for."""
    mine = list(ids)
    sql.run("DELETE FROM @chunks WHERE file IN (SELECT file FROM @files WHERE token = ANY(%s))", mine)
    sql.run("DELETE FROM @files WHERE token = ANY(%s)", mine)
    sql.run("DELETE FROM @waits WHERE id = ANY(%s)", mine)
    gone = sql.rows("DELETE FROM @tokens WHERE id = ANY(%s) RETURNING state", mine)
    note(sql, changed([row[0] for row in gone], []))


def _release_met(sql: Sql, ids: set[str]) -> dict[str, str]:
    if not ids:
        return {}
    wanted = sorted(ids)
    # The lock comes first, so that of two who end the last two needs at once the second sees what the first did.
    sql.rows("SELECT id FROM @tokens WHERE id = ANY(%s) ORDER BY id FOR UPDATE", wanted)
    met = [rewritten(lifecycle.ready(read(row[1]))) for row in sql.rows(_MET, wanted)]
    if not met:
        return {}
    write(sql, met)
    sql.run("DELETE FROM @waits WHERE id = ANY(%s)", [doc["_id"] for doc in met])
    note(sql, changed([_HELD] * len(met), [state_number(doc) for doc in met]))
    return {doc["_id"]: doc["_rev"] for doc in met}


def _arrays(docs: Sequence[Doc], texts: Iterable[str] | None = None) -> list[Any]:
    found = [(doc["_id"], doc["_rev"], *columns(doc)) for doc in docs]
    arrays = list(map(list, zip(*found, strict=True))) if found else [[]] * 7
    return [*arrays, f"[{','.join(map(tokens.dumps, docs) if texts is None else texts)}]"]


def behind(after: str, view: View | None) -> tuple[str, list[Any]]:
    """The condition that a row comes after a cursor, ``{"id": ...}`` or ``{"place": [rank, seq]}``, and its values."""
    try:
        place = json.loads(after)
    except (ValueError, RecursionError):
        place = None
    if isinstance(place, dict) and view is None and isinstance(place.get("id"), str):
        if storable([place["id"]]):
            return "id > %s", [place["id"]]
    elif isinstance(place, dict) and view is not None and isinstance(place.get("place"), list):
        numbers = [number for number in place["place"] if type(number) is int and abs(number) < 1 << 63]
        if len(numbers) == len(place["place"]) == 2:
            return "(rank, seq) > (%s, %s)", numbers
    raise UsageError(f"{after!r:.80} is no cursor of this store")
