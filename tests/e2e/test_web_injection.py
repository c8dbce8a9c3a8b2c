"""S16: what others wrote stays text. A hundred payloads in every field a page shows, each page visited in Chromium."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from picas.errors import InvalidToken
from picas.pool import Pool, connect
from picas.stores.steering import Pause
from picas.testing.samples import beat_of
from picas.tokens import check_attachment_name, check_id, log_names
from support.browser import Browser
from support.cli import Cli
from support.payloads import PAYLOADS
from support.web import Web, serving

NOW = 1_700_000_000
MADE_BY_OTHERS = """
    script:not([src^="/static/"]), iframe, object, embed, base, video, audio, style, math, template, meta[http-equiv],
    [src]:not([src^="/static/"], [src^="/picture?"]), [srcset], [style*="evil"], [ping],
    [onerror], [onload], [onfocus], [ontoggle], [onmouseover], [hx-get]:not([hx-get^="/live/"]),
    [formaction]:not([formaction="/change"]), [action]:not([action^="/"]), [action^="//"],
    a[href]:not([href^="/"], [href^="#"]), [href^="//"], link:not([href^="/static/"])
"""
"""Whatever of this is on a page is not of our making."""


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, list[str]]:
    """A pool whose tokens, pilots and pause say nothing but payloads."""
    picas = Cli(tmp_path_factory.mktemp("injection"))
    picas.ok("init")
    with connect(str(picas.folder / "picas.db")) as pool:
        made = [add(pool, number) for number in range(len(PAYLOADS))]
        for number, payload in enumerate(PAYLOADS):
            job = {"slurm": other(number, 1)}
            pool.store.beat(
                beat_of(f"p{payload}", hostname=other(number, 2), view=other(number, 3), job=job, job_name=payload)
            )
        pool.store.pause(Pause(by=PAYLOADS[5], at=NOW, why="".join(PAYLOADS)[:400]))
    return picas, made


def other(number: int, field: int) -> str:
    """The payload for a field of a token: each field has each of them once."""
    return PAYLOADS[(number + 7 * field) % len(PAYLOADS)]


def add(pool: Pool, number: int) -> str:
    """A token that failed, with a payload in each of its fields, logs and files; its id."""
    token_id = f"t{number}{re.sub('[^ -~]', '', PAYLOADS[number])}"
    check_id(token_id)
    pool.add([{"_id": token_id, "command": ["echo", other(number, 1)], "tags": {other(number, 2): other(number, 3)}}])
    doc = pool.get(token_id)
    assert doc is not None
    said = {"pilot": 4, "hostname": 5, "reason": 6, "exit_code": 7, "message": 8}
    tries = [{"fence": 1, "start": NOW, "end": NOW + 1, **{name: other(number, field) for name, field in said.items()}}]
    pool.store.update(
        [
            doc
            | {
                "lock": NOW,
                "done": NOW + 1,
                "exit_code": other(number, 9),
                "hostname": other(number, 10),
                "attempts": tries,
            }
            | {
                "reason": other(number, 11),
                "input": other(number, 12),
                "output": {other(number, 13): other(number, 14)},
            }
            | {other(number, 15): other(number, 16), "error": [other(number, 17)], "fence": 1}
        ]
    )
    files = {name: other(number, 18 + place) for place, name in enumerate(log_names(token_id))}
    files |= {name: PAYLOADS[number] for name in (f"a{PAYLOADS[number]}", f"{other(number, 20)}.png") if is_name(name)}
    for name, text in files.items():
        pool.store.put_attachment(token_id, name, io.BytesIO(text.encode()))
    return token_id


def is_name(name: str) -> bool:
    """Whether a file of a token may have this name."""
    try:
        return bool(check_attachment_name(name))
    except InvalidToken:
        return False


class Watched:
    """A page of which is noted all that a payload could have it do."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self.refused: list[str] = []
        page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.blockedURI))")
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda sent: self._note(sent.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("popup", lambda popup: self.requests.append(popup.url))
        page.on(
            "console",
            lambda said: self.refused.append(said.text) if re.search("CSP|Content.Security", said.text) else None,
        )
        page.on("pageerror", lambda error: self.refused.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith("http://127.0.0.1:"):
            self.requests.append(url)

    def visit(self, url: str) -> None:
        """Go to a page; what others wrote has become nothing of it."""
        self.page.goto(url)
        found = "(wanted) => [...document.querySelectorAll(wanted)].map((one) => one.outerHTML)"
        assert self.page.evaluate(found, MADE_BY_OTHERS) == [], url
        assert self.page.url.startswith("http://127.0.0.1:")


@contextmanager
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context()
    yield Watched(context.new_page())
    context.close()


def places(web: Web, made: list[str]) -> Iterator[str]:
    """Every page, and those that say again what was asked for."""
    yield from ("", "tokens?limit=500", "pilots", "login", "pool/pause", "pilots/order?orders=stop", "no/such/place")
    for token_id in made:
        yield "token?" + urlencode({"id": token_id})
    for number, payload in enumerate(PAYLOADS):
        asked = [
            "tokens?" + urlencode(dict.fromkeys(("where", "tag", "text", "view", "sort"), payload)),
            "tokens?" + urlencode({"text": payload, "tag": payload}),
            "token?" + urlencode({"id": payload}),
            "pilots/order?" + urlencode({"orders": "drain", "pilot": payload}),
            "login?" + urlencode({"to": payload}),
        ]
        if number % 3 == 0:
            yield asked[number // 3 % len(asked)]
    for group in web.ask("GET", "/api/v1/failures", {"Authorization": f"Bearer {web.token}"}).json["groups"][::20]:
        yield f"tokens?group={group['key']}"


def test_s16_payloads_cause_no_dialog_no_request_and_no_refusal(ids: tuple[Cli, list[str]], browser: Browser) -> None:
    picas, made = ids
    with serving(picas, "--write") as web, watched(browser) as seen:
        seen.page.goto(web.url)
        seen.page.get_by_label("Token").fill(web.token)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("[data-count]")
        for place in places(web, made):
            seen.visit(web.url + place)
        seen.visit(f"{web.url}tokens?view=error&limit=500")
        seen.page.locator("select[name=scope]").select_option("match")
        seen.page.get_by_role("button", name="Reset").click()
        seen.page.get_by_role("button", name="Reset 100 tokens").click()
        seen.page.wait_for_selector("text=100 put back to todo")
        for path in ("", "tokens?view=todo", "pilots"):
            seen.visit(web.url + path)
            seen.page.wait_for_function("window.htmx")
        # Renewed in place, they are no more than before.
        seen.visit(web.url)
        with seen.page.expect_response("**/live/overview"):
            seen.page.wait_for_timeout(1)
        assert (seen.dialogs, seen.requests, seen.refused) == ([], [], [])

        # Were there anything to be seen, it would have been.
        seen.page.evaluate("document.body.innerHTML = '<img src=//evil.example/x.png>'")
        seen.page.wait_for_function("true")
        assert seen.refused or seen.requests
        seen.page.evaluate("setTimeout(() => alert(1))")
        seen.page.wait_for_timeout(100)
        assert seen.dialogs == ["1"]


def test_s16_attachments_that_are_pages_are_saved(ids: tuple[Cli, list[str]]) -> None:
    picas, made = ids
    with serving(picas) as web:
        for token_id in made[::10]:
            for name in log_names(token_id):
                answer = web.ask("GET", "/file?" + urlencode({"id": token_id, "name": name}))
                assert answer.headers["content-disposition"].startswith("attachment")
                assert answer.headers["content-type"] == "application/octet-stream"


def test_s16_no_header_is_made_by_what_others_wrote(ids: tuple[Cli, list[str]]) -> None:
    picas, _ = ids
    with serving(picas) as web:
        for payload in PAYLOADS:
            for path in ("/tokens?" + urlencode({"text": payload}), "/login?" + urlencode({"to": payload})):
                headers = web.ask("GET", path).headers
                assert not [value for value in headers.values() if "evil" in value or "alert" in value]
