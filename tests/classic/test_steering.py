"""Classic pilots obey: cancel, drain and stop reach them with their next beat, and a paused pool keeps them waiting."""

from __future__ import annotations

import pytest

from classic.desk import Desk, ended, is_alive
from picas.pool import Pool
from picas.stores.steering import DRAIN, STOP
from picas.testing.samples import eventually

WAITS = {"input": "exec sleep 300"}


def _begun(desk: Desk, number: int = 1) -> None:
    eventually(lambda: len(desk.lines("begun")) >= number, 30)


def _order(desk: Desk, orders: str) -> None:
    with desk.client() as client:
        (pilot,) = client.db.pilots()
        assert client.db.order(pilot.id, orders)


@pytest.mark.parametrize("work", ["exec sleep 300", "spin"])
def test_a_cancelled_token_is_ended_with_its_children_and_not_tried_again(desk: Desk, work: str) -> None:
    desk.add(a={"input": work})
    pilot = desk.start("steered.py", "--retries", "3")
    _begun(desk)
    desk.add(b={"input": "true"})
    with desk.client() as client:
        doc = client.db.get(["a"])[0]
        assert doc is not None
        assert Pool(client.db).cancel([doc]).pending == ["a"]
    ended(pilot)

    # In error as cancelled, for good; nothing it had started is left, and the pilot went on to the other.
    (token,) = desk.docs("error").values()
    assert (token["_id"], token["reason"], token["scrub_count"]) == ("a", "cancelled", 0)
    assert list(desk.docs("done")) == ["b"]
    assert not [line for line in desk.lines("child") if is_alive(int(line.split()[1]))]


def test_a_drained_pilot_ends_after_its_token(desk: Desk) -> None:
    desk.add(**{name: {"input": "sleep 3"} for name in "abc"})
    pilot = desk.start("steered.py")
    _begun(desk)
    _order(desk, DRAIN)
    ended(pilot)

    assert desk.overview() == {"done": 1, "todo": 2}
    assert desk.lines("over") == ["over"]


def test_a_stopped_pilot_gives_its_token_back(desk: Desk) -> None:
    desk.add(a=WAITS)
    pilot = desk.start("steered.py")
    _begun(desk)
    _order(desk, STOP)
    ended(pilot)

    assert desk.overview() == {"todo": 1}
    assert not [line for line in desk.lines("child") if is_alive(int(line.split()[1]))]


def test_a_pilot_of_a_paused_pool_waits_and_goes_on(desk: Desk) -> None:
    desk.add(a={"input": "true"})
    with desk.client() as client:
        Pool(client.db).pause("maintenance", by="ann@node1")
        pilot = desk.start("steered.py")
        eventually(lambda: bool(client.db.pilots()), 30)
        assert desk.lines("begun") == []
        assert pilot.poll() is None
        Pool(client.db).resume()
    ended(pilot)

    assert desk.overview() == {"done": 1}
