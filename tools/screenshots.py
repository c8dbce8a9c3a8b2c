"""Pictures of the pages of ``picas web`` for the docs, made of a pool that pilots work: ``make screenshots``.

Needs Chromium, and for the page of a store that is away a PostgreSQL, as the tests do. A page that is wider than its
window is an error.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "web"
WIDTHS = {"wide": 1280, "narrow": 380}
SCHEMES = ("light", "dark")
QUALITY = 72
TALLEST = {"wide": 1250, "narrow": 1700}
SECONDS = 90.0

PROGRAMS = {
    "simulate": 'sleep "$2"; echo "sample $4: 4096 events, chi2 = 1.07"',
    "reconstruct": r"""sleep "$2"; printf 'reading \033[36m/data/run%s.h5\033[0m\n' "$4"
printf '\033[33mWARNING\033[0m  calibration of sector 7 is 12 days old\n' >&2
printf '\033[1mTraceback (most recent call last):\033[0m\n' >&2
printf '  File \033[35m"reconstruct.py"\033[0m, line \033[35m118\033[0m, in <module>\n' >&2
printf '    track = fit(hits, \033[4mstart=seed\033[0m)\n' >&2
printf '\033[1;31mValueError\033[0m: fit of event %s did not converge\n' $$ >&2; exit 1""",
    "merge": 'sleep "$2"; echo "cp: error writing to scratch: No space left on device" >&2; exit 3',
}
"""What tokens run: ``PROGRAM --smear SECONDS --sample NUMBER``."""


@dataclass(frozen=True)
class Shot:
    """One page: its name, where it is, and what must be there before it is taken."""

    name: str
    path: str
    ready: str


def main() -> None:
    """Make all pictures, or those whose names begin with one of the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=PICTURES, help="the folder")
    parser.add_argument("names", nargs="*", help="which pages; all when none is named")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if chromium is None:
            sys.exit("there is no chromium on the path: apt-get install chromium")
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=chromium)
        wanted = tuple(given.names)
        if not wanted or any(not name.startswith("away") for name in wanted):
            worked(stack, folder, browser, given.into, wanted)
        if not wanted or "away" in wanted:
            away(stack, folder, browser, given.into)
        browser.close()


def worked(stack: ExitStack, folder: Path, browser: Browser, into: Path, wanted: tuple[str, ...]) -> None:
    """The pages of a pool in the midst of its work."""
    fill(folder)
    for number, (host, cores) in enumerate((("node03", 8), ("node07", 4), ("node12", 4))):
        stack.enter_context(pilot(folder, host, cores, 710442 + number))
    with web(folder) as url, web(folder, "--login") as closed:
        shot(browser, url, Shot("", "/", "#live"), into)  # from now on it is watched, which makes the curve
        until("a part is done", lambda: counts(folder)["done"] >= 120, SECONDS)
        failed = picas(folder, "ls", "error", "-o", "id").splitlines()
        token = next(one for one in failed if one.startswith("recon"))
        for one in (
            Shot("overview", "/", ".failures a"),
            Shot("tokens", "/tokens?view=error&sort=-ended&limit=12", ".tokens tbody tr"),
            Shot("token", f"/token?id={token}", ".log .ansi-red"),
            Shot("pilots", "/pilots", ".gantt rect.done"),
        ):
            if not wanted or one.name in wanted:
                shot(browser, url, one, into)
        if not wanted or "login" in wanted:
            shot(browser, closed, Shot("login", "/login", "form.login"), into)


def away(stack: ExitStack, folder: Path, browser: Browser, into: Path) -> None:
    """The overview of a pool whose database has stopped."""
    sys.path.insert(0, str(ROOT / "tests"))
    servers = import_module("support.postgres_server")
    server = servers.get_server()
    stack.callback(server.close)
    if not isinstance(server, servers.OwnServer):
        sys.exit("PICAS_TEST_POSTGRES names a server that is not ours to stop")
    os.environ["PICAS_POOL"] = server.address("demo")
    server.run("CREATE DATABASE demo")
    fill(folder)
    with web(folder) as url, pilot(folder, "node03", 8, 710442):
        page = browser.new_page()
        page.goto(url)
        until("some are done", lambda: int(page.locator("[data-count=done]").inner_text()) >= 60, SECONDS)
        server.kill()
        page.wait_for_selector("#live .banner", timeout=20_000)
        page.close()
        shot(browser, url, Shot("away", "/", "#live .banner"), into)
    del os.environ["PICAS_POOL"]


