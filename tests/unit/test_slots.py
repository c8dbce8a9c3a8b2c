"""Sharing out a pilot's slots: who gets what, who may go before whom, and that nobody starves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from picas import tokens
from picas.lifecycle import Claimant, claim, put
from picas.pilot import holdings as module
from picas.pilot.holdings import Holding, Holdings
from picas.pilot.sharing import left_to
from picas.pilot.slots import Durations, Slots, amounts_of, reserve
from picas.stores.base import PilotRecord
from picas.tokens import Requirements

GIB = 2.0**30


def offer(cores: float = 4, **more: Any) -> Requirements:
    return Requirements(cores=cores, memory=more.pop("memory", 8 * GIB), gpus=more.pop("gpus", 0), other=more)


class TestSlots:
    def test_what_is_taken_is_not_free_until_it_is_given_back(self) -> None:
        slots = Slots(offer(4, licence=2))
        grant = slots.take({"cores": 3, "memory": 6 * GIB, "licence": 2})
        assert slots.free(0) == {"cores": 1, "memory": 2 * GIB, "gpus": 0, "licence": 0}
        assert not slots.fits({"cores": 1, "licence": 1}, 0)
        assert slots.fits({"cores": 1, "memory": GIB}, 0)
        assert not slots.fits({"cores": 1, "memory": GIB}, 1)
        slots.give(grant)
        assert slots.fits({"cores": 4, "memory": 8 * GIB, "licence": 2}, 0)

    def test_cpus_and_gpus_are_handed_out_by_number_and_none_twice(self) -> None:
        slots = Slots(offer(4), cpus=[2, 3, 5, 7], gpus=["0", "GPU-a", "7"])
        first, second = slots.take({"cores": 2, "gpus": 2}), slots.take({"cores": 2, "gpus": 1})
        assert (first.cpus, first.gpus) == ((2, 3), ("0", "GPU-a"))
        assert (second.cpus, second.gpus) == ((5, 7), ("7",))
        slots.give(first)
        assert slots.take({"cores": 2}).cpus == (2, 3)

    def test_one_core_and_a_part_of_a_machine_are_not_bound(self) -> None:
        assert Slots(offer(4), cpus=[0, 1, 2, 3]).take({"cores": 1}).cpus == ()
        assert Slots(offer(2), cpus=[0, 1, 2, 3]).take({"cores": 2}).cpus == ()
        assert Slots(offer(4), cpus=[0, 1]).take({"cores": 2}).cpus == ()

    def test_tenths_that_come_back_are_whole(self) -> None:
        slots = Slots(offer(4, licence=1))
        for grant in [slots.take({"cores": 1, "licence": 0.1}) for _ in range(3)]:
            slots.give(grant)
        assert slots.fits({"cores": 1, "licence": 1}, 0)

    @pytest.mark.parametrize(
        ("need", "expected"),
        [
            (Requirements(), {"cores": 1}),
            (Requirements(cores=0.5), {"cores": 1}),
            (Requirements(cores=2.5, gpus=0.5), {"cores": 3, "gpus": 1}),
            (Requirements(cores=1, memory=5, time=9, other={"x": 2, "y": 0}), {"cores": 1, "memory": 5, "x": 2}),
        ],
    )
    def test_amounts(self, need: Requirements, expected: dict[str, float]) -> None:
        assert amounts_of(need) == expected


class TestReservations:
    RUNNING = ((10.0, {"cores": 1.0}), (5.0, {"cores": 2.0}), (20.0, {"cores": 1.0}))

    @pytest.mark.parametrize(("cores", "at", "spare"), [(2, 5, 0), (3, 10, 0), (4, 20, 0), (1, 5, 1)])
    def test_it_is_for_when_enough_is_free(self, cores: float, at: float, spare: float) -> None:
        found = reserve({"cores": cores}, {"cores": 0.0}, self.RUNNING)
        assert (found.at, found.spare["cores"]) == (at, spare)

    def test_others_go_before_when_they_end_in_time_or_need_what_is_left_over(self) -> None:
        found = reserve(
            {"cores": 1, "memory": 6.0}, {"cores": 3.0, "memory": 2.0}, [(10.0, {"cores": 1, "memory": 6.0})]
        )
        assert found.admits({"cores": 1, "memory": 1}, 10.0)
        assert found.admits({"cores": 1, "memory": 2}, math.inf)
        assert found.admits({"cores": 1}, math.inf)
        assert not found.admits({"cores": 1, "memory": 3}, 10.1)
        assert not found.admits({"cores": 4}, math.inf)

    def test_what_is_expected_comes_from_the_mean_of_the_kind_and_its_own_word(self) -> None:
        durations = Durations()
        assert durations.most("a", 0) == math.inf
        assert durations.most("a", 60) == 60
        durations.measured("a", 1.0)
        assert durations.most("a", 60) == 2.0
        assert durations.most("a", 1.5) == 1.5
        assert durations.most("b", 0) == math.inf


@dataclass
class World:
    """A pilot's holdings in virtual time: it claims as the pilot does, and each token takes as long as it says."""

    holdings: Holdings
    cores: int
    now: float = 0.0
    pool: list[dict[str, Any]] = field(default_factory=list)
    running: dict[int, tuple[float, Holding]] = field(default_factory=dict)
    queue: list[Holding] = field(default_factory=list)
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0

    def step(self) -> None:
        """Claim and send while there is something to, and let time go on to the next end."""
        while self._claim():
            pass
        self.check()
        assert self.running, "nothing runs, though something waits"
        number, (end, holding) = min(self.running.items(), key=lambda item: item[1][0])
        self.now = end
        del self.running[number]
        self.ended[holding.doc["_id"]] = end
        self.holdings.drop(number)
        self.holdings.measured(holding, end - self.began[holding.doc["_id"]])
        self._begin()

    def _claim(self) -> bool:
        before = len(self.pool)
        if (wanted := self.holdings.wanted) > 0:
            offered = replace(self.holdings.offer, time=math.inf)
            fitting = (doc for doc in self.pool if tokens.requirements(doc).within(offered))
            for doc in list(itertools.islice(fitting, wanted)):
                self.pool.remove(doc)
                self.holdings.add(claim(doc, Claimant(pilot="p"), 1.0))
        while (holding := self.holdings.next()) is not None:
            self.holdings.grant(holding)
            self.holdings.sent(holding)
            self.queue.append(holding)
        self._begin()
        return len(self.pool) < before

    def _begin(self) -> None:
        while self.queue and len(self.running) < self.cores:
            holding = self.queue.pop(0)
            self.began[holding.doc["_id"]] = self.now
            self.busy += holding.cores * holding.doc["seconds"]
            self.running[holding.number] = (self.now + holding.doc["seconds"], holding)

    def check(self) -> None:
        """Nothing is shared out twice."""
        needs = [tokens.requirements(holding.doc) for _, holding in self.running.values()]
        assert sum(max(1, need.cores) for need in needs) <= self.cores
        assert sum(need.memory for need in needs) <= 8 * GIB

    def work(self) -> None:
        """To the end."""
        while self.pool or len(self.holdings):
            self.step()

    def use(self) -> float:
        """The part of its cores that was busy until the end."""
        return self.busy / (self.cores * self.now)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def make(docs: Iterable[Mapping[str, Any]], cores: int = 4) -> World:
        made = World(Holdings(Slots(offer(cores))), cores)
        made.pool = [put({"_id": f"t{number}", **doc}) for number, doc in enumerate(docs)]
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
        return made

    return make


