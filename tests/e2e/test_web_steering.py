"""Putting things right from the page, in Chromium: a pool at work, a failure read, its tokens reset, and done."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.browser import Browser, page_of
from support.cli import Cli
from support.pilots import until
from support.web import Web, serving

COMMAND = """sleep 0.05; if (( {i} % 4 == 0 )) && [ ! -e mended ]; then echo "OSError: no file {i}" >&2; exit 3; fi"""


@contextmanager
def at_work(picas: Cli) -> Iterator[None]:
    """Two pilots, which wait for more work until the end of the block."""
    argv = picas.argv(("run", "--cores", "1", "--idle", "5m", "--lease", "3s"))
    started = [subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def counts(picas: Cli) -> dict[str, int]:
    """How many tokens are in each state."""
    told: dict[str, int] = json.loads(picas.ok("status", "-o", "json").out)["counts"]
    return told


def log_in(page: Any, web: Web) -> None:
    """Come in by the form, as people do."""
    page.goto(web.url)
    page.get_by_label("Token").fill(web.token)
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-count=error]")


def test_a_failed_group_is_opened_read_and_reset_and_becomes_done(picas_here: Cli, browser: Browser) -> None:
    picas_here.ok("add", "--range", "1-20", "--", "bash", "-c", COMMAND)
    with serving(picas_here, "--write") as web, page_of(browser) as page, at_work(picas_here):
        log_in(page, web)
        page.wait_for_selector("[data-count=error]:text-is('5')", timeout=60_000)
        page.get_by_role("link", name="5 tokens that failed so").click()
        page.locator("table.tokens tbody a").first.click()
        assert "OSError: no file" in page.locator("pre.log").first.inner_text()
        (picas_here.folder / "mended").touch()

        page.go_back()
        page.locator("select[name=scope]").select_option("match")
        page.get_by_role("button", name="Reset").click()
        page.wait_for_selector("h1:text-is('Reset 5 tokens?')")
        assert counts(picas_here)["error"] == 5
        page.keyboard.press("Enter")  # what is agreed to has the focus
        page.wait_for_selector("text=5 put back to todo")

        page.get_by_role("link", name="Overview").click()
        page.wait_for_selector("[data-count=done]:text-is('20')", timeout=60_000)
    assert counts(picas_here) == {"todo": 0, "locked": 0, "done": 20, "error": 0, "held": 0}


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_ticked_tokens_are_deleted_and_given_a_priority(picas_here: Cli, browser: Browser, script: bool) -> None:
    picas_here.ok("add", "--range", "1-6", "--", "true")
    with serving(picas_here, "--write") as web, page_of(browser, java_script_enabled=script) as page:
        log_in(page, web)
        page.goto(f"{web.url}tokens?view=todo")
        boxes = page.locator("input[name=id]")
        names = [boxes.nth(place).get_attribute("value") for place in range(6)]
        boxes.nth(4).check()
        page.locator("input[name=priority]").fill("9")
        if script:
            page.keyboard.press("Enter")
        else:
            page.get_by_role("button", name="Set priority").click()
        page.get_by_role("button", name="Give 1 token priority 9").click()
        page.wait_for_selector("text=1 given that priority")
        page.get_by_role("link", name="Go back").click()
        assert page.locator("input[name=id]").first.get_attribute("value") == names[4]

        for place in (1, 2):
            page.locator("input[name=id]").nth(place).check()
        page.get_by_role("button", name="Delete").click()
        page.wait_for_selector(":focus:text-is('Leave it')")
        page.get_by_role("button", name="Delete 2 tokens").click()
        page.wait_for_selector("text=2 deleted")
    assert counts(picas_here)["todo"] == 4


def test_more_tokens_than_a_step_are_changed_with_progress(picas_here: Cli, browser: Browser) -> None:
    picas_here.ok("add", "--range", "1-6000", "--", "true")
    with serving(picas_here, "--write") as web, page_of(browser) as page:
        log_in(page, web)
        page.goto(f"{web.url}tokens?view=todo")
        page.locator("select[name=scope]").select_option("match")
        page.get_by_role("button", name="Hold").click()
        page.get_by_role("button", name="Hold 6,000 tokens").click(timeout=60_000)
        page.wait_for_selector("progress, [data-told]", timeout=60_000)
        page.wait_for_selector("text=6000 held", timeout=120_000)
        until("all are held", lambda: counts(picas_here)["held"] == 6000)


def test_what_a_token_writes_is_seen_as_it_is_written(picas_here: Cli, browser: Browser) -> None:
    """Two look on; colours stay, the page is not loaded anew, and at the end all that was written is there."""
    script = "printf 'begun \\033[31mred\\033[0m\\n'; until [ -e more ]; do sleep 0.1; done; seq 200; echo last >&2; "
    picas_here.ok("add", "--id", "talks", "--", "bash", "-c", script + "until [ -e end ]; do sleep 0.1; done")
    with serving(picas_here) as web, page_of(browser) as page, at_work(picas_here):
        page.goto(f"{web.url}token?id=talks")
        page.evaluate("window.isTheSamePage = true")
        page.wait_for_selector("text=talks runs on", timeout=60_000)
        page.wait_for_selector("pre.log .ansi-red:text-is('red')", timeout=60_000)
        other = page.context.new_page()
        other.goto(f"{web.url}token?id=talks")
        (picas_here.folder / "more").touch()
        page.wait_for_selector("#log-1:has-text('199')", timeout=60_000)
        page.wait_for_selector("#log-2:has-text('last')")
        page.wait_for_function(
            "(log => log.scrollTop + log.clientHeight > log.scrollHeight - 9)(document.querySelector('#log-1'))"
        )
        other.wait_for_selector("#log-1:has-text('begun red')")
        (picas_here.folder / "end").touch()
        page.wait_for_selector("#token-resting .state.is-done", timeout=60_000)
        text = page.locator("#log-1").inner_text()
        assert text.splitlines() == ["begun red", *map(str, range(1, 201))]
        assert page.evaluate("window.isTheSamePage")
        again = page.locator("#token-resting").get_attribute("hx-get")
        assert page.request.get(web.url + again[1:]).status == 204
