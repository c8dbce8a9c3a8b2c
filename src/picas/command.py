"""`CommandActor`: the pilot that runs commands. It claims, runs, judges and settles until nothing is left.

One thread does all of it, in turns: settle what is finished and claim what is next in one step, feed the runners, hear
from them, renew the lease. The runners have work queued meanwhile, so that they need not wait for the store.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from picas.errors import InvalidToken, UsageError
from picas.lifecycle import Outcome, Reason, fence_of
from picas.pilot import keep, limits, sharing, work
from picas.pilot.briefing import Briefing
from picas.pilot.crew import Crew, Loss
from picas.pilot.defence import Defence
from picas.pilot.doubts import Doubts
from picas.pilot.holdings import Holding, Holdings
from picas.pilot.identity import claimant, introduce
from picas.pilot.idleness import Idleness, Step
from picas.pilot.jobs import Report
from picas.pilot.lease import Lease
from picas.pilot.live import Live
from picas.pilot.offering import Offering
from picas.pilot.options import AWAY_GRACE, Progress, RunOptions, RunReport
from picas.pilot.settling import Settler
from picas.pilot.signals import Signals
from picas.pilot.spool import spool_of
from picas.pilot.tidying import remove
from picas.pilot.usage import Gauge, Usage
from picas.pool import Pool
from picas.stores.base import Beat, Claim, Settlement
from picas.stores.steering import DRAIN

__all__ = ["CommandActor", "Progress", "RunOptions", "RunReport"]

log = logging.getLogger("picas.pilot")


class CommandActor:
    """A pilot that runs the commands of tokens on so many cores. `run` once."""

    def __init__(
        self, pool: Pool, options: RunOptions | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.pool = pool
        self.options = options or RunOptions()
        self._store = pool.store
        self._on_progress = on_progress
        self._offering = Offering.here(self.options, os.environ)
        self._deadline = limits.deadline(self.options.max_time, os.environ)
        record = introduce(
            self.options,
            ends_at=None if self._deadline is None else time.time() + self._deadline - time.monotonic(),
            live=self._store.capabilities.live_output,
            **self._offering.record(),
        )
        self.id = record.id
        self._claimant = claimant(record, cores=record.cores)
        self._holdings = Holdings(self._offering.slots)
        # Whoever watches pilots allows them a lease to come back after an outage.
        kept = keep.kept_folder(os.environ)
        spool = spool_of(pool.store, kept, record.id, record.hostname)
        self._settler = Settler(self._store, kept, min(30.0, self.options.lease / 3), spool)
        self._chance = random.Random(self.id)
        self._briefing = Briefing(self.options, self._offering, self._holdings, self._deadline)
        self._defence = Defence(self.options, self.id)
        self._doubts = Doubts()
        self._signals = 0
        self._signals_seen = 0
        self._stopping = ""
        self._draining = False
        self._stopped_at = 0.0
        self._why = ""
        self._dry = False
        self._idleness = Idleness(pool, self.options.view, self.options.idle)
        self._live = Live(self._store, self.id, self._settler)
        self._gauge = Gauge()
        self._lease = Lease(pool, record, self._settler, self._idleness, kept)
        self._progress_at = 0.0
        self._tidy: list[str] = []

    def run(self) -> RunReport:
        """Work until nothing is left or a limit is reached; what was begun and not finished is given back."""
        begun = time.monotonic()
        with Signals(self._on_signal):
            self._crew = Crew(self._lease.record.cores, self._offering.base())
            try:
                self._work()
                self._sign_off()
            except UsageError:
                # There is no such view, say: nothing was claimed.
                self._sign_off()
                raise
            finally:
                kept = self._settler.keep_rest()  # before the runners' files go, of which some belong to results
                self._lease.close()
                self._crew.close()
        if kept:
            raise keep.left_behind(kept, keep.kept_folder(os.environ))
        why = self._defence.why or self._why
        return self._settler.counts.report(time.monotonic() - begun, why, unfit=bool(self._defence.why))

    def _work(self) -> None:
        while True:
            self._attend()
            self._renew()
            self._defence.room.look(self._crew, self._holdings, self.options.grace)
            self._exchange()
            self._send()
            if self._is_over():
                return
            for report in self._doubts.sift(self._crew.collect(self._pause()), told=self._signals > 0):
                self._finish(report)
            for loss in self._crew.take_lost():
                self._mourn(loss)
            self._tell_progress()

    # Claiming and settling

    def _exchange(self) -> None:
        """Settle what is finished and claim what is next, when one or the other is due."""
        wanted = self._wanted()
        if not (wanted or self._settler.is_due(nothing_running=not self._holdings)):
            return
        claim = self._claim(wanted) if wanted else None
        claimed = self._settler.exchange(claim)
        if claimed is None:
            return
        if claim is not None:
            self._dry = len(claimed) < claim.count
            self._idleness.claimed(len(claimed))
        elif not self._settler.waiting:
            self._dry = False
        for doc in claimed:
            self._holdings.add(doc)
        self._clean_up()

    def _wanted(self) -> int:
        if self._stopping or self._draining or self._dry or self._settler.is_away or self._defence.claims_nothing:
            return 0
        wanted = self._holdings.wanted
        if self.options.max_tasks is not None:
            counts = self._settler.counts
            used = counts.done + counts.failed + counts.retried + self._settler.waiting + len(self._holdings)
            wanted = min(wanted, self.options.max_tasks - used)
        return max(0, wanted)

    def _claim(self, count: int) -> Claim:
        left = float("inf") if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        offer = replace(self._holdings.offer, time=left)
        return Claim(
            view=self.options.view,
            count=count,
            claimant=self._claimant,
            offer=offer,
            suspects=self._holdings.may_take_suspects,
        )

    # Running

    def _send(self) -> None:
        """Give the runners what they can take."""
        for left in sharing.to_leave(self._holdings, self._lease):
            self._give_back(left, Reason.STOPPED)
        while not self._stopping and (holding := self._holdings.next()) is not None:
            if holding.limit and self._deadline is not None and time.monotonic() + holding.limit > self._deadline:
                self._give_back(holding, Reason.TIME)
                continue
            try:
                job = self._briefing.job(holding, self._crew.folder)
            except InvalidToken as problem:
                self._holdings.drop(holding.number)
                outcome = work.refused(holding.doc, problem, self._claimant, time.time())
                outcome = self._defence.judged(holding.doc, outcome)
                self._settler.add(Settlement(doc=holding.doc, outcome=outcome))
                continue
            if not self._crew.send(job):
                self._holdings.withdraw(holding)
                return
            self._holdings.sent(holding)

    def _finish(self, report: Report) -> None:
        """Judge one command's end; its token is settled with the next exchange."""
        holding = self._holdings.drop(report.number)
        if holding is None or report.why == "lost":
            return
        self._holdings.measured(holding, report.runtime)
        options = self.options
        jitter = self._chance.random()
        outcome = work.outcome_of(holding.doc, report, self._claimant, max_scrub=options.max_scrub, jitter=jitter)
        outcome = self._defence.judged(holding.doc, outcome)
        files = work.attachments(holding.doc, report, holding.folder, options.attach, options.output_cap)
        self._settler.add(Settlement(doc=holding.doc, outcome=outcome, attachments=files))
        self._tidy += [stream for stream in (report.out, report.err) if isinstance(stream, str)]
        if holding.folder and not options.workdir:
            self._tidy.append(holding.folder)

    def _mourn(self, loss: Loss) -> None:
        """A runner was killed: its command is charged, and what it had not reported yet is given back unspent."""
        for number in loss.unreported:
            if (unreported := self._holdings.get(number)) is not None:
                self._give_back(unreported, Reason.STOPPED)
        last = self._holdings.drop(loss.running) if loss.running is not None else None
        if last is not None:
            log.warning("token %s: its runner was killed", last.doc["_id"])
            outcome = work.killed(last.doc, self._claimant, time.time(), self.options.max_scrub)
            outcome = self._defence.killed(last.doc, outcome)
            self._settler.add(Settlement(doc=last.doc, outcome=outcome))

    def _clean_up(self) -> None:
        """Remove files whose results have been settled."""
        if self._settler.waiting:
            return
        for path in self._tidy:
            remove(Path(path))
        self._tidy.clear()

    # Lease

    def _renew(self) -> None:
        """Renew the lease and look for pilots that let theirs run out, each when it is time."""
        counts, holdings = self._settler.counts, self._holdings
        running, finished = holdings.running, counts.done + counts.failed
        beat = self._lease.beat(running=running, holding=len(holdings), finished=finished, usage=self._usage)
        if beat is not None:
            self._heed(beat)
            self._live.hear(beat.followed)
        self._live.step(holdings, self._crew)
        if self._lease.look():
            self._dry = False

    def _usage(self) -> Usage:
        busy = sum(holding.cores for holding in self._holdings if holding.sent)
        return self._gauge.read(self._crew.pids, min(self._lease.record.cores, busy))

    def _heed(self, beat: Beat) -> None:
        """Act on what the store tells of this pilot's claims."""
        for holding in self._holdings.lost({**beat.held}):
            log.warning("token %s: claim %d is over", holding.doc["_id"], fence_of(holding.doc))
            self._end(holding, "lost")
        for holding in self._holdings:
            # Of two claims of ours on one token, the later is the one that is meant.
            if holding.doc["_id"] in beat.cancelled and beat.held[holding.doc["_id"]] == fence_of(holding.doc):
                self._end(holding, "cancelled")
        if beat.orders == DRAIN and not (self._stopping or self._draining):
            self._drain()
        elif beat.orders and beat.orders != DRAIN and not self._stopping:
            self._stop("stopped", f"told to {beat.orders}")

    def _end(self, holding: Holding, why: str) -> None:
        if holding.sent:
            self._crew.cancel([holding.number], why, self.options.grace)
            return
        self._holdings.drop(holding.number)
        if why == "cancelled":
            outcome = Outcome(reason=Reason.CANCELLED, exit_code="")
            self._settler.add(Settlement(doc=holding.doc, outcome=outcome))

    # Ending

    def _attend(self) -> None:
        """Begin to stop when a signal came, the time is up, or no runner is left."""
        if self._signals > self._signals_seen:
            hurry = self._signals > 1
            self._signals_seen = self._signals
            self._stop("stopped", "told to stop by a signal", 0.0 if hurry else self.options.grace)
        if not self._stopping and self._deadline is not None and time.monotonic() >= self._deadline:
            self._stop("limit", "its time is up")
        if self._defence.why:
            self._recall(Reason.STOPPED)
        if not self._crew.alive and not self._stopping:
            self._stop("stopped", "its runners died")
        if self._stopping and not self._crew.alive:
            for holding in self._holdings:
                self._give_back(holding, Reason.STOPPED)

    def _stop(self, why: str, words: str, grace: float | None = None) -> None:
        """Claim nothing more, give back what has not begun, and have the rest ended."""
        self._stopped_at = time.monotonic()
        self._stopping = why
        self._why = self._why or words
        self._recall(Reason.TIME if why == "limit" else Reason.STOPPED)
        running = [holding.number for holding in self._holdings]
        self._crew.cancel(running, why, self.options.grace if grace is None else grace)

    def _drain(self) -> None:
        """Claim nothing more, give back what has not begun, and end when what runs has."""
        self._draining = True
        self._why = f"told to {DRAIN}"
        self._recall(Reason.STOPPED)

    def _recall(self, reason: Reason) -> None:
        """Give back what has not begun."""
        recalled = set(self._crew.recall())
        for holding in self._holdings:
            if not holding.sent or holding.number in recalled:
                self._give_back(holding, reason)

    def _give_back(self, holding: Holding, reason: Reason) -> None:
        self._holdings.drop(holding.number)
        self._settler.add(Settlement(doc=holding.doc, outcome=Outcome(reason=reason, give_back=True)))

    def _is_over(self) -> bool:
        if self._stopping and not self._holdings and self._settler.failing and self._has_waited_long():
            return True
        if self._holdings or self._settler.waiting:
            self._idleness.over()
            return False
        if self._stopping or self._draining or self._defence.why:
            return True
        if self._defence.room.is_low and not self._dry:
            self._settler.guarded(self._ask_for_work)
            return False
        if self.options.max_tasks is not None and self._wanted() == 0 and not self._dry:
            self._why = "it has run as many tokens as it may"
            return True
        return self._dry and self._is_idle_too_long()

    def _ask_for_work(self) -> None:
        """While there is no room on the disk: end in the usual way when nothing waits for there to be some."""
        if self._defence.room.may_ask():
            self._dry = self._store.next_ready(self.options.view) is None

    def _has_waited_long(self) -> bool:
        """Whether a pilot that is to stop has waited for the pool to come back as long as it may."""
        return self._signals > 1 or time.monotonic() > self._stopped_at + AWAY_GRACE

    def _is_idle_too_long(self) -> bool:
        """Nothing is left to do: wait for work as long as that is allowed, and for what comes back later."""
        step = None if self._settler.is_away else self._settler.asked(self._idleness.step)
        self._dry = step is not Step.CLAIM
        self._why = self._idleness.why if step is Step.END else self._why
        return step is Step.END

    def _pause(self) -> float:
        """How long the next look at the runners may take."""
        if not self._holdings:
            return 0.1 if self._settler.is_away else 0.5 if self._defence.room.is_low else 0.0
        if self._dry and not self._stopping and self._holdings.wanted and self._store.wait(0.0):
            self._dry = False
            return 0.0
        return 0.02 if self._settler.waiting or self._dry else 0.25

    def _sign_off(self) -> None:
        """Have the record removed, unless tokens are left with it: the pilot's silence will give those back."""
        if self._settler.waiting:
            self._settler.exchange(None)
        if not self._settler.waiting:
            self._settler.guarded(lambda: self._store.forget(self.id))

    def _on_signal(self) -> None:
        self._signals += 1

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if self._on_progress is None or now < self._progress_at:
            return
        self._progress_at = now + 0.25
        counts = self._settler.counts
        self._on_progress(Progress(done=counts.done, failed=counts.failed, running=self._holdings.running))
