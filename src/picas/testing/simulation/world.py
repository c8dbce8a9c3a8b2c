"""One simulated pool with all that works on it, from its beginning until nothing is left to do."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from picas.lifecycle import Doc, State, state_of
from picas.pilot.options import RunOptions
from picas.pool import Pool
from picas.testing.simulation.checks import Broken, Checker, Person
from picas.testing.simulation.loop import Actor, Loop
from picas.testing.simulation.network import Handle, Network, Weather
from picas.testing.simulation.pilots import Plan, SimulatedPilot
from picas.testing.simulation.server import Server

__all__ = ["World"]

_LONGEST = 2 * 3600.0
"""Seconds after the last fault by which everything must have come to its end."""
_LOOK = 5.0
_SETTLING = 60.0
"""Seconds until the last request that got no answer is given up."""
_SLACK = 10.0
"""Seconds that the simulation itself may add to a pilot's look for silent ones."""

_SKEWS = (0.0, 0.0, 0.0, -3600.0, -5.0, 5.0, 3600.0, 315_360_000.0, -1_800_000_000.0)


class World:
    """The pool, its pilots, the tokens' plans, and the network between them."""

    def __init__(self, chance: random.Random, loop: Loop, make: Callable[..., tuple[Doc, Plan]]) -> None:
        self.chance = chance
        self.loop = loop
        self.lease = chance.choice((20.0, 60.0))
        self.checker = Checker(loop, self.lease)
        self.server = Server(loop, self.checker)
        self.checker.heard_at, self.checker.listed_at = self.server.heard_at, self.server.listed_at
        self.checker.on_todo.append(self._wake_idle)
        self.weather = Weather()
        self.plans: dict[str, Plan] = {}
        self.pilots: list[SimulatedPilot] = []
        self.most_pilots = 8
        self._networks: list[Network] = []
        self._make = make
        self._runs = itertools.count(1)
        self._calm_at: float | None = None
        self._patience = chance.choice((0.0, 30.0, 1e9))

    def new_token(self) -> Doc:
        """A token that is to be added."""
        names = list(self.plans)
        doc, plan = self._make(self.chance, f"t{len(names)}", names, self.lease)
        self.plans[doc["_id"]] = plan
        if plan.kills:
            self.checker.killers.add(doc["_id"])
        return doc

    def network(self, actor: Actor) -> Network:
        """A way to the server for somebody."""
        self._networks.append(Network(self.loop, self.server, self.weather, self.chance, actor))
        return self._networks[-1]

    def start_pilot(self) -> None:
        """Start one more pilot."""
        options = RunOptions(
            cores=self.chance.choice((1, 2, 4)) if self._calm_at is None else 2,
            memory=1e12,
            lease=self.lease,
            idle=self._patience,
            max_time=self.chance.choice((None, None, 10 * self.lease)),
            disk_floor=0.0,
        )
        pilot = SimulatedPilot(
            self.network,
            self.checker,
            self.plans,
            options,
            chance=self.chance,
            numbers=self._runs,
            skew=self.chance.choice(_SKEWS),
            rate=self.chance.choice((1.0, 1.0, 0.99, 1.01)),
        )
        self.loop.note("starts")
        self.pilots.append(pilot)

    def calm(self) -> None:
        """The faults are over; now everything must come to its end."""
        self._calm_at = self.loop.now
        self.weather.lost = self.weather.unanswered = self.weather.late = 0.0
        self.weather.twice = self.weather.undecided = 0.0
        self.server.down_until = self.loop.now
        self.server.undecided.clear()
        for network in self._networks:
            network.cut_until = 0.0
        for pilot in self.pilots:
            if pilot.is_at_work and pilot.stopped_until > self.loop.now:
                pilot.die()  # stopped in the middle of a request: it would go on no sooner for this
            pilot.stopped_until = self.loop.now
            pilot.wake()
        self._tick()

    def _tick(self) -> None:
        """Look whether everything is at its end, and nothing takes too long."""
        self.loop.actor = Actor("checker")
        assert self._calm_at is not None
        docs = self.server.docs
        open_ = [doc for doc in docs if state_of(doc) in (State.TODO, State.LOCKED)]
        put_aside = [doc for doc in docs if self.checker.tokens[doc["_id"]].put_aside]
        alive = [pilot for pilot in self.pilots if pilot.is_alive]
        if not open_ and not put_aside and not any(pilot.holds_any() for pilot in alive):
            self.checker.finish(docs, self.server.store.count())
            self.loop.stop()
            return
        if self.loop.now > self._calm_at + _LONGEST:
            raise Broken(f"not at its end {_LONGEST:.0f} s after the last fault: {open_[:1] or put_aside[:1]}")
        for doc in open_:
            self._check_wait(doc, alive)
        if put_aside:
            self._release(put_aside)
        if open_ and not any(pilot.cores > 1 for pilot in alive):
            self.start_pilot()
        self.loop.at(self.loop.now + 2.0, self._tick)

    def _check_wait(self, doc: Doc, alive: list[SimulatedPilot]) -> None:
        """A token whose pilot is dead must not be kept from others for longer than promised."""
        holder = (doc.get("claim") or {}).get("pilot")
        dead = next((pilot for pilot in self.pilots if pilot.name == holder and not pilot.is_alive), None)
        if dead is None or self._calm_at is None:
            return
        calm_at = self._calm_at + _SETTLING
        heard = max(self.server.heard_at.get(dead.name, 0.0), calm_at)
        # Whoever has been there all along has watched; anybody else must watch for a lease first.
        awake = [pilot for pilot in alive if self.server.heard_at.get(pilot.name, 0.0) > heard - self.lease]
        first = min((pilot.started_at for pilot in awake), default=self.loop.now)
        since = heard if first < heard - _LOOK - _SLACK and heard > calm_at else max(heard, first) + self.lease
        records = [record.id for record in self.server.store.pilots()]
        looks = 2 * _LOOK * max(1.0, len(records) / 8)  # of many pilots, each looks more seldom
        if dead.name not in records and self.loop.now > heard + self.lease + looks + _SLACK:
            if dead.has_ended:
                raise Broken(f"at {self.loop.now:.3f} s: {dead.name} has signed off, and holds token {doc['_id']}")
            self._mend(dead.name)
        elif self.loop.now > since + self.lease + looks + _SLACK:
            raise Broken(
                f"at {self.loop.now:.3f} s: token {doc['_id']} is still held by {dead.name}, "
                f"for which it could be waited from {heard:.3f} s on"
            )

    def _release(self, docs: list[Doc]) -> None:
        self._by_person(lambda pool: pool.reset([dict(doc) for doc in docs]))

    def _mend(self, pilot: str) -> None:
        """A pilot died whose record a late request had removed: nobody misses it, but for `picas pool check`."""
        self.checker.counts["mended"] += 1
        self._by_person(lambda pool: pool.give_back(pilot))

    def _by_person(self, act: Callable[[Pool], object]) -> None:
        def do() -> None:
            self.loop.actor = person = Person("person")
            act(Pool(Handle(self.network(person))))

        self.loop.at(self.loop.now, do)

    def _wake_idle(self) -> None:
        for pilot in self.pilots:
            if pilot.is_idle and pilot.is_alive:
                pilot.wake(self.chance.uniform(0.001, 0.1))
