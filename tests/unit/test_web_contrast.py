"""The colours of the page in both schemes have the contrast that WCAG AA asks for, and mean nothing by themselves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import picas.web
from picas.lifecycle import State
from picas.reports.attempts import Fate

CSS = (Path(picas.web.__file__).parent / "static" / "page.css").read_text()
_GROUNDS = ("ground", "surface", "sunk")
_TEXTS = ("ink", "soft", "accent", "todo-ink", "locked-ink", "done-ink", "error-ink", "held-ink")
_SHAPES = ("todo", "locked", "done", "error", "held", "focus", "edge")
_READ, _SEEN = 4.5, 3.0

Colours = dict[str, str]


def scheme(name: str) -> Colours:
    """The variables of a scheme; dark ones stand in place of light ones."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return found if name == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Between 1 and 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_the_norm_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_can_be_read(name: str) -> None:
    colours = scheme(name)
    pairs = [*itertools.product(_TEXTS, _GROUNDS), ("surface", "accent"), ("ink", "warn"), ("ink", "calm")]
    weak = {pair: round(contrast(*(colours[one] for one in pair)), 2) for pair in pairs}
    assert {pair: value for pair, value in weak.items() if value < _READ} == {}


@pytest.mark.parametrize("name", ["light", "dark"])
def test_shapes_can_be_seen(name: str) -> None:
    colours = scheme(name)
    weak = {(one, "surface"): round(contrast(colours[one], colours["surface"]), 2) for one in _SHAPES}
    assert {pair: value for pair, value in weak.items() if value < _SEEN} == {}


@pytest.mark.parametrize(("kind", "names"), [("state", [*State, "alive", "lost"]), ("fate", [*Fate])])
def test_nothing_is_told_by_its_colour_alone(kind: str, names: list[str]) -> None:
    marks = {name: re.search(rf'\.{kind}\.is-{name}::before[^{{}}]*\{{ content: "(.)"', CSS) for name in names}
    assert [name for name, mark in marks.items() if mark is None] == []
    assert len({mark[1] for mark in marks.values() if mark}) == len(marks)
