"""The picture of slots: sizes within their axis, nothing lost without its being said, and no more than is bounded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picas.reports.attempts import Attempt, Fate
from picas.stores.base import PilotRecord
from picas.web import gantt
from picas.web.gantt import WIDTH, Gantt, drawn

NOW = 1_800_000_000.0


def tried(ago: float, took: float, *, pilot: str = "p1", fate: Fate = Fate.DONE, cores: float = 1.0) -> Attempt:
    start = NOW - ago
    return Attempt(token="t", pilot=pilot, hostname="n", fate=fate, start=start, end=start + took, cores=cores)


def record(name: str, *, cores: int = 2, silent: float = 0.0, **more: object) -> PilotRecord:
    given = {"hostname": "node1", "pid": 1, "started_at": NOW - 50, "lease": 60.0, "cores": cores, "silent": silent}
    return PilotRecord(id=name, **{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(("ago", "length"), [(3, 30), (31, 60), (119, 120), (2000, 3600), (4000, 3600)])
def test_the_axis_is_as_long_as_something_was_done_in(ago: float, length: float) -> None:
    assert drawn([tried(ago, ago)], [], NOW).length == length


def test_a_block_is_where_its_time_is() -> None:
    (row,) = drawn([tried(60, 15)], [], NOW).rows
    assert [(one.x, one.width) for one in row.blocks] == [(0.0, 249.4)]
    assert row.told == "1 slot: 1 done"


def test_a_failure_says_why() -> None:
    attempt = Attempt(
        token="t7", pilot="p", hostname="n", fate=Fate.FAILED, reason="exit", exit_code="3", start=NOW - 9, end=NOW - 7
    )
    (row,) = drawn([attempt], [], NOW).rows
    assert row.blocks[0].title == "t7: failed (exit 3), 2 s"


def test_pilots_that_are_there_come_first_and_idle_slots_are_drawn() -> None:
    picture = drawn([tried(20, 5, pilot="gone")], [record("idle", cores=3), record("silent", silent=90.0)], NOW)
    assert [(row.pilot, row.is_there, len(row.lanes)) for row in picture.rows] == [
        ("idle", True, 3), ("gone", False, 1), ("silent", False, 2),
    ]  # fmt: skip


def test_autopilots_have_no_slots() -> None:
    assert drawn([], [record("auto", job={"autopilot": "site"})], NOW).rows == []


def test_a_token_of_three_slots_is_three_lanes_high() -> None:
    (row,) = drawn([tried(20, 5, cores=3)], [record("p1", cores=4)], NOW).rows
    assert [(one.y, one.height) for one in row.blocks] == [(0.0, 28.0)]


def test_pilots_beyond_what_is_drawn_are_counted() -> None:
    picture = drawn([], [record(f"p{number}", cores=8) for number in range(60)], NOW)
    assert (len(picture.rows), picture.more) == (24, 36)
    wide = drawn([], [record("wide", cores=1000), record("small")], NOW)
    assert ([row.pilot for row in wide.rows], wide.more) == (["small"], 1)


def test_what_is_too_short_is_put_together() -> None:
    picture = drawn([tried(600 - 0.25 * number, 0.2) for number in range(2000)], [], NOW)
    (row,) = picture.rows
    assert row.blocks == []
    assert row.told == "1 slot: 2,000 done"
    assert all(re.fullmatch(r'<path class="[a-z]+" d="[MHVvz\d. -]+"/>', path) for path in row.dense)


_TIMES = st.tuples(st.floats(0, 5000), st.floats(0, 3000), st.sampled_from(Fate), st.integers(1, 4))


def whole(picture: Gantt) -> int:
    return sum(len(row.blocks) for row in picture.rows)


@settings(deadline=None)
@given(times=st.lists(_TIMES, max_size=60))
def test_nothing_is_outside_of_the_picture(times: list[tuple[float, float, Fate, int]]) -> None:
    attempts = [tried(ago, min(ago, took), fate=fate, cores=cores) for ago, took, fate, cores in times]
    picture = drawn(attempts, [record("p1")], NOW)
    for row in picture.rows:
        assert 0 <= row.x <= row.x + row.width <= WIDTH + 1
        assert len(row.lanes) == len(set(row.lanes))
        for one in row.blocks:
            assert 0 <= one.x < one.x + one.width <= WIDTH + 1
            assert 0 <= one.y < one.y + one.height <= row.height


def test_of_very_many_the_longest_are_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gantt, "MOST_BLOCKS", 10)
    picture = drawn(
        [tried(3000 - 30 * number, 10 + number / 10, pilot=f"p{number % 4}") for number in range(40)], [], NOW
    )
    assert whole(picture) == 10
    assert any(row.dense for row in picture.rows)
