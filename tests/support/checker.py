"""What must hold after every fault, whatever it was."""

from __future__ import annotations

from collections import Counter

from picas.lifecycle import State, state_of
from support.pilots import Site, until

SIDE = 'echo "$PICAS_TOKEN_ID $PICAS_FENCE" >> "$SIDE"'
"""The shell command with which a command says that it got to its end."""


def check(site: Site, *, side: bool = False, unfinished: frozenset[State] = frozenset()) -> Counter[State]:
    """The common checker; how many tokens are in each state.

    Every token is in one final state (or in one of ``unfinished``) and none is locked; a done token has one accepted
    result, that of its last claim, and with ``side`` that very claim's command got to its end; pilots ended without a
    traceback and left no process; the database is sound.
    """
    until(f"no process is left of {site.mark}", lambda: not site.marked(), 2.0)
    _check_pilots(site)
    docs = site.pool.store.get(site.ids)
    assert None not in docs, "a token is gone"
    lines = Counter(site.lines())
    states: Counter[State] = Counter()
    for doc in docs:
        state = state_of(doc)
        assert state in {State.DONE, State.ERROR} | unfinished, (state, doc)
        states[state] += 1
        _check_result(doc, state, lines if side else None)
    counted = site.pool.count()
    assert {state: number for state, number in counted.items() if number} == dict(states)
    assert site.pool.store.check() == []
    return states


def _check_pilots(site: Site) -> None:
    for pilot in site.pilots:
        code = pilot.process.poll()
        assert code is not None, f"pilot {pilot.pid} still runs"
        errors = pilot.err_path.read_text()
        assert "Traceback" not in errors, errors
        assert pilot.was_killed or code == 0, (code, errors)


def _check_result(doc: dict, state: State, lines: Counter[str] | None) -> None:
    accepted = [attempt for attempt in doc.get("attempts", []) if attempt["reason"] == "exit"]
    fences = [attempt["fence"] for attempt in doc.get("attempts", [])]
    assert fences == sorted(set(fences)), f"an attempt is recorded twice: {doc}"
    assert "claim" not in doc, doc
    if state is State.DONE:
        assert len(accepted) == 1, doc
        assert accepted[0] is doc["attempts"][-1], doc
        assert accepted[0]["fence"] == doc["fence"], doc
        if lines is not None:
            assert lines[f"{doc['_id']} {doc['fence']}"] == 1, doc
