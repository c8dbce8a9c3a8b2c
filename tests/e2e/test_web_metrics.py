"""Figures for Prometheus: named by its conventions, and all that the dashboard in the docs asks for."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.pilots import until
from support.web import Web, piloted, serving

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
_SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+|NaN)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_ABBREVIATED = ("s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "kib", "mib", "gib", "pct", "min", "h", "d")
_NOT_BASE = ("milliseconds", "minutes", "hours", "days", "kilobytes", "megabytes", "percent", "bits")

Series = dict[str, dict[tuple[tuple[str, str], ...], float]]


def read(text: str) -> tuple[Series, dict[str, str]]:
    """Samples by name and labels, and the type of each name; fails on what the text format does not allow."""
    series: Series = {}
    types: dict[str, str] = {}
    helped = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split()[2]
            assert helped not in series, f"{helped} comes twice"
            assert line.endswith("."), line
        elif line.startswith("# TYPE "):
            _, _, name, types[name] = line.split()
            assert name == helped
            series[name] = {}
        else:
            found = _SAMPLE.fullmatch(line)
            assert found is not None, line
            assert found[1] == helped, line
            labels = tuple(sorted(_LABEL.findall(found[2] or "")))
            assert labels not in series[helped], line
            series[helped][labels] = float(found[3])
    return series, types


def lint(name: str, kind: str) -> list[str]:
    """What is wrong with a name, by the rules of ``promtool check metrics``."""
    words = name.split("_")
    wrong = []
    if not re.fullmatch(r"picas_[a-z][a-z0-9_]*[a-z0-9]", name) or "__" in name:
        wrong.append("no name of ours")
    if (kind == "counter") != name.endswith("_total"):
        wrong.append("counters end in _total, and nothing else does")
    if {"gauge", "counter", "histogram", "summary"} & set(words):
        wrong.append("the type is in the name")
    if words[-1] in ("count", "sum", "bucket") or words[-1] in _ABBREVIATED or set(words) & set(_NOT_BASE):
        wrong.append("no base unit, or not in full")
    return wrong


@pytest.fixture
def web(picas_here: Cli) -> Any:
    """A pool in which there is all that can be told: a view group, failures, a pilot at work, an end in sight."""
    picas = picas_here
    picas.ok("add", "--range", "1-4", "--", "bash", "-c", "exit $(( {i} % 2 ))")
    picas.ok("view", "add", "High", "--where", "i>1")
    picas.ok("run")
    picas.ok("add", "--range", "101-700", "--", "sh", "-c", "sleep 0.05")
    with serving(picas) as web, piloted(picas, "--cores", "1"):
        yield web


def test_names_follow_the_conventions_and_the_dashboard_asks_for_nothing_else(web: Web) -> None:
    wanted = asked()

    def missing() -> set[str]:
        return set(wanted) - set(read(web.get("/metrics").text)[0])

    until("all is served that the dashboard asks for", lambda: not missing(), 40.0, every=0.5)
    answer = web.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    series, types = read(answer.text)
    assert {name: found for name, kind in types.items() if (found := lint(name, kind))} == {}
    for name, labels in wanted.items():
        known = {label for one in series[name] for label, _ in one}
        assert labels - known - {"instance"} == set(), name
    assert series["picas_failed_tokens"][("exit_code", "1"), ("reason", "exit")] == 2.0
    before = series["picas_tokens_ended_total"][()]
    until("it counts on", lambda: read(web.get("/metrics").text)[0]["picas_tokens_ended_total"][()] > before, 20.0)


def asked() -> dict[str, set[str]]:
    """The metrics that the dashboard asks for, each with the labels that it selects or shows by."""
    found: dict[str, set[str]] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            names = re.findall(r"(picas_\w+)\{([^}]*)\}", target["expr"])
            assert names, target
            for name, labels in names:
                found.setdefault(name, set()).update(shown, re.findall(r"(\w+)=", labels))
    return found


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana needs, and no panel upon another."""
    board = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "templating", "time"} <= set(board)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
