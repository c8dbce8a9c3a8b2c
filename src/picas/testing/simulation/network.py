"""The network between a pilot and the server, and the handle with which it sees the pool through it.

What a handle remembers of exchanges whose end it does not know is not imitated: it is the code of the PostgreSQL store
(`picas.stores.postgres.exchange`, `.pilots`), over a database that is a pool in memory behind this network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from picas.errors import PicasError, StoreUnavailable
from picas.stores.base import Beat, Capabilities, Claim, Exchange, PilotRecord, Settlement, TokenStore
from picas.stores.postgres import exchange as exchanges
from picas.stores.postgres import pilots
from picas.stores.postgres.connection import Unsettled
from picas.stores.records import fields_of
from picas.testing.simulation.loop import Actor, Loop
from picas.testing.simulation.server import Server
from picas.tokens import dumps

__all__ = ["Asleep", "Handle", "Weather", "carry_out"]

T = TypeVar("T")

_LATE = 200.0
"""Seconds by which a request may come late."""
_TWICE = frozenset({"update", "delete", "forget", "order", "beat"})


class Asleep(BaseException):
    """Raised where a pilot waits for something, so that its loop is entered again when that has come."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


@dataclass(kw_only=True)
class Weather:
    """How the network is: shares of the requests that are lost, whose answers are lost, that come late, or twice."""

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    undecided: float = 0.0
    """Of the exchanges whose answers are lost, those whose end the server itself does not know at first."""

    def draw(self, chance: random.Random, verb: str) -> str:
        """What becomes of one request."""
        drawn = chance.random()
        for fate, share in (("lost", self.lost), ("unanswered", self.unanswered), ("late", self.late)):
            if drawn < share:
                return fate
            drawn -= share
        return "twice" if drawn < self.twice and verb in _TWICE else "delivered"


class Network:
    """One way to the server. ``cut_until``: nothing passes before."""

    def __init__(self, loop: Loop, server: Server, weather: Weather, chance: random.Random, actor: Actor) -> None:
        self.loop = loop
        self.server = server
        self.weather = weather
        self.chance = chance
        self.actor = actor
        self.cut_until = 0.0
        self.outages = 0

    def call(self, verb: str, act: Callable[[], T]) -> T:
        """Have something done on the server; StoreUnavailable when its answer does not come, done or not."""
        fate = self.begin(verb)
        if fate == "late":
            self._later(verb, act)
            raise self.failed()
        value = act()
        if fate == "twice":
            value = act()
        if fate == "unanswered":
            raise self.failed()
        self.loop.sleep(self.chance.uniform(0.0, 0.004))
        return value

    def begin(self, verb: str) -> str:
        """Send a request, and wait until it is there; what becomes of it. StoreUnavailable when it does not come."""
        self.loop.sleep(self.chance.uniform(0.0, 0.004))
        fate = self.weather.draw(self.chance, verb)
        if self.is_cut:
            fate = "refused" if self.chance.random() < 0.7 else "lost"
        if fate != "delivered":
            self.loop.note(verb, fate)
        if fate in ("lost", "refused"):
            raise self.failed(slow=fate == "lost")
        return fate

    @property
    def is_cut(self) -> bool:
        """Whether nothing passes."""
        return self.loop.now < max(self.cut_until, self.server.down_until)

    def failed(self, *, slow: bool = True) -> StoreUnavailable:
        """The error for a request without an answer, when its time is over."""
        self.outages += 1
        patience = self.chance.choice((0.2, 5.0, 40.0)) if slow else 0.001
        self.loop.sleep(patience * self.chance.uniform(0.5, 1.0))
        return StoreUnavailable("the pool is out of reach")

    def _later(self, verb: str, act: Callable[[], object]) -> None:
        def arrive() -> None:
            self.loop.actor = self.actor
            if self.server.down_until > self.loop.now:
                return
            self.loop.note(verb, "arrives")
            try:
                act()
            except PicasError:
                return

        self.loop.at(self.loop.now + self.chance.uniform(0.0, _LATE) * self.chance.random(), arrive)


