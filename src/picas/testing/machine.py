"""A store and a plain model driven by the same random steps: nothing lost, nothing owned or settled twice.

`store_machine` makes a `hypothesis.stateful.RuleBasedStateMachine` for a store; its ``TestCase`` is the test.
The model knows a token's state and who holds it, and the rules in words; it shares no code with `picas.lifecycle`
but the events that a person or a janitor applies to a document before writing it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from picas import lifecycle
from picas.errors import ClaimLost, Conflict
from picas.lifecycle import CRASH_LIMIT, Claimant, Doc, Outcome, Reason, State, state_of
from picas.stores.base import Claim, Settlement, TokenStore
from picas.testing.samples import TODO, all_pages, beat_of, found
from picas.views import View

__all__ = ["Held", "Model", "store_machine"]

PILOTS = ("p1", "p2", "p3")
LONG_DELAY = 100_000.0
OUTCOMES = {
    "done": Outcome(),
    "failed": Outcome(exit_code=1),
    "failed, wait": Outcome(exit_code=1, retry_delay=LONG_DELAY),
    "not started": Outcome(reason=Reason.START_FAILED, exit_code=127, max_scrub=9),
    "given back": Outcome(reason=Reason.STOPPED, give_back=True),
}


@dataclass
class Token:
    """What must be true of a token."""

    state: State
    priority: int
    after: tuple[str, ...]
    retries: int
    age: int
    scrubbed: int = 0
    lost: int = 0
    fence: int = 0
    pilot: str = ""
    cancelled: bool = False
    delayed: bool = False

    def back(self) -> None:
        self.state, self.pilot, self.cancelled = State.TODO, "", False

    def end(self, state: State) -> None:
        self.state, self.pilot, self.cancelled = state, "", False


@dataclass(frozen=True)
class Held:
    """A claim as its pilot remembers it, whether or not it is still in force."""

    doc: Doc
    pilot: str

    @property
    def id(self) -> str:
        return str(self.doc["_id"])

    @property
    def fence(self) -> int:
        return int(self.doc["fence"])


@dataclass
class Model:
    """The pool as it must be, by the rules in words."""

    tokens: dict[str, Token] = field(default_factory=dict)
    accepted: set[tuple[str, int]] = field(default_factory=set)
    born: int = 0

    def put(self, priority: int, after: tuple[str, ...], retries: int) -> str:
        self.born += 1
        name = name_of(self.born)
        state = State.TODO if all(self._is_done(one) for one in after) else State.HELD
        self.tokens[name] = Token(state=state, priority=priority, after=after, retries=retries, age=self.born)
        return name

    def queue(self) -> list[str]:
        """What can be claimed, in the order in which it must be."""
        todo = [name for name, token in self.tokens.items() if token.state is State.TODO and not token.delayed]
        return sorted(todo, key=lambda name: (-self.tokens[name].priority, self.tokens[name].age))

    def next(self, count: int) -> list[str]:
        """What a claim of so many must give: up to the first whose next loss would be the last, and that one alone."""
        names = self.queue()[:count]
        risky = [place for place, name in enumerate(names) if self.tokens[name].lost == CRASH_LIMIT - 1]
        return names[: (risky[0] or 1)] if risky else names

    def claim(self, name: str, pilot: str) -> None:
        token = self.tokens[name]
        assert token.state is State.TODO, f"{name} was given out while {token.state}, held by {token.pilot!r}"
        token.state, token.pilot, token.fence = State.LOCKED, pilot, token.fence + 1

    def is_in_force(self, held: Held) -> bool:
        token = self.tokens.get(held.id)
        return token is not None and token.state is State.LOCKED and token.fence == held.fence

    def settle(self, held: Held, outcome: Outcome) -> None:
        key = held.id, held.fence
        assert key not in self.accepted, f"{key} was settled twice"
        self.accepted.add(key)
        token = self.tokens[held.id]
        if outcome.exit_code == 0 and not outcome.give_back:
            token.end(State.DONE)
            self._release()
        elif token.cancelled:
            token.end(State.ERROR)
        elif outcome.give_back:
            token.back()
        elif outcome.reason is Reason.START_FAILED or token.scrubbed >= token.retries:
            token.end(State.ERROR)
        else:
            token.scrubbed, token.delayed = token.scrubbed + 1, outcome.retry_delay > 0
            token.back()

    def lose(self, name: str) -> None:
        token = self.tokens[name]
        token.lost += 1
        if token.lost >= CRASH_LIMIT or token.cancelled:
            token.end(State.ERROR)
        else:
            token.back()

    def reset(self, name: str) -> None:
        token = self.tokens[name]
        token.scrubbed, token.lost, token.delayed = 0, 0, False
        token.back()

    def cancel(self, name: str) -> None:
        token = self.tokens[name]
        if token.state is State.LOCKED:
            token.cancelled = True
        else:
            token.end(State.ERROR)

    def _is_done(self, name: str) -> bool:
        return name in self.tokens and self.tokens[name].state is State.DONE

    def _release(self) -> None:
        for token in self.tokens.values():
            if token.state is State.HELD and all(self._is_done(name) for name in token.after):
                token.state = State.TODO


class _Machine(RuleBasedStateMachine):
    """The steps. Every one is done to the store and to the model, and their answers are compared."""

    def open(self) -> TokenStore:
        raise NotImplementedError

    def reload(self, store: TokenStore) -> TokenStore:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.model = Model()
        self.claims: list[Held] = []

    def teardown(self) -> None:
        self.store.close()

    @rule(
        priority=st.integers(-1, 1),
        after=st.lists(st.integers(1, 6), max_size=2, unique=True),
        retries=st.integers(0, 1),
        several=st.integers(1, 3),
    )
    def put(self, priority: int, after: list[int], retries: int, several: int) -> None:
        # A token waits for older ones only; some of those have been deleted, and are waited for in vain.
        for _ in range(several):
            names = tuple(name_of(number) for number in after if number <= self.model.born)
            name = self.model.put(priority, names, retries)
            (answer,) = self.store.put([self._doc(name)])
            assert isinstance(answer, str)

    @rule(pilot=st.sampled_from(PILOTS), count=st.integers(1, 3))
    def claim(self, pilot: str, count: int) -> None:
        self._exchange([], pilot, count)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)), count=st.integers(0, 2))
    def settle_and_claim(self, data: st.DataObject, outcome: str, count: int) -> None:
        """Any claim ever made, also one that is over: a pilot that was thought dead comes back."""
        some = data.draw(st.lists(st.sampled_from(self.claims), min_size=1, max_size=3), label="claims")
        self._exchange([(held, OUTCOMES[outcome]) for held in some], some[0].pilot, count)

    @precondition(lambda self: self._locked())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._locked()), label="token")
        self._write(name, lambda doc: lifecycle.lose(doc, self.store.now()))
        self.model.lose(name)

    @precondition(lambda self: self.model.tokens)
    @rule(data=st.data(), priority=st.integers(-2, 2))
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        name = self._any(data)
        self._write(name, lambda doc: {**doc, "priority": priority})
        self.model.tokens[name].priority = priority

    @precondition(lambda self: self.model.tokens)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        name = self._any(data)
        self._write(name, lifecycle.reset)
        self.model.reset(name)

    @precondition(lambda self: self._unfinished())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._unfinished()), label="token")
        self._write(name, lambda doc: lifecycle.cancel(doc, self.store.now()))
        self.model.cancel(name)

    @precondition(lambda self: self.model.tokens)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self._any(data)
        assert self.store.delete([found(self.store, name)]) == [True]
        del self.model.tokens[name]

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def write_an_old_revision(self, data: st.DataObject) -> None:
        """What a pilot remembers is out of date as soon as anybody wrote the token since."""
        doc = data.draw(st.sampled_from(self.claims), label="claim").doc
        stored = self.store.get([doc["_id"]])[0]
        if stored is None or stored["_rev"] != doc["_rev"]:
            assert isinstance(self.store.update([doc])[0], Conflict)
            assert self.store.delete([doc]) == [False]
            assert self.store.get([doc["_id"]]) == [stored]

    @rule()
    def load_again(self) -> None:
        loaded = self.store.load(self._doc(name) for name in self.model.tokens)
        assert (loaded.added, loaded.existing) == (0, len(self.model.tokens))

    @rule(pilot=st.sampled_from(PILOTS))
    def beat(self, pilot: str) -> None:
        beat = self.store.beat(beat_of(pilot))
        mine = {name: token for name, token in self.model.tokens.items() if token.pilot == pilot}
        assert dict(beat.held) == {name: token.fence for name, token in mine.items()}
        assert beat.cancelled == {name for name, token in mine.items() if token.cancelled}

    @rule()
    def reopen(self) -> None:
        self.store = self.reload(self.store)

    @invariant()
    def every_token_is_where_it_must_be(self) -> None:
        docs = {doc["_id"]: doc for doc in all_pages(self.store, None, limit=4)}
        assert {name: self._shown(doc) for name, doc in docs.items()} == {
            name: (token.state, token.fence, token.pilot, token.priority) for name, token in self.model.tokens.items()
        }

    @invariant()
    def counts_agree_with_views(self) -> None:
        pages = {state: {doc["_id"] for doc in all_pages(self.store, View(state), limit=3)} for state in State}
        assert self.store.count() == {state: len(names) for state, names in pages.items()}
        for name, token in self.model.tokens.items():
            assert [state for state in State if name in pages[state]] == [token.state]

    @invariant()
    def it_says_when_there_is_work(self) -> None:
        waiting = [token for token in self.model.tokens.values() if token.state is State.TODO]
        ready = self.store.next_ready(TODO)
        assert (ready == 0) == bool(self.model.queue())
        assert (ready is None) == (not waiting)

    def _exchange(self, ended: list[tuple[Held, Outcome]], pilot: str, count: int) -> None:
        wish = Claim(view=TODO, count=count, claimant=Claimant(pilot=pilot, hostname=f"node-{pilot}"))
        settlements = [Settlement(doc=held.doc, outcome=outcome) for held, outcome in ended]
        exchange = self.store.exchange(settlements, wish if count else None)
        for (held, outcome), answer in zip(ended, exchange.settled, strict=True):
            if self.model.is_in_force(held):
                assert isinstance(answer, dict), f"{held.id} is held with fence {held.fence}: {answer}"
                self.model.settle(held, outcome)
            else:
                assert isinstance(answer, ClaimLost), f"{held.id}: a result came in with the old fence {held.fence}"
        self._check_order([doc["_id"] for doc in exchange.claimed], count)
        for doc in exchange.claimed:
            self.model.claim(doc["_id"], pilot)
            self.claims.append(Held(doc=doc, pilot=pilot))

    def _check_order(self, claimed: list[str], count: int) -> None:
        """By priority, then age; of a store that keeps the latter for a lone pilot only, at least by priority."""
        first = self.model.next(count)
        if self.store.capabilities.strict_order or not first:
            assert claimed == first
            return
        ready = self.model.next(len(self.model.tokens))
        best = [self.model.tokens[name].priority for name in ready]
        assert claimed, f"{len(ready)} tokens are ready"
        assert set(claimed) <= set(ready)
        assert len(set(claimed)) == len(claimed) <= count
        assert [self.model.tokens[name].priority for name in claimed] == best[: len(claimed)]

    def _doc(self, name: str) -> Doc:
        token = self.model.tokens[name]
        return {"_id": name, "priority": token.priority, "after": list(token.after), "max_scrub": token.retries}

    def _write(self, name: str, how: Callable[[Doc], Doc]) -> None:
        (answer,) = self.store.update([how(found(self.store, name))])
        assert isinstance(answer, str)

    def _any(self, data: st.DataObject) -> str:
        return str(data.draw(st.sampled_from(list(self.model.tokens)), label="token"))

    def _locked(self) -> list[str]:
        return [name for name, token in self.model.tokens.items() if token.state is State.LOCKED]

    def _unfinished(self) -> list[str]:
        ended = (State.DONE, State.ERROR)
        return [name for name, token in self.model.tokens.items() if token.state not in ended]

    @staticmethod
    def _shown(doc: Doc) -> tuple[Any, ...]:
        pilot = doc.get("claim", {}).get("pilot", "")
        return state_of(doc), doc.get("fence", 0), pilot, doc["priority"]


def name_of(number: int) -> str:
    """The id of the token born as this one; by id they sort as by age, as those do that picas makes."""
    return f"t{number:05d}"


def store_machine(
    opened: Callable[[], TokenStore], reloaded: Callable[[TokenStore], TokenStore]
) -> type[RuleBasedStateMachine]:
    """A machine whose runs each get an empty pool from ``opened``; ``reloaded`` closes it and opens it again."""

    class Machine(_Machine):
        def open(self) -> TokenStore:
            return opened()

        def reload(self, store: TokenStore) -> TokenStore:
            return reloaded(store)

    return Machine
