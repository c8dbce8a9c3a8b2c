"""Chromium without a window, Debian's; and what a page did that it must not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.installing import Missing, from_debian, one_at_a_time

__all__ = ["Browser", "Missing", "chromium", "opened", "page_of"]

Browser = Any
"""Playwright's ``Browser``."""


def chromium() -> str:
    """The program, installed if need be; raises Missing."""
    with one_at_a_time():
        if shutil.which("chromium") is None:
            from_debian("chromium", "fonts-dejavu-core")
    found = shutil.which("chromium")
    if found is None:
        raise Missing("the tests need chromium, which Debian did not bring")
    return found


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser, until the end of the block."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as playwright:
        # Where tests run as root its sandbox cannot be had; what it shows are pages of this machine alone.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Browser, **options: Any) -> Iterator[Any]:
    """A page that nothing may go wrong in: no error, no dialog, no request to anywhere but where it is from."""
    context = browser.new_context(**options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda sent: None if _is_local(sent.url) else wrong.append(f"asked {sent.url}"))
    yield page
    context.close()
    assert wrong == []


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:"))
