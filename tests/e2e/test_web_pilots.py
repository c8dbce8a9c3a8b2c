"""The page of the pilots: it agrees with what the command line says, names what each holds, and knows who is lost."""

from __future__ import annotations

import json
import re
import signal
import time
from html import unescape
from typing import Any

import pytest

from picas.pool import connect
from picas.stores.base import PilotRecord
from support.cli import Cli
from support.pilots import until
from support.web import Web, piloted, serving

_WAITS = "while [ ! -e go ]; do sleep 0.05; done"


def pilots(web: Web) -> list[dict[str, Any]]:
    """All of them, by the API."""
    found: list[dict[str, Any]] = web.get("/api/v1/pilots").json["pilots"]
    return found


def shown(web: Web) -> str:
    """The page without its markup but for what is asked for here."""
    return unescape(web.get("/live/pilots").text)


def test_pilots_are_shown_with_what_they_hold_and_did(picas: Cli) -> None:
    for number in range(6):
        picas.ok("add", "--", "sh", "-c", "exit 3" if number == 4 else "sleep 0.2")
    picas.ok("run", "--cores", "2")
    picas.ok("add", "--range", "1-3", "--", "sh", "-c", _WAITS)
    with serving(picas) as web, piloted(picas, "--cores", "2", DIRACJOBID="4711"):
        until("both slots are busy", lambda: sum(one["busy"] or 0 for one in pilots(web)) == 2, 30.0)
        until("it is seen what it holds", lambda: len(pilots(web)[0]["holds"]) >= 2, 30.0)
        listed = json.loads(picas.ok("pilot", "ls", "-o", "json").out)["rows"]
        (one,) = pilots(web)
        assert (one["id"], one["cores"], one["state"]) == (listed[0]["id"], 2, "alive")
        assert one["job_ids"] == {"dirac_job_id": "4711"}
        assert one["started_at"] == pytest.approx(time.time(), abs=60)
        running = json.loads(picas.ok("ls", "locked", "-o", "json").out)["rows"]
        assert set(one["holds"]) <= {row["id"] for row in running}
        until("the attempts before it are read", lambda: "5 done, 1 failed" in shown(web), 30.0)
        alive = '<span class="number" data-pilots="alive">1</span>'
        until("it is heard of", lambda: alive in shown(web), 30.0)  # on a busy machine it may be late
        page = shown(web)
        assert "4711" in page
        assert any(f'href="/token?id={token}"' in page for token in one["holds"])
        (held_by,) = set(re.findall(r'href="(/tokens\?view=locked&where=[^"]*)"', page)) or {""}
        if held_by:
            assert one["holds"][0] in web.get(held_by).text
        (picas.folder / "go").touch()
        until("what it did is drawn", lambda: re.search(r"2 slots: 3 done", shown(web)), 30.0)


def test_who_leaves_or_is_lost_is_said(picas_here: Cli) -> None:
    picas_here.ok("add", "--", "sh", "-c", _WAITS)
    with serving(picas_here) as web, piloted(picas_here, "--cores", "1") as process:
        until("it is busy", lambda: [one["busy"] for one in pilots(web)] == [1], 30.0)
        picas_here.ok("pilot", "drain", "--all")
        until("it drains", lambda: '<span class="tag">drains</span>' in shown(web), 30.0)
        process.send_signal(signal.SIGSTOP)
        until("it is lost", lambda: '<span class="number bad" data-pilots="lost">1</span>' in shown(web), 30.0)
        assert '<span class="state is-lost">lost</span>' in shown(web)
        (picas_here.folder / "go").touch()


def test_where_the_pool_may_be_changed_a_pilot_is_drained_from_its_row(picas_here: Cli) -> None:
    picas_here.ok("add", "--", "sh", "-c", _WAITS)
    with serving(picas_here, "--write") as web, piloted(picas_here, "--cores", "1"):
        web.log_in()
        until("it is busy", lambda: [one["busy"] for one in pilots(web)] == [1], 30.0)
        name = pilots(web)[0]["id"]
        until("its row is there", lambda: name in shown(web), 10.0)
        (drain, _) = re.findall(r'href="(/pilots/order[^"]*pilot=[^"]*)"', shown(web))
        assert name in web.get(drain).text
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
        assert web.ask("POST", "/pilots/order", headers, drain.partition("?")[2].encode()).status == 303
        until("it drains", lambda: '<span class="tag">drains</span>' in shown(web), 30.0)
        (picas_here.folder / "go").touch()


def test_autopilots_are_apart_and_hold_nothing(picas_here: Cli) -> None:
    with connect(str(picas_here.folder / "picas.db")) as pool:
        record = PilotRecord(
            id="auto-<1>", hostname="gate", pid=1, started_at=time.time(), lease=60.0, job={"autopilot": "my-site"}
        )
        pool.store.beat(record)
        with serving(picas_here) as web:
            page = until("it is seen", lambda: "auto-<1>" in (page := shown(web)) and page, 30.0)
            assert '<span class="number" data-pilots="alive">0</span>' in page
            assert "No pilot is there" in page
            table = page[page.index('id="h-autopilots"') :]
            assert "my-site" in table
            assert "auto-&lt;1&gt;" in web.get("/pilots").text


def test_an_empty_pool_has_nothing_to_draw(picas_here: Cli) -> None:
    with serving(picas_here) as web:
        page = web.get("/pilots").text
        assert "No pilot is there" in page
        assert "gantt" not in page
        assert web.get("/api/v1/pilots").json == {"pilots": [], "is_held_cut": False}