SHORT = {"seconds": 0.1}
WIDE = {"seconds": 2.0, "requires": {"cores": 4}}
LARGE = {"seconds": 0.5, "requires": {"memory": "3 GiB"}}


def starts(world: World, what: Mapping[str, Any]) -> list[float]:
    return sorted(at for name, at in world.began.items() if _seconds(world, name) == what["seconds"])


def _seconds(world: World, name: str) -> float:
    return round(world.ended[name] - world.began[name], 6)


class TestPacking:
    def test_a_mixed_pool_keeps_the_cores_busy_and_starves_nothing(self, world: Callable[..., World]) -> None:
        made = world(itertools.islice(itertools.cycle([*[SHORT] * 20, WIDE, *[LARGE] * 3]), 1200))
        made.work()
        assert made.use() > 0.9
        # In order of age, each kind to its end along with the others: no kind waits for another to be over.
        for kind in (SHORT, WIDE, LARGE):
            assert starts(made, kind)[0] < 0.05 * made.now
            assert starts(made, kind)[-1] > 0.8 * made.now

    def test_a_wide_token_comes_soon_though_narrow_ones_never_end_to_come(self, world: Callable[..., World]) -> None:
        made = world([*[SHORT] * 40, WIDE, *[SHORT] * 4000])
        made.work()
        assert starts(made, WIDE)[0] < 2.0

    def test_narrow_ones_go_before_when_they_end_in_time(self, world: Callable[..., World]) -> None:
        long = {"seconds": 10.0, "requires": {"cores": 1, "time": 10}}
        made = world([*[SHORT] * 4, long, WIDE, *[SHORT] * 1000])
        made.work()
        (began,) = starts(made, WIDE)
        assert 10.0 <= began <= 10.5
        before = sum(at < began for at in starts(made, SHORT))
        assert before > 250, "three cores were used for ten seconds"

    def test_ones_of_which_nothing_is_known_do_not(self, world: Callable[..., World]) -> None:
        long = {"seconds": 10.0, "requires": {"cores": 1, "time": 10}}
        unknown = {"seconds": 30.0, "requires": {"cores": 1, "x": 0}}
        made = world([long, WIDE, *[unknown] * 20])
        made.work()
        assert starts(made, WIDE) == [10.0]

    def test_what_does_not_touch_it_goes_before(self, world: Callable[..., World]) -> None:
        large = {"seconds": 50.0, "requires": {"memory": "8 GiB"}}
        made = world([{**large, "seconds": 40.0}, large, *[{"seconds": 30.0}] * 9])
        made.work()
        assert starts(made, {"seconds": 30.0})[:6] == [0.0, 0.0, 0.0, 30.0, 30.0, 30.0]
        assert 40.0 <= starts(made, large)[0] <= 60.0

    def test_after_one_that_lasted_longer_than_expected_none_goes_before(self, world: Callable[..., World]) -> None:
        liar = {"seconds": 100.0, "requires": {"cores": 1, "kind": 0}}
        honest = {"seconds": 1.0, "requires": {"cores": 1, "kind": 0}}
        long = {"seconds": 30.0, "requires": {"cores": 1, "time": 30}}
        made = world([honest, long, WIDE, *[honest] * 5, liar, *[honest] * 500])
        made.work()
        (wide,) = starts(made, WIDE)
        # It had to wait for the one that lied, and for no more than that.
        assert wide == next(at for name, at in made.ended.items() if _seconds(made, name) == 100.0)

    def test_a_token_that_waits_for_what_others_have_keeps_no_more_from_the_pool(
        self, world: Callable[..., World]
    ) -> None:
        made = world([{"seconds": 100.0, "requires": {"cores": 3}}, *[WIDE] * 20])
        made.step()
        assert len(made.holdings) <= 4
        assert made.holdings.offer.cores <= 4
        made.now = 1.0
        made.step()
        assert len(made.holdings) <= 4


