"""``picas report`` after real pilots, on each store: the figures, the picture, and what cannot be."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli

PAGE = Path(__file__).parents[2] / "docs" / "report.md"
SVG = "{http://www.w3.org/2000/svg}"


def told(picas: Cli, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(picas.ok("report", *words, "-o", "json").out)
    return found


def test_figures_words_and_a_picture(picas: Cli) -> None:
    picas.ok("add", "--range", "1-12", "--tag", "kind=short", "--", "sleep 0.1; test {i} -ne 5")
    picas.ok("add", "--id", "wide", "--requires", "cores=2", "--", "sleep 0.5")
    picas.ok("add", "--id", "held", "--after", "wide-too", "--", "true")
    picas.ok("run", "--cores", "2")
    report = told(picas)
    assert report["picas"] == 1
    assert report["tokens"] == {"held": 1, "todo": 0, "locked": 0, "done": 12, "error": 1, "total": 14}
    assert (report["attempts"]["done"], report["attempts"]["failed"]) == (12, 1)
    (pilot,) = report["pilots"]
    assert (pilot["cores"], pilot["cores_known_from"], pilot["done"], pilot["failed"]) == (2, "pilot", 12, 1)
    assert 0.2 < report["busy"] == pilot["busy"] <= 1
    assert report["efficiency"] < report["busy"]
    assert report["wall_time"] * 2 / 3600 == pytest.approx(report["core_hours"]["offered"], rel=0.01)
    assert report["runtime"]["min"] >= 0.1
    assert report["slowest"][0]["id"] == "wide"
    assert report["max_rss"]["min"] > 100_000
    (failure,) = report["failures"]
    assert (failure["reason"], failure["exit_code"], failure["tokens_in_error"]) == ("exit", "1", 1)
    assert told(picas, "--tag", "kind=short")["tokens"]["total"] == 12
    assert told(picas, "error")["tokens"]["total"] == 1

    words = picas.ok("report", "--timeline", "t.svg")
    assert "drew t.svg" in words.err
    assert "12 done, 1 error" in words.out
    assert re.search(r"core time +.* offered, \d+\.\d % busy", words.out)
    titles = ["".join(one.itertext()) for one in ET.parse(picas.folder / "t.svg").iter(f"{SVG}title")]
    assert sum("\ndone, " in title for title in titles) == 12
    assert any(title.startswith("wide\ndone, ") and "2 slots" in title for title in titles)
    assert list(picas.folder.glob(".*.svg.*")) == []


def test_the_other_forms(picas_here: Cli) -> None:
    picas_here.ok("add", "--range", "1-3", "--", "true {i}")
    assert "nothing has run yet" in picas_here.ok("report").out
    assert "Nothing has run yet" in (
        picas_here.ok("report", "--timeline", "t.svg") and (picas_here.folder / "t.svg").read_text()
    )
    lines = picas_here.ok("report", "-o", "plain").out.splitlines()
    assert "tokens.todo\t3" in lines
    rows = list(csv.DictReader(io.StringIO(picas_here.ok("report", "-o", "csv").out)))
    assert {"name": "tokens.total", "value": "3"} in rows
    assert picas_here("report", "-o", "id").code == 2


def test_any_terminal_shows_it(picas_here: Cli) -> None:
    picas_here.ok("add", "--jsonl", "-", stdin='{"_id": "esc\\u202eape", "command": ["false"]}\n')
    picas_here.ok("run", "--cores", "1")
    for environ in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {}):
        shown = picas_here.ok("report", **environ).out
        assert "\u202e" not in shown
        assert "such as" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--timeline", "t.png"), 2, "the picture is an SVG"),
        (("--timeline", "nowhere/t.svg"), 2, "there is no folder nowhere"),
        (("--timeline", "folder.svg"), 2, "that is a folder"),
        (("nothing-of-that-name",), 6, "there is no token"),
        (("--where", "cores>=4"), 6, "no token of"),
        (("--cores", "0"), 2, "--cores"),
    ],
)
def test_what_cannot_be(picas_here: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    picas_here.ok("add", "--", "true")
    (picas_here.folder / "folder.svg").mkdir()
    answer = picas_here("report", *words)
    assert answer.code == code
    assert said in answer.err
    assert len(answer.err.splitlines()) <= 2


def test_a_picture_that_is_there_is_kept_when_there_is_no_room(picas_here: Cli) -> None:
    times = [{"lock": at, "done": at + 90, "exit_code": 0} for at in range(1_700_000_000, 1_700_040_000, 100)]
    lines = "".join(json.dumps({"_id": f"{number:0200d}", **ended}) + "\n" for number, ended in enumerate(times))
    picas_here.ok("report", "--timeline", "t.svg")
    before = (picas_here.folder / "t.svg").read_bytes()
    picas_here.ok("add", "--jsonl", "-", stdin=lines)
    command = " ".join(picas_here.argv(["report", "--timeline", "t.svg"]))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 64; {command}"], cwd=picas_here.folder, env=picas_here.environ, capture_output=True
    )
    assert done.returncode == 4
    assert b"File too large" in done.stderr
    assert (picas_here.folder / "t.svg").read_bytes() == before
    assert list(picas_here.folder.glob(".*")) == []
    assert len(picas_here.ok("report", "--timeline", "t.svg").out) > 0
    assert (picas_here.folder / "t.svg").stat().st_size > 64 * 1024


def test_the_page_is_true(tmp_path: Path) -> None:
    picas = Cli(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (made,) = [block for block in blocks if "picas init" in block]
    for line in made.splitlines():
        words = re.findall(r"'[^']*'|\S+", line)
        picas.ok(*(word.strip("'") for word in words[1:]))
    report = told(picas)
    assert (report["tokens"]["done"], report["tokens"]["error"]) == (49, 1)
    assert (tmp_path / "report-timeline.svg").exists()
