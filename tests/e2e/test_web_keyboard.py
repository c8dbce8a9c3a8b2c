"""Every page by keyboard: Tab comes to all that can be clicked, in order, and where one is can be seen."""

from __future__ import annotations

import time
from typing import Any

import pytest

from picas.pool import connect
from picas.stores.base import PilotRecord
from support.browser import Browser, page_of
from support.cli import Cli
from support.web import Web, piloted, serving

_REACHABLE = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
    .filter((one) => one.tabIndex >= 0 && !one.disabled && one.type !== 'hidden' && one.checkVisibility())
    .map((one, place) => { one.dataset.place = place; return place; })"""
_FOCUSED = """() => {
    const one = document.activeElement, look = getComputedStyle(one), box = one.getBoundingClientRect();
    const seen = (look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2) && box.width > 0 && box.right > 0
        && box.top < innerHeight && box.bottom > 0;
    return [one.dataset.place === undefined ? -1 : Number(one.dataset.place), seen, one.outerHTML.slice(0, 120)];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pool with tokens of all kinds, a pilot, and its page for who has logged in."""
    picas = Cli(tmp_path_factory.mktemp("keys"))
    picas.ok("init")
    picas.ok("add", "--range", "1-4", "--", "bash", "-c", "echo {i} >&2; exit $(( {i} % 2 ))")
    picas.ok("view", "add", "High", "--where", "i>1")
    picas.ok("run")
    picas.ok("add", "--", "sleep", "600")
    failed = picas.ok("ls", "error", "-o", "id").out.split()[0]
    with serving(picas, "--login") as web, piloted(picas, "--cores", "1"):
        web.log_in()
        yield web, failed


def walked(page: Any) -> list[str]:
    """Tab from the top to the bottom; what was not reached, or not to be seen when it was."""
    wanted = page.evaluate(_REACHABLE)
    assert len(wanted) >= 4
    reached, wrong = [], []
    for _ in range(len(wanted) + 1):  # one that is the page itself, after which it begins again
        page.keyboard.press("Tab")
        place, is_seen, html = page.evaluate(_FOCUSED)
        if place >= 0:
            reached.append(place)
            if not is_seen:
                wrong.append(html)
    turn = reached.index(0)
    if (reached[turn:] + reached[:turn])[: len(wanted)] != wanted:
        wrong.append(f"the order is {reached}")
    return wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "tokens", "tokens?view=error", "token?id=", "pilots", "login"])
def test_tab_comes_everywhere_and_is_seen(folder: tuple[Web, str], browser: Browser, path: str, scheme: str) -> None:
    web, failed = folder
    with page_of(browser, color_scheme=scheme, viewport={"width": 1280, "height": 800}) as page:
        log_in(page, web)
        page.route("**/live/**", lambda route: route.fulfill(status=204))  # what is renewed meanwhile has other places
        page.goto(f"{web.url}{path}{failed if 'id=' in path else ''}")
        assert walked(page) == []


def log_in(page: Any, web: Web) -> None:
    """Give the browser the cookie of who has logged in; a minute has but ten tries at the form."""
    name, _, value = web.cookie.partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": web.url}])


def test_the_focus_stays_where_it_is_when_the_page_is_renewed(folder: tuple[Web, str], browser: Browser) -> None:
    web, _ = folder
    with page_of(browser) as page:
        log_in(page, web)
        page.goto(f"{web.url}pilots")
        page.locator(".holds a").first.focus()
        before = page.evaluate("document.activeElement.textContent")
        for _ in range(2):
            with page.expect_response("**/live/pilots"):
                pass
        assert page.evaluate("document.activeElement.textContent") == before


def test_pilots_with_long_names_fit_a_small_screen(picas_here: Cli, browser: Browser) -> None:
    """Many of them, with long ids, hosts and jobs, lost ones and an autopilot: nothing is wider than 380 pixels."""
    long = "a-very-long-name-of-a-node.in-a-rack.of-a-site.example.org"
    with connect(str(picas_here.folder / "picas.db")) as pool:
        for number in range(30):
            job = {"autopilot": long} if number == 0 else {"wms_job_id": f"https://{long}:9000/{'x' * 30}{number}"}
            begun, ends = time.time() - 86_400, time.time() + 86_400
            record = PilotRecord(
                id=f"{long}-{number}", hostname=long, pid=number, started_at=begun, ends_at=ends, cores=128, running=64,
                memory_used=1 << 38, job=job, lease=0.5 if number < 3 else 600.0,
            )  # fmt: skip
            pool.store.beat(record)
        with serving(picas_here) as web, page_of(browser, viewport={"width": 380, "height": 700}) as page:
            page.goto(f"{web.url}pilots")
            page.wait_for_selector("[data-pilots=alive]:text-is('27')")
            page.wait_for_selector(".slots .gantt")
            assert page.evaluate("document.documentElement.scrollWidth") <= 380
            assert page.locator("tr[data-pilot]").count() == 29
            assert "more pilots are not drawn" in page.locator(".more").inner_text()


def test_each_fate_looks_different(folder: tuple[Web, str], browser: Browser) -> None:
    """In the picture of slots, without regard to colour: all but one have a pattern of their own."""
    web, _ = folder
    with page_of(browser) as page:
        page.goto(f"{web.url}login")
        looks = page.evaluate(
            """() => { const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
            svg.classList.add('gantt'); document.body.append(svg);
            return ['done', 'failed', 'lost', 'running', 'released', 'cancelled', 'superseded'].map((fate) => {
                const one = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
                one.classList.add(fate); svg.append(one); return getComputedStyle(one).fill; }); }"""
        )
        assert len(set(looks)) == 7
        assert sum("url(" in look for look in looks) == 6
