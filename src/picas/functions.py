"""`FunctionActor`: the pilot that calls Python functions. It was given them by the program that started it.

It claims calls in batches, makes them one by one in its own process, and settles a batch with the claim of the next.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from picas.lifecycle import Doc, Outcome, Reason
from picas.pilot import calls, keep, limits
from picas.pilot.calls import Function, Functions
from picas.pilot.desk import Alarm, Desk, Watch
from picas.pilot.heart import Heart
from picas.pilot.identity import claimant, introduce
from picas.pilot.idleness import Idleness, Step
from picas.pilot.lease import Lookout
from picas.pilot.offspring import TimeIsUp
from picas.pilot.options import AWAY_GRACE, RunOptions, RunReport
from picas.pilot.settling import Counts, Settler
from picas.pilot.signals import Signals
from picas.pilot.slots import WORK_AHEAD, RunLength
from picas.pool import Pool, connect
from picas.stores.base import Claim, Settlement, TokenStore

__all__ = ["FunctionActor", "work"]

log = logging.getLogger("picas.pilot")

_PAUSE = 0.05


def work(
    functions: Function | Iterable[Function] | Functions, pool: Pool | str = "picas.db", **options: Any
) -> RunReport:
    """Make the calls of these functions that wait in a pool, here, until none is left; what came of them.

    ``pool`` is an open one or an address. Options are the fields of `RunOptions` that are not about commands:
    ``view max_tasks max_time token_time idle max_scrub memory lease``. In the main thread SIGTERM, SIGINT and SIGHUP
    stop it: what is not finished goes back into the pool.
    """
    with nullcontext(pool) if isinstance(pool, Pool) else connect(pool) as opened:
        return FunctionActor(opened, functions, RunOptions(**options)).run()


class FunctionActor:
    """A pilot that calls functions for tokens that name them. `run` once.

    ``name`` is its own, if it is to be known; ``stop`` tells it to stop where no signal can, in a thread.
    """

    def __init__(
        self,
        pool: Pool,
        functions: Function | Iterable[Function] | Functions,
        options: RunOptions | None = None,
        *,
        name: str | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.pool = pool
        self.functions = calls.named(functions)
        self.options = options or RunOptions()
        self._record = introduce(self.options, name=name)
        self.id = self._record.id
        self._claimant = claimant(self._record)
        self._folder = keep.kept_folder(os.environ)
        self._settler = self._settler_on(pool.store)
        self._idleness = Idleness(pool, self.options.view, self.options.idle)
        self._lookout = Lookout(pool, self._record, self._settler, self._idleness)
        self._deadline = limits.deadline(self.options.max_time, os.environ)
        self._memory = self.options.memory or limits.memory_here(os.environ)
        self._chance = random.Random(self.id)
        self._stop = stop or threading.Event()
        self._desk = Desk()
        self._alarm = Alarm()
        self._length = RunLength()
        self._claimed = 0
        self._signals = 0
        self._stopped_at: float | None = None
        self._why = ""
        self._dry = False

    def run(self) -> RunReport:
        """Work until nothing is left or a limit is reached; what was begun and not finished is given back."""
        begun, store = time.monotonic(), self.pool.store

        def settling() -> tuple[TokenStore, Settler]:
            twin = store.twin()
            return twin, self._settler_on(twin)

        with Signals(self._on_signal), self._alarm, Heart(store.twin, self._record) as heart:
            with Watch(self._desk, heart, self._alarm, self.options.token_time, settling) as watch:
                self._work(heart, watch)
            settlers = [self._settler] + ([watch.settler] if watch.settler else [])
            kept = sum(settler.keep_rest() for settler in settlers)
        if kept:
            raise keep.left_behind(kept, self._folder)
        counts = sum((settler.counts for settler in settlers), Counts())
        return counts.report(time.monotonic() - begun, self._why)

    def _work(self, heart: Heart, watch: Watch) -> None:
        while True:
            self._attend(watch)
            self._lookout.look()
            self._exchange()
            heart.record = replace(self._record, running=1, finished=self._settler.counts.done)
            if self._desk.queue:
                self._idleness.over()
                self._make_calls()
            elif self._is_over():
                return

    # Claiming and settling

    def _exchange(self) -> None:
        """Settle what is finished, and claim what is next when nothing is left of the last."""
        for settlement in self._desk.take(unbegun=None if self._stopped_at is None else Reason.STOPPED):
            self._settler.add(settlement)
        wanted = 0 if self._desk.queue or self._dry or self._settler.is_away else self._wanted()
        if self._settler.is_away or not (wanted or self._settler.waiting):
            return
        claimed = self._settler.exchange(self._claim(wanted) if wanted else None)
        if claimed is None:
            return
        if wanted:
            self._dry = len(claimed) < wanted
            self._claimed += len(claimed)
            self._idleness.claimed(len(claimed))
            self._desk.queue.extend(claimed)
        else:
            self._dry = False

    def _wanted(self) -> int:
        if self._stopped_at is not None:
            return 0
        ahead = 1 + self._length.ahead(1)
        return ahead if self.options.max_tasks is None else min(ahead, self.options.max_tasks - self._claimed)

    def _claim(self, count: int) -> Claim:
        left = float("inf") if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        offer = calls.offer(self.functions, left, self._memory)
        return Claim(view=self.options.view, count=count, claimant=self._claimant, offer=offer)

    # Calling

    def _make_calls(self) -> None:
        """Make the calls at hand, for as long as results are young and nobody wants the pilot to stop."""
        until = time.monotonic() + 2 * WORK_AHEAD
        while self._stopped_at is None and (doc := self._desk.begin()) is not None:
            self._desk.end(self._call(doc))
            if self._signals or self._stop.is_set() or time.monotonic() > until:
                return

    def _call(self, doc: Doc) -> Settlement | None:
        value: Any = None
        error: BaseException | None = None
        interrupted = False
        at, begun = time.time(), time.perf_counter()
        try:
            try:
                self._alarm.on = True
                value = calls.invoke(self.functions, doc)
            finally:
                self._alarm.on = False
        except TimeIsUp as alarm:
            interrupted, error = True, alarm
        except BaseException as problem:  # noqa: BLE001 - whatever a function raises, its token is marked as failed
            error = problem
        length = time.perf_counter() - begun
        self._length.measured(length)
        ended = self._desk.why or ("stopped" if interrupted else "")
        if ended:
            return self._interrupted(doc, ended, at, length)
        jitter = self._chance.random() if error else 0.0
        span, allowed = (at, length), self.options.max_scrub
        outcome = calls.judge(doc, self._claimant, value, error, span=span, max_scrub=allowed, jitter=jitter)
        return Settlement(doc=doc, outcome=outcome)

    def _interrupted(self, doc: Doc, why: str, at: float, length: float) -> Settlement | None:
        """What becomes of a call that was ended by us, whatever it returned or raised on its way out."""
        if why == "lost":
            return None
        if why == "stopped":
            return Settlement(doc=doc, outcome=Outcome(reason=Reason.STOPPED, give_back=True))
        reason = Reason.TIME if why == "time" else Reason.CANCELLED
        outcome = calls.judge(
            doc,
            self._claimant,
            None,
            TimeoutError(f"it was ended after {length:.1f} s: {why}"),
            span=(at, length),
            max_scrub=self.options.max_scrub,
            jitter=self._chance.random(),
        )
        return Settlement(doc=doc, outcome=replace(outcome, reason=reason, exit_code=""))

    # Ending

    def _attend(self, watch: Watch) -> None:
        """Begin to stop when a signal came, the time is up, or somebody told this pilot to."""
        if self._stopped_at is not None:
            return
        if self._signals or self._stop.is_set():
            self._why = "told to stop by a signal"
        elif watch.orders:
            self._why = f"told to {watch.orders}"
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            self._why = "its time is up"
        else:
            return
        self._stopped_at = time.monotonic()

    def _is_over(self) -> bool:
        if self._settler.waiting:
            if self._stopped_at is not None and time.monotonic() > self._stopped_at + AWAY_GRACE:
                return True
            time.sleep(_PAUSE)
            return False
        if self._stopped_at is not None:
            return True
        if self.options.max_tasks is not None and self._claimed >= self.options.max_tasks:
            self._why = "it has made as many calls as it may"
            return True
        if self._settler.is_away:
            time.sleep(_PAUSE)
            return False
        return self._dry and self._is_idle_too_long()

    def _is_idle_too_long(self) -> bool:
        step = self._settler.asked(lambda: self._idleness.step(self._rest))
        self._dry = step is not Step.CLAIM
        self._why = self._idleness.why if step is Step.END else self._why
        return step is Step.END

    def _rest(self) -> bool:
        """Wait a little, until a signal comes; whether the pool has changed."""
        try:
            try:
                self._alarm.on = not self._signals
                return self._idleness.rest()
            finally:
                self._alarm.on = False
        except TimeIsUp:
            return False

    def _on_signal(self) -> None:
        self._signals += 1
        self._alarm.ring()

    def _settler_on(self, store: TokenStore) -> Settler:
        return Settler(store, self._folder, min(30.0, self.options.lease / 3))
