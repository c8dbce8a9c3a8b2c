"""A PostgreSQL that is killed while people look: pages say so within 5 s, and show what was seen; one that hangs, 7."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support import postgres_server as servers
from support.browser import Browser
from support.cli import Cli
from support.pilots import until
from support.web import Web, piloted, serving

_SECONDS = {"kill": 5.0, "hang": 7.0}


@pytest.fixture(scope="module")
def server() -> Iterator[servers.OwnServer]:
    """A server to be killed."""
    try:
        server = servers.OwnServer(servers.find_programs())
    except servers.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    yield server
    server.close()


@pytest.fixture
def looked_at(server: servers.OwnServer, tmp_path: Path) -> Iterator[Web]:
    """A page of a pool with a pilot at work, looked at before anything happens."""
    picas = Cli(tmp_path, PICAS_POOL=server.address(server.database("away")))
    picas.ok("init")
    picas.ok("add", "--range", "1-4", "--", "true")
    picas.ok("run")
    picas.ok("add", "--", "sleep", "600")
    with serving(picas) as web, piloted(picas, "--cores", "1"):
        until("the pilot is seen to run", lambda: "1 running" in web.get("/live/pilots").text, 30.0)
        yield web


def processes(server: servers.OwnServer) -> list[psutil.Process]:
    """All of a server's."""
    main = psutil.Process(server.pid)
    return [main, *main.children(recursive=True)]


def hang(server: servers.OwnServer) -> Callable[[], None]:
    """The server takes connections as before, and answers nothing."""
    stopped = processes(server)
    for one in stopped:
        one.send_signal(signal.SIGSTOP)

    def on() -> None:
        for one in stopped:
            one.send_signal(signal.SIGCONT)

    return on


def kill(server: servers.OwnServer) -> Callable[[], None]:
    """The server is gone from one moment to the next."""
    server.kill()
    return server.start


@pytest.mark.parametrize("harm", [kill, hang])
def test_every_page_says_since_when_and_keeps_what_was_seen(
    server: servers.OwnServer, looked_at: Web, harm: Callable[[servers.OwnServer], Callable[[], None]]
) -> None:
    web = looked_at
    at = time.time()
    mend = harm(server)
    try:
        for path in ("/live/overview", "/live/pilots"):
            until(f"{path} says it", lambda path=path: "database is away" in web.get(path).text, 20.0)
            assert time.time() - at < _SECONDS[harm.__name__]
            page = web.get(path).text
            (since,) = re.findall(r'away</strong> since <time datetime="([0-9.]+)"', page)
            assert at - 3 < float(since) < time.time()
            assert "What you see is of" in page
        assert 'data-count="done">4<' in web.get("/").text
        assert "1 running" in web.get("/live/pilots").text
        assert web.get("/api/v1/pool").json["away_since"] == pytest.approx(float(since), abs=0.001)
        assert "picas_up 0.0" in web.get("/metrics").text
        assert web.ask("GET", "/healthz").status == 503
    finally:
        mend()
    until("it is back", lambda: "database is away" not in web.get("/live/overview").text, 30.0)
    until("so are the pilots", lambda: "database is away" not in web.get("/live/pilots").text, 30.0)


def test_whoever_has_the_page_open_sees_it_without_loading_it_again(
    server: servers.OwnServer, looked_at: Web, browser: Browser
) -> None:
    """In Chromium: the banner comes within 5 s of the server's end and goes when it is back; the numbers stay."""
    page = browser.new_page()
    page.goto(looked_at.url)
    page.evaluate("window.isTheSamePage = true")
    at = time.monotonic()
    mend = kill(server)
    page.wait_for_selector("#live .banner[role=alert]", timeout=20_000)
    assert time.monotonic() - at < _SECONDS["kill"]
    assert page.locator("[data-count=done]").inner_text() == "4"
    mend()
    page.wait_for_selector("#live .banner[role=alert]", state="detached", timeout=40_000)
    assert page.evaluate("window.isTheSamePage")
    page.close()