class _Database:
    """What the PostgreSQL store's exchange and pilots ask of a connection."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._server = network.server
        self.address = SimpleNamespace(url="simulation:")

    @property
    def outages(self) -> int:
        return self._network.outages

    def now(self) -> float:
        return self._server.store.now()

    def write(self, work: Callable[[Server], T]) -> T:
        """A transaction. One whose answer is lost took place or not, which the handle can ask for."""
        network, chance = self._network, self._network.chance
        fate = network.begin("exchange")
        if fate == "delivered":
            value, _ = self._server.transaction(work, keep=True)
            network.loop.sleep(chance.uniform(0.0, 0.004))
            return value
        if fate == "late" and chance.random() < 0.5:  # it broke before the end was asked for: nothing to look up
            raise network.failed()
        value, number = self._server.transaction(work, keep=fate == "unanswered")
        if chance.random() < network.weather.undecided:
            self._server.undecided[number] = network.loop.now + chance.uniform(0.0, 60.0)
        problem = network.failed()
        if not network.is_cut and chance.random() < 0.5:
            try:
                answer = self.took_place(number)
            except StoreUnavailable:
                answer = None
            if answer:
                return value
            if answer is not None:
                raise problem
        raise Unsettled(problem, number, value)

    def took_place(self, number: str) -> bool | None:
        return self._network.call("took_place", lambda: self._server.took_place(number))

    def rows(self, query: str, *values: Any) -> list[Any]:
        if query == pilots._LISTED:
            return self._network.call("pilots", self._listed)
        (ids,) = values
        found = self._network.call("get", lambda: self._server.store.get(ids))
        return [(doc["_id"], dumps(doc)) for doc in found if doc is not None]

    def _listed(self) -> list[tuple[str, str, str, str, float]]:
        self._server.listed_at[self._network.actor.name] = self._network.loop.now
        found = sorted(self._server.store.pilots(), key=lambda record: record.id)
        heard_at = self._server.heard_at
        return [(one.id, dumps(fields_of(one)), one.orders, str(heard_at[one.id]), one.silent) for one in found]


def carry_out(
    sql: Server, settlements: Sequence[Settlement], queue: exchanges._Queue, now: float
) -> exchanges._Outcome:
    """In place of the statements of an exchange: the same on the pool in memory."""
    del now
    done = sql.store.exchange(settlements, queue._wish)
    return exchanges._Outcome(done.settled, done.claimed)


class _Handle(TokenStore):
    """A pool as seen through a network. `exchange` after StoreUnavailable goes on where it ended."""

    capabilities = Capabilities(durable=True, shared=True, atomic_load=True)
    url = "simulation:"

    def __init__(self, network: Network) -> None:
        self.network = network
        self.store = network.server.store
        database: Any = _Database(network)
        self._exchanger = exchanges.Exchanger(database)
        self._pilots = pilots.Pilots(database)
        self._seen = -1
        self._has_waited = False

    def now(self) -> float:
        return self.store.now()

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        seen = self.network.server.sequence
        done = self._exchanger.exchange(settlements, claim, None)
        if claim is not None:
            self._seen = seen
        self.network.server.believes(self.network.actor, settlements, done)
        return done

    def beat(self, record: PilotRecord) -> Beat:
        return self.network.call("beat", lambda: self.network.server.beat(record))

    def pilots(self) -> list[PilotRecord]:
        return self._pilots.listed()

    def forget(self, pilot: str) -> None:
        self._exchanger.give_back()
        self.network.call("forget", lambda: self.network.server.forget(pilot))

    def wait(self, seconds: float) -> bool:
        """Whether something has changed. Waiting is to leave the loop of the pilot, and come back."""
        sequence = self.network.server.sequence
        changed = sequence != self._seen
        if not changed and seconds > 0 and not self._has_waited:
            self._has_waited = True
            raise Asleep(seconds)
        self._has_waited = False
        self._seen = sequence
        return changed

    def close(self) -> None:
        pass


def _passed_on(verb: str) -> Callable[..., Any]:
    def call(self: _Handle, *args: Any, **kwargs: Any) -> Any:
        return self.network.call(verb, lambda: getattr(self.store, verb)(*args, **kwargs))

    call.__name__ = verb
    return call


_OWN = set(vars(_Handle))
Handle: type[_Handle] = type(
    "Handle", (_Handle,), {verb: _passed_on(verb) for verb in TokenStore.__abstractmethods__ if verb not in _OWN}
)
"""The whole store: every verb that is not its own passes the network."""
