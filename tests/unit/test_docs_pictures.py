"""The pictures in the docs: each is there, small, and shown."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_LARGEST = 70_000


def test_pictures_of_the_page_are_there_and_all_are_shown() -> None:
    shown = set(re.findall(r'(?:src|srcset)="(web/[^"]+)"', (DOCS / "web.md").read_text()))
    there = {f"web/{path.name}" for path in (DOCS / "web").iterdir()}
    assert shown == there
    assert len(shown) == 24


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "web").iterdir()}
    assert {name: size for name, size in sizes.items() if size > _LARGEST} == {}
