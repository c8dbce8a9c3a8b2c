"""``picas web`` in Chromium: what people see, by mouse, keyboard and on small screens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.browser import Browser, page_of
from support.cli import Cli
from support.pilots import until
from support.web import serving

SHORT = """sleep 0.2; if (( {i} % 5 == 0 )); then echo "ValueError: no column {i}" >&2; exit 3; fi"""


@contextmanager
def pilots(picas: Cli, number: int, *words: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Pilots at work, ended with the block."""
    argv = picas.argv(("run", "--cores", "1", *words))
    started = [
        subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.DEVNULL) for _ in range(number)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
            process.wait(30)


def shown(page: Any) -> dict[str, int]:
    """The counts that the page shows."""
    cells = page.locator("[data-count]")
    return {
        cells.nth(place).get_attribute("data-count"): int(cells.nth(place).inner_text().replace(",", ""))
        for place in range(cells.count())
    }


def status(picas: Cli) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(picas.ok("status", "-o", "json").out)
    return told


def test_a_pool_is_worked_by_pilots_while_somebody_looks(picas_here: Cli, browser: Browser) -> None:
    """The page follows without being loaded anew, and agrees with ``picas status`` in the end; a failure is opened."""
    picas_here.ok("add", "--range", "1-60", "--", "bash", "-c", SHORT)
    with serving(picas_here) as web, page_of(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto(web.url)
        assert shown(page) == status(picas_here)["counts"]
        page.evaluate("window.isTheSamePage = true")
        with pilots(picas_here, 2, "--idle", "5m"):
            page.wait_for_selector("[data-pilots=alive]:text-is('2')")
            until("all has ended", lambda: not (left := status(picas_here)["counts"])["todo"] + left["locked"], 60.0)
            until("the page agrees", lambda: shown(page) == status(picas_here)["counts"], 10.0)
        assert shown(page) == {"todo": 0, "locked": 0, "done": 48, "error": 12, "held": 0}
        page.wait_for_selector("#curve canvas")
        page.get_by_role("button", name="all").click()
        page.wait_for_selector("text=ValueError: no column #")
        assert page.evaluate("window.isTheSamePage")

        page.get_by_role("link", name="12 tokens that failed so").click()
        assert page.locator("table.tokens tbody tr").count() == 12
        page.locator("table.tokens tbody a").first.click()
        assert "ValueError: no column 5" in page.locator("pre.log").first.inner_text()


def test_the_page_is_worked_by_keyboard_alone(picas_here: Cli, browser: Browser) -> None:
    picas_here.ok("add", "--range", "1-3", "--", "true")
    with serving(picas_here) as web, page_of(browser) as page:
        page.goto(web.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.goto(f"{web.url}tokens")
        page.keyboard.press("/")
        page.keyboard.type("000002")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tokens?*text=000002*")
        assert page.locator("table.tokens tbody tr").count() == 1
        focus = "getComputedStyle(document.activeElement).outlineStyle"
        page.locator("table.tokens tbody a").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate(focus) == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url("**/token?id=*")


def test_nothing_is_cut_off_on_a_small_screen(picas_here: Cli, browser: Browser) -> None:
    picas_here.ok("add", "--range", "1-9", "--", "bash", "-c", f"echo {'x' * 300} >&2; exit 1")
    picas_here.ok("run")
    token_id = picas_here.ok("ls", "-o", "id").out.split()[0]
    with serving(picas_here, "--login") as web, page_of(browser, viewport={"width": 380, "height": 700}) as page:
        page.goto(web.url)
        page.get_by_label("Token").fill(web.token)
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-count]")
        for path in ("", "tokens", "tokens?view=error", f"token?id={token_id}", "tokens?sort=id"):
            page.goto(f"{web.url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 380, path
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")


def test_the_page_says_when_its_server_is_gone(picas_here: Cli, browser: Browser) -> None:
    with serving(picas_here) as web:
        context = browser.new_context()
        page = context.new_page()
        page.goto(web.url)
        context.set_offline(True)
        page.wait_for_selector("#cut-off:not([hidden])", timeout=15_000)
        context.set_offline(False)
        page.wait_for_selector("#cut-off", state="hidden", timeout=15_000)
        context.close()
