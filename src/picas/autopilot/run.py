"""The autopilot of one configuration: a cycle for each site whenever it is due, a line for each decision."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from picas.autopilot.config import Kind
from picas.autopilot.decide import Plan
from picas.autopilot.site import SiteAutopilot, Tell
from picas.errors import PicasError, StoreError, StoreUnavailable
from picas.schedulers.base import SchedulerError

__all__ = ["Autopilot", "Stopped"]

_SAY_EVERY = 300.0
"""Seconds after which an unchanged decision is told again."""


class Stopped(BaseException):
    """It was told to end while a command of a batch system ran; what became of that is found out next time."""


class Autopilot:
    """Runs sites until a signal ends it. `stop` may be called from a signal handler, and from any thread."""

    def __init__(self, sites: Sequence[SiteAutopilot], tell: Tell) -> None:
        self._sites = sites
        self._tell = tell
        self._due = dict.fromkeys(range(len(sites)), 0.0)
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._stop = threading.Event()
        self._in_command = False
        for site in sites:
            site.busy = self._command

    def stop(self, *_: int | FrameType | None) -> None:
        """End: at once when a batch system's command runs, else before the next step."""
        self._stop.set()
        if self._in_command and threading.current_thread() is threading.main_thread():
            raise Stopped

    def run(self) -> None:
        """Go on until `stop`. The jobs are left as they are."""
        with _on_signals(self), suppress(Stopped):
            while not self._stop.is_set():
                for number, site in enumerate(self._sites):
                    if time.monotonic() >= self._due[number]:
                        self._due[number] = time.monotonic() + site.site.interval
                        self._bear(site)
                self._stop.wait(max(0.0, min(self._due.values()) - time.monotonic()))
        self._tell("ended; jobs and pilots are left as they are")
        for site in self._sites:
            with suppress(StoreError):
                site.sign_off()

    def once(self) -> None:
        """One cycle of each site. Raises, after all of them, the first error there was."""
        errors: list[PicasError] = []
        with _on_signals(self), suppress(Stopped):
            for site in self._sites:
                try:
                    self._cycle(site)
                except StoreError as error:
                    errors.append(error)
                if site.ledger.looking.failures or site.ledger.submitting.failures:
                    why = site.ledger.looking.why or site.ledger.submitting.why
                    errors.append(SchedulerError(f"{site.site.name}: {why}"))
        if errors:
            raise errors[0]

    def _bear(self, site: SiteAutopilot) -> None:
        """A cycle whose errors are told; the next one tries again."""
        try:
            self._cycle(site)
        except StoreUnavailable as error:
            self._say(site, "", "away", f"the pool is away, nothing is submitted: {error.message}")
        except PicasError as error:
            self._say(site, "", error.message, f"nothing is submitted: {error.message}")
        except OSError as error:
            self._say(site, "", "journal", f"nothing is submitted: {error.filename or 'a file'}: {error.strerror}")

    def _cycle(self, site: SiteAutopilot) -> None:
        # Whose pilots all died nobody else gives back: those tokens would never be ready again.
        given_back = site.pool.recover()
        if given_back:
            self._tell(f"{site.site.name}: gave back {len(given_back)} tokens of pilots that fell silent")
        try:
            for kind, plan in site.plans():
                if self._stop.is_set():
                    break
                submitted = site.apply(kind, plan)
                self._report(site, kind, plan, submitted)
            site.announce()
        finally:
            site.journal.write()

    def _report(self, site: SiteAutopilot, kind: Kind, plan: Plan, submitted: int) -> None:
        withheld = site.withheld() if plan.submit and not submitted else ""
        text = f"{plan.why}; {withheld}" if withheld else plan.why
        done = f"submitted {submitted} of {plan.submit}: " if submitted < plan.submit else f"submitted {submitted}: "
        if plan.cancel:
            done = f"cancelled {len(plan.cancel)}: "
        line = f"{done if submitted or plan.cancel else ''}{text} (before: {plan.counts})"
        self._say(site, kind.name, "withheld" if withheld else plan.cause, line, always=bool(submitted or plan.cancel))

    def _say(self, site: SiteAutopilot, kind: str, cause: str, line: str, *, always: bool = False) -> None:
        """Tell what has changed at once, what has not now and then."""
        key, now = (site.site.name, kind), time.monotonic()
        before, told_at = self._told.get(key, ("", -_SAY_EVERY))
        if always or cause != before or now - told_at >= _SAY_EVERY:
            self._told[key] = (cause, now)
            self._tell(f"{'/'.join(part for part in key if part)}: {line}")

    @contextmanager
    def _command(self) -> Iterator[None]:
        self._in_command = True
        try:
            if self._stop.is_set():
                raise Stopped
            yield
        finally:
            self._in_command = False


@contextmanager
def _on_signals(autopilot: Autopilot) -> Iterator[None]:
    """TERM and INT end it, for as long as it runs."""
    before = {number: signal.signal(number, autopilot.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
