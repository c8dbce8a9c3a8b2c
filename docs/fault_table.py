"""The page on faults, from the tests themselves: a row for each fault and test file.

A test says in the first paragraph of its docstring, or its module says for all its tests, ``F7: what is done. What
holds.``; the number is also in the name of the file or of the test. What a test is called is what stands here, so that
the page cannot claim what no test shows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("tests/fault/test_*.py", "tests/property/test_simulation.py")
PROMISED = (*range(1, 13), *range(20, 25), 31, *range(50, 62))
"""Faults that must have a test."""

_STORES = {
    "test_couchdb": "CouchDB",
    "test_postgres": "PostgreSQL",
    "test_simulation": "simulated",
    "test_f84": "memory",
    "test_f87_slurm": "none: jobs",
}
_SAID = re.compile(r"F(\d+)( on every store)?: (.+)")

INTRO = """# Faults

Each fault that picas is built to survive, and the tests that show it. Real pilots, real commands and real servers are
used, but for F14, which runs pilots, people and faults in virtual time ([Simulation](simulation.md)). The numbers are
those in the names of the tests. Tier A runs with `make test`, on every change; soak with `make soak`, by hand. `make
mutants` takes each guard out of the code in turn, and has a test notice.

This page is written by `docs/generate.py` (`make docs`) from the tests; do not edit it.

| | what is done | what holds | test | tier | store |
|---|---|---|---|---|---|
"""


@dataclass
class Row:
    """What a file's tests show of one fault."""

    number: int
    file: str
    texts: list[str] = field(default_factory=list)
    every_store: bool = False
    tiers: set[str] = field(default_factory=set)


def page() -> str:
    """The whole page."""
    rows: dict[tuple[int, str], Row] = {}
    for place in PLACES:
        for path in sorted(ROOT.glob(place)):
            _read(path, rows)
    found = {number for number, _ in rows}
    lines = [(row.number, row.file, _line(row)) for row in rows.values()]
    lines += [(number, "", f"| F{number} | no test yet | | | | |\n") for number in PROMISED if number not in found]
    return INTRO + "".join(line for _, _, line in sorted(lines))


def _read(path: Path, rows: dict[tuple[int, str], Row]) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    general = list(_said(module))
    for test in module.body:
        if not (isinstance(test, ast.FunctionDef) and test.name.startswith("test_")):
            continue
        for number, everywhere, text in list(_said(test)) or general:
            row = rows.setdefault((number, path.name), Row(number, path.relative_to(ROOT).as_posix()))
            row.texts += [text] if text not in row.texts else []
            row.every_store |= everywhere
            row.tiers |= _tiers(test)


def _said(node: ast.Module | ast.FunctionDef) -> Iterator[tuple[int, bool, str]]:
    first = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    if told := _SAID.fullmatch(first):
        yield int(told[1]), bool(told[2]), told[3]


def _tiers(test: ast.FunctionDef) -> set[str]:
    """A test that is a soak itself, or whose parameters partly are, by its decorators."""
    marks = [ast.unparse(mark) for mark in test.decorator_list]
    if any(mark.endswith("mark.soak") or mark == "SOAK" for mark in marks):
        return {"soak"}
    return {"A", "soak"} if any("mark.soak" in mark or "SOAK" in mark for mark in marks) else {"A"}


def _line(row: Row) -> str:
    name = Path(row.file).name
    kind = next((store for start, store in _STORES.items() if name.startswith(start)), "SQLite")
    end = f"`{row.file}` | {', '.join(sorted(row.tiers))} | {'every store' if row.every_store else kind} |\n"
    lines = []
    for text in row.texts:
        what, _, then = text.partition(". ")
        lines.append(f"| F{row.number} | {_sentence(what)} | {_sentence(then)} | {end}")
    return "".join(lines)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".").replace("|", "\\|")
    return f"{text[:1].upper()}{text[1:]}." if text else ""
