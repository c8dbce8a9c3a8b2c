"""What is done to a simulated pool: faults of pilots, network and server, and what people do meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable

from picas.errors import StoreUnavailable
from picas.lifecycle import Doc
from picas.pool import Pool
from picas.testing.simulation.checks import Person
from picas.testing.simulation.loop import BASE, Actor
from picas.testing.simulation.network import Handle, Weather
from picas.testing.simulation.pilots import Plan, SimulatedPilot
from picas.testing.simulation.world import World

__all__ = ["Disturber", "new_token"]

_KINDS = {
    "stop": 4, "kill": 3, "start": 2, "cut": 3, "outage": 1, "runner": 1, "signal": 1, "weather": 2, "order": 1,
    "recover": 3, "reset": 2, "cancel": 1, "priority": 3, "delete": 1, "put back": 2, "hold": 1, "add": 1,
}  # fmt: skip
"""Disturbances, and how often one comes compared with others."""


def new_token(chance: random.Random, name: str, earlier: list[str], lease: float) -> tuple[Doc, Plan]:
    """A random token, and what its command will do."""
    doc: Doc = {"_id": name, "type": "token", "command": ["work"], "max_scrub": chance.choice((0, 0, 1, 3))}
    doc["priority"] = chance.choice((0, 0, 0, 1, 5))
    if earlier and chance.random() < 0.2:
        doc["after"] = sorted(chance.sample(earlier, min(len(earlier), chance.randint(1, 2))))
    if chance.random() < 0.1:
        doc["not_before"] = BASE + chance.uniform(0.0, 3 * lease)
    if chance.random() < 0.2:
        doc["requires"] = {"cores": 2}
    codes = [1] * chance.choice((0, 0, 0, 0, 1, 2, 9))
    seconds = chance.choice((0.01, 1.0, lease / 2, 2 * lease)) * chance.uniform(0.5, 1.5)
    return doc, Plan(exit_codes=codes, seconds=seconds, kills=chance.random() < 0.08)


class Disturber:
    """Disturbs, one step after another. Each run has kinds of its own: what always happens hides what it prevents."""

    def __init__(self, world: World, steps: int) -> None:
        self._world = world
        self._chance = world.chance
        self._left = steps
        kinds = {kind: weight for kind, weight in _KINDS.items() if self._chance.random() < 0.6}
        self._kinds = list(kinds or {"priority": 1})
        self._weights = [_KINDS[kind] for kind in self._kinds]
        self._mean = self._chance.choice((0.5, 2.0, 5.0))
        self._deleted: list[str] = []
        self._observer = Actor("observer")
        self._look = Pool(Handle(world.network(self._observer)))
        self._looks = False
        world.loop.at(0.0, self._step)

    def _step(self) -> None:
        world = self._world
        if not self._left:
            world.calm()
            return
        self._left -= 1
        kind = self._chance.choices(self._kinds, self._weights)[0]
        world.loop.actor = Actor("chance")
        world.loop.note(kind)
        self._do(kind)
        world.loop.at(world.loop.now + self._chance.expovariate(1 / self._mean), self._step)

    def _do(self, kind: str) -> None:
        of_pilots: dict[str, Callable[[SimulatedPilot], None]] = {
            "stop": self._stop, "kill": self._kill, "cut": self._cut, "runner": SimulatedPilot.lose_runner,
            "signal": SimulatedPilot.signal,
        }  # fmt: skip
        of_people: dict[str, Callable[[Pool, Doc], object]] = {
            "reset": lambda pool, doc: pool.reset([doc]), "cancel": lambda pool, doc: pool.cancel([doc]),
            "hold": lambda pool, doc: pool.hold([doc]), "priority": self._prioritise, "delete": self._delete,
            "order": self._order,
        }  # fmt: skip
        of_the_world: dict[str, Callable[[], None]] = {
            "start": self._start, "outage": self._outage, "weather": self._weather, "recover": self._recover,
            "put back": self._put_back, "add": self._add,
        }  # fmt: skip
        world = self._world
        alive = [pilot for pilot in world.pilots if pilot.is_alive]
        docs = world.server.docs
        if kind in of_the_world:
            of_the_world[kind]()
        elif kind in of_pilots and alive:
            of_pilots[kind](self._chance.choice(alive))
        elif kind in of_people and docs:
            doc = dict(self._chance.choice(docs))
            self._by_person(lambda pool: of_people[kind](pool, doc))

    def _by_person(self, act: Callable[[Pool], object]) -> None:
        world = self._world
        person = Person("person")

        def do() -> None:
            world.loop.actor = person
            try:
                act(Pool(Handle(world.network(person))))
            except StoreUnavailable:
                return

        world.loop.at(world.loop.now, do)

    # Pilots

    def _stop(self, pilot: SimulatedPilot) -> None:
        until = self._world.loop.now + self._world.lease * self._chance.uniform(0.5, 3.0)
        pilot.stopped_until = max(pilot.stopped_until, until)

    def _kill(self, pilot: SimulatedPilot) -> None:
        pilot.die()
        if self._chance.random() < 0.8:
            self._start()

    def _cut(self, pilot: SimulatedPilot) -> None:
        pilot.network.cut_until = self._world.loop.now + self._world.lease * self._chance.uniform(0.05, 2.5)

    def _start(self) -> None:
        if sum(pilot.is_alive for pilot in self._world.pilots) < self._world.most_pilots:
            self._world.start_pilot()

    # Server and network

    def _outage(self) -> None:
        self._world.server.down_until = self._world.loop.now + self._world.lease * self._chance.uniform(0.1, 3.0)

    def _weather(self) -> None:
        bad = self._chance.choice((0.0, 0.01, 0.05, 0.3))
        names = ("lost", "unanswered", "late", "twice", "undecided")
        new = {name: bad * self._chance.random() for name in names}
        for name, value in vars(Weather(**new)).items():
            setattr(self._world.weather, name, value)

    # People

    def _recover(self) -> None:
        """Somebody looks whether pilots have fallen silent."""

        def do() -> None:
            if self._looks:
                return
            self._looks = True
            self._world.loop.actor = self._observer
            try:
                self._look.recover()
            except StoreUnavailable:
                return
            finally:
                self._looks = False

        self._world.loop.at(self._world.loop.now, do)

    def _prioritise(self, pool: Pool, doc: Doc) -> None:
        priority = self._chance.randint(-3, 9)
        pool.change([doc], lambda found: {**found, "priority": priority})

    def _delete(self, pool: Pool, doc: Doc) -> None:
        self._deleted.append(doc["_id"])
        pool.delete([doc])

    def _put_back(self) -> None:
        if self._deleted:
            name = self._chance.choice(self._deleted)
            doc = {"_id": name, "type": "token", "command": ["work"]}
            self._by_person(lambda pool: pool.store.put([doc]))

    def _order(self, pool: Pool, doc: Doc) -> None:
        del doc
        pilots = self._world.pilots
        pool.store.order(self._chance.choice(pilots).name, self._chance.choice(("drain", "stop")))

    def _add(self) -> None:
        doc = self._world.new_token()
        self._by_person(lambda pool: pool.store.put([doc]))
