"""The screen of ``picas top`` in terminals of any size."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from picas.cli.screen import Picture, amount, drawn, length, pilot_row, token_row
from picas.testing.samples import beat_of

USED = {"cpu": 63.9, "memory": 5 << 30, "job": {"a": "77"}}


def shown(width: int, height: int, pilots: int = 3, tokens: int = 3) -> list[str]:
    records = [
        beat_of(
            f"node{n}-12345-abcdef",
            cores=64,
            busy=64,
            running=60,
            finished=12345,
            cpu=63.9,
            memory_used=5 << 30,
            job={"a": "77"},
        )
        for n in range(pilots)
    ]
    docs = [
        {"_id": f"t{n}\x1b[2J", "lock": 5, "claim": {"pilot": "node0", "at": 100.0}, "command": ["a", "b\n"]}
        for n in range(tokens)
    ]
    picture = Picture(
        pool="pool.db",
        counts={"todo": 7, "locked": 3},
        pace="1.0 tokens/s",
        pilots=[pilot_row(record, record.started_at + 100) for record in records],
        tokens=[token_row(doc, 165.0) for doc in docs],
    )
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(drawn(picture, width, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (80, 8)])
@pytest.mark.parametrize("many", [0, 3, 500])
def test_it_fits(width: int, height: int, many: int) -> None:
    lines = shown(width, height, many, many)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_what_is_left_out_is_counted() -> None:
    lines = shown(80, 24, 500, 500)
    assert sum(line.startswith("node") for line in lines) + 492 == 500
    assert [line.strip() for line in lines if line.startswith("and ")] == ["and 492 more", "and 493 more"]


def test_figures_are_whole_in_80_columns_and_more_is_there_in_wider_ones() -> None:
    narrow, wide = shown(80, 24), shown(160, 24)
    assert any("64/64  60 12345 63.9 5.0G" in line for line in narrow), narrow
    assert any("1m05 node0 a b\\n" in line.replace("  ", " ") for line in wide), wide
    assert not any("\x1b" in line for line in wide)


def test_a_pilot_of_before_says_less() -> None:
    row = pilot_row(beat_of("p1", silent=math.inf), 0.0)
    assert (row["cpu"], row["memory"], row["beat"], row["busy"], row["state"]) == (None, None, None, None, "lost")


def test_lengths_and_amounts_take_little_room() -> None:
    assert [length(seconds) for seconds in (None, 0, 59, 61, 3660, 400_000)] == ["", "0s", "59s", "1m01", "1h01", "4d"]
    sizes = [None, 0, 999, 2048, 5 << 20, 123 << 30]
    assert [amount(size) for size in sizes] == ["", "0B", "999B", "2.0K", "5.0M", "123G"]
