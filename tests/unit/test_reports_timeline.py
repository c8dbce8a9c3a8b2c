"""The picture: well-formed whatever the ids are, small whatever the pool is, and true to what it shows."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas.lifecycle import Doc
from picas.reports import rows
from picas.reports.summary import summarise
from picas.reports.tally import Tally
from picas.reports.ticks import ticks
from picas.reports.timeline import timeline

T0 = 1.79e9
SVG = "{http://www.w3.org/2000/svg}"
GOLDEN = Path(__file__).with_name("timeline.svg")


def token(
    name: str, start: float, runtime: float, *, pilot: str = "p1", cores: int = 1, offered: int = 4, code: int = 0
) -> Doc:
    attempt = {"fence": 1, "pilot": pilot, "hostname": "node7", "start": T0 + start, "runtime": runtime}
    attempt |= {"reason": "exit", "exit_code": code, "pilot_cores": offered}
    doc = {"_id": name, "type": "token", "lock": int(T0), "done": int(T0 + 1), "exit_code": code, "fence": 1}
    return {**doc, "attempts": [attempt], "requires": {"cores": cores}}


def drawn(docs: list[Doc], name: str = "pool", spans: int = 50_000) -> str:
    tally = Tally(now=T0 + 1000, spans=spans)
    tally.add_all(docs)
    return "".join(timeline(summarise(tally), name))


def elements(text: str, tag: str, look: str = "") -> list[ET.Element]:
    return [one for one in ET.fromstring(text).iter(SVG + tag) if not look or one.get("class") == look]


def blocks(text: str, look: str) -> list[ET.Element]:
    """Attempts, not the squares of the legend."""
    return [one for one in elements(text, "rect", look) if float(one.get("y", "0")) > 100]


def test_a_small_picture_is_as_it_was() -> None:
    """``timeline.svg`` beside this file: look at it in a browser before you replace it by what is drawn now."""
    docs = [token("a", 0, 10), token("b", 0, 25), token("bad", 11, 8, code=2), token("wide", 30, 20, cores=4)]
    assert drawn(docs) == GOLDEN.read_text(encoding="utf-8")


def test_a_wide_one_covers_its_lanes_and_titles_say_what_it_is() -> None:
    text = drawn([token("narrow", 0, 10), token("wide", 20, 10, cores=4), token("bad", 40, 10, code=3)])
    lanes = elements(text, "rect", "lane")
    assert len(lanes) == 4
    narrow, wide = blocks(text, "done")
    assert float(wide.get("height", "0")) == 4 * float(narrow.get("height", "0")) + 3 * 2
    (bad,) = blocks(text, "failed")
    assert float(bad.get("height", "0")) < float(narrow.get("height", "0"))
    assert "failed (exit 3), 10 s" in "".join(bad.itertext())
    assert "pool: cores 30.0 % busy" in text


_ANY = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["</text><script>alert(1)</script>", '"><img src=x onerror=1>', "]]>", "&amp;", "-->", "\x1b[31m", "\x00", "\ud800"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(_ANY, min_size=1, max_size=4), pilot=_ANY, pool=_ANY)
def test_ids_are_text_whatever_they_are(names: list[str], pilot: str, pool: str) -> None:
    docs = [token(name, 10 * number, 9, pilot=pilot) for number, name in enumerate(names)]
    text = drawn(docs, pool)
    text.encode()
    known = {"svg", "title", "desc", "style", "defs", "rect", "text", "path", "pattern"}
    assert {one.tag.removeprefix(SVG) for one in ET.fromstring(text).iter()} <= known
    assert all(ord(one) >= 32 or one == "\n" for one in text)
    assert not any(name.startswith("on") or name == "href" for one in ET.fromstring(text).iter() for name in one.attrib)


def test_nothing_has_run_yet() -> None:
    text = drawn([])
    assert "Nothing has run yet" in text
    assert len(text) < 4000


def pool_of(pilots: int, each: int, cores: int, length: float = 60.0) -> list[Doc]:
    chance = random.Random(1)
    docs = []
    for pilot in range(pilots):
        free = [float(pilot)] * cores
        for number in range(each):
            lane = free.index(min(free))
            runtime = length * chance.lognormvariate(0, 0.5)
            name, offered = f"t{pilot}-{number}", {"pilot": f"pilot-{pilot}", "offered": cores}
            docs.append(token(name, free[lane], runtime, code=int(chance.random() < 0.05), **offered))  # type: ignore[arg-type]
            free[lane] += runtime
    return docs


@pytest.mark.parametrize(
    ("pilots", "each", "cores"), [(1, 8000, 4), (40, 80, 4), (40, 100, 1), (3, 1500, 64), (90, 20, 4)]
)
def test_large_pools_make_small_pictures(pilots: int, each: int, cores: int) -> None:
    text = drawn(pool_of(pilots, each, cores))
    shapes = elements(text, "rect") + elements(text, "path")
    assert len(shapes) < 20_000
    assert len(text) < 3_000_000
    names = [one.text or (one[0].tail or "") for one in elements(text, "text")]
    assert sum(name.startswith("pilot-") for name in names) == min(pilots, 60 if pilots <= 60 else 59)


def test_with_more_attempts_than_blocks_the_longest_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_BLOCKS", 10)
    docs = [token(f"t{number}", 100 * number, 10 + number) for number in range(40)]
    text = drawn(docs)
    titles = ["".join(one.itertext()).split("\n")[0] for one in blocks(text, "done")]
    assert set(titles) <= {f"t{number}" for number in range(30, 40)}
    assert Counter(one.get("class") for one in elements(text, "path"))["done"] >= 2


def test_without_attempts_one_by_one_a_pilot_is_a_strip() -> None:
    text = drawn(pool_of(2, 100, 4), spans=50)
    assert len(elements(text, "rect", "lane")) == 2
    assert "a strip for each pilot" in text
    assert len(elements(text, "path", "done")) == 3


@settings(deadline=None)
@given(st.floats(1e-3, 1e9), st.integers(2, 12))
def test_marks_are_round_few_and_within(length: float, most: int) -> None:
    marks = ticks(length, most)
    assert 1 <= len(marks) <= most + 1 or length > 20000 * 86400 * most
    assert all(0 <= at <= length * 1.0001 for at, _ in marks)
    assert len({said for _, said in marks}) == len(marks)