def shot(browser: Browser, url: str, wanted: Shot, into: Path) -> None:
    """One page in all its looks."""
    for width, pixels in WIDTHS.items():
        for scheme in SCHEMES:
            page = browser.new_page(
                viewport={"width": pixels, "height": 900},
                color_scheme=scheme,  # type: ignore[arg-type]
                locale="en-GB",
                timezone_id="Europe/Amsterdam",
            )
            page.goto(url + wanted.path.lstrip("/"))
            page.wait_for_selector(wanted.ready, timeout=SECONDS * 1000, state="attached")
            too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if too_wide > 0:
                sys.exit(f"{wanted.path} is {too_wide} pixels wider than its window of {pixels}")
            if wanted.name:
                save(page, pixels, TALLEST[width], into / f"{wanted.name}-{width}-{scheme}.webp")
            page.close()


def save(page: Page, width: int, tallest: int, path: Path) -> None:
    """The page from its top, as a small file."""
    page.wait_for_timeout(350)  # transitions of the bar end
    height = min(page.evaluate("document.documentElement.scrollHeight"), tallest)
    session = page.context.new_cdp_session(page)
    session.send(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    told = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": clip})
    path.write_bytes(base64.b64decode(told["data"]))
    print(f"{path.name}  {width} x {height}  {path.stat().st_size / 1000:.0f} kB")


def fill(folder: Path) -> None:
    """A pool of some hundred tokens of a few kinds."""
    picas(folder, "init")
    for name, script in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    tokens: list[dict[str, object]] = []
    for number in range(420):
        program = "reconstruct" if number % 11 == 3 else "merge" if number % 29 == 5 else "simulate"
        seconds = f"{0.3 + number * 37 % 61 / 25:.2f}"
        command = [f"./{program}", "--smear", seconds, "--sample", f"{number}"]
        tags = {"site": ("amsterdam", "groningen")[number % 2], "run": f"{2041 + number % 3}"}
        tokens.append({"_id": f"{program[:5]}-{number:04}", "command": command, "tags": tags})
    tokens += [{"_id": f"plot-{n}", "command": ["true"], "after": [tokens[-1]["_id"]]} for n in range(6)]
    lines = "\n".join(json.dumps(token) for token in tokens)
    picas(folder, "add", "--jsonl", "-", stdin=lines)
    picas(folder, "view", "add", "Amsterdam", "--where", "tags.site=amsterdam")


@contextmanager
def pilot(folder: Path, host: str, cores: int, job: int) -> Iterator[None]:
    """A pilot, on a host of this name where one may be named."""
    argv = [sys.executable, "-m", "picas", "run", "--cores", str(cores), "--lease", "6s"]
    if os.getuid() == 0 and shutil.which("unshare"):
        argv = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *argv]
    environ = {**environment(folder), "DIRACJOBID": str(job)}
    with (folder / f"{host}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def web(folder: Path, *words: str) -> Iterator[str]:
    """The page; its address."""
    log = folder / f"web{''.join(words)}.log"
    with log.open("wb") as file:
        argv = [sys.executable, "-m", "picas", "web", "--port", "0", *words]
        process = subprocess.Popen(argv, cwd=folder, env=environment(folder), stderr=file)
    try:
        until("the page is there", lambda: b"is at http" in log.read_bytes())
        found = re.search(r"is at (http://\S+/)", log.read_text())
        assert found is not None
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


def picas(folder: Path, *words: str, stdin: str = "") -> str:
    """Run a command; what it printed."""
    argv = [sys.executable, "-m", "picas", *words]
    return subprocess.run(
        argv, cwd=folder, env=environment(folder), input=stdin, text=True, check=True, stdout=subprocess.PIPE
    ).stdout


def counts(folder: Path) -> dict[str, int]:
    """Tokens by state."""
    return dict(json.loads(picas(folder, "status", "-o", "json"))["counts"])


def environment(folder: Path) -> dict[str, str]:
    """Nothing of who runs this but the path, and the pool when it is not in the folder."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PICAS_POOL")}
    return {**kept, "HOME": str(folder), "PICAS_SPOOL": str(folder / "spool")}


def until(what: str, holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