class TestLeavingTokensToOthers:
    WAITING = (
        Holding(1, {"_id": "a"}, 4, {"cores": 4.0}),
        Holding(2, {"_id": "b"}, 4, {"cores": 4.0}),
        Holding(3, {"_id": "c"}, 1, {"cores": 1.0, "licence": 1.0}),
        Holding(4, {"_id": "d"}, 1),
    )

    @pytest.mark.parametrize(
        ("others", "expected"),
        [
            ([], []),
            ([{"cores": 4}], ["a"]),
            ([{"cores": 8}], ["a", "b"]),
            ([{"cores": 4, "running": 1}], ["d"]),
            ([{"cores": 4, "running": 4}], []),
            ([{"cores": 4, "orders": "stop"}], []),
            ([{"cores": 1, "offers": {"licence": 1}}, {"cores": 1}], ["c", "d"]),
        ],
    )
    def test_each_goes_where_there_is_room_for_it(self, others: list[dict[str, Any]], expected: list[str]) -> None:
        pilots = [
            PilotRecord(id=f"p{number}", hostname="n", pid=1, started_at=0.0, lease=60.0, **other)
            for number, other in enumerate(others)
        ]
        assert [holding.doc["_id"] for holding in left_to(pilots, self.WAITING)] == expected

    def test_only_those_that_have_waited_are_stuck(self, world: Callable[..., World]) -> None:
        made = world([{"seconds": 100.0, "requires": {"cores": 3}}, WIDE])
        made.holdings.add(claim(made.pool[0], Claimant(pilot="p"), 1.0))
        made.holdings.add(claim(made.pool[1], Claimant(pilot="p"), 1.0))
        (first, second) = made.holdings
        made.holdings.grant(first)
        made.holdings.sent(first)
        assert made.holdings.stuck() == []
        made.now = 6.0
        assert made.holdings.stuck() == [second]
        made.holdings.be_modest()
        assert made.holdings.offer.cores == 1
