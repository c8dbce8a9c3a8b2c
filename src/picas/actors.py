"""Actors: the classic pilots. A program subclasses `RunActor` and says in `process_task` what to do with a token.

Over a client of ours (`picas.clients`) a token is claimed under a lease that a thread keeps, and its result is
accepted only while the claim is in force; over any other database object the revision alone guards it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import FrameType
from typing import Any

from picas.clients import Client
from picas.documents import Task
from picas.errors import ClaimLost, InvalidToken
from picas.iterators import EndlessViewIterator, TaskViewIterator, store_of, view_of
from picas.jobid import job_ids
from picas.lifecycle import Doc, Reason, State, fence_of, state_of
from picas.pilot.heart import Heart
from picas.pilot.offspring import Offspring, TimeIsUp, TimeLimit, end_child
from picas.stores.base import Attachment, Beat, PilotRecord, Settlement
from picas.stores.duck import Changes, DuckStore, changes_between, refill
from picas.stores.steering import DRAIN
from picas.util import Timer

__all__ = ["AbstractRunActor", "RunActor"]

log = logging.getLogger(__name__)

_GRACE = 30.0
"""Seconds between the SIGTERM and the SIGKILL for what a token's program has started."""
_PATIENCE_AT_STOP = 10.0
"""Seconds for which a pilot that must end tries to give its token back; batch systems kill after some 30."""


class AbstractRunActor:
    """A pilot over a database object and an iterator of its tokens. Its methods belong to one thread, the main one.

    ``current_task`` is the token at work, which a signal gives back with ``lock`` and ``done`` as in
    ``token_reset_values`` (None: it is left as it is). A program that starts a process puts it in ``subprocess``,
    so that a signal or the time limit ends it; other children of this process are found.
    """

    lease = 60.0
    """Seconds of silence after which the pool takes this pilot for dead; it makes itself heard three times as often."""

    def __init__(
        self,
        db: Any,
        iterator: Any = None,
        view: str = "todo",
        token_reset_values: Sequence[int] | None = (0, 0),
        **view_params: Any,
    ) -> None:
        if db is None:
            raise ValueError("an actor needs a database")
        self.db = db
        self.iterator = TaskViewIterator(db, view, **view_params) if iterator is None else iterator
        self.token_reset_values = None if token_reset_values is None else list(token_reset_values)
        self.current_task: Task | None = None
        self.subprocess: subprocess.Popen[Any] | None = None
        self.tasks_processed = 0
        self._claimed: tuple[Task, Doc] | None = None
        self._saved: Task | None = None
        self._offspring: Offspring | None = None
        self._heart: Heart | None = None
        self._leaving = False
        self._left = False
        self._at_hand: tuple[Doc, TimeLimit] | None = None
        self._draining = self._ordered = self._cancelled = False

    def prepare_env(self, *args: Any, **kwargs: Any) -> None:
        """Called once, before the first token."""

    def prepare_run(self, *args: Any, **kwargs: Any) -> None:
        """Called before each token."""

    def process_task(self, task: Task) -> None:
        """Do the token's work and write the outcome into it; an exception makes it a failed token."""
        raise NotImplementedError("process_task is to be written by the subclass")

    def cleanup_run(self, *args: Any, **kwargs: Any) -> None:
        """Called after each token, when it is saved."""

    def cleanup_env(self, *args: Any, **kwargs: Any) -> None:
        """Called once, when the pilot ends, however it does."""

    def run(self, max_token_time: float | None = None) -> None:
        """Work token by token until the iterator has no more; each for at most ``max_token_time`` seconds."""
        with self._at_work():
            for task in self.iterator:
                self._run(task, max_token_time)
                if self._draining:
                    break
                self.current_task = None

    def reconnect(self) -> None:
        """Open the database again, for the iterator too."""
        self.db = self.db.copy()
        self.iterator.reconnect(self.db)

    def setup_handler(self) -> None:
        """Have `handler` called for SIGTERM and SIGINT."""
        log.info("Setting up signal handlers")
        signal.signal(signal.SIGTERM, self.handler)
        signal.signal(signal.SIGINT, self.handler)

    def handler(self, signum: int, frame: FrameType | None) -> None:
        """End the pilot: its children, then the claim on its token, then the process, with exit code 0.

        A signal that comes while the pool is being written is acted on right after; a second one kills the
        children at once.
        """
        del frame
        log.info("PiCaS shutting down, called with signal %s", signum)
        if self._leaving:
            self._kill_children()
        elif isinstance(self.db, Client):
            self.db.when_idle(self._leave)
        else:
            self._leave()

    def _run(self, task: Task, timeout: float | None) -> None:
        """Work on one token: prepare, process, save, clean up."""
        self.current_task = task
        self._claimed = task, deepcopy(task.value)
        self._offspring, self._cancelled = Offspring(), False
        self.prepare_run()
        self._process(task, timeout)
        if self._left:  # the program caught our SystemExit; the token is given back already
            sys.exit(0)
        self._save(task)
        self.cleanup_run()
        self.tasks_processed += 1

    def _process(self, task: Task, timeout: float | None) -> None:
        limit = None
        try:
            with self._time_limit(task, timeout) as limit:
                self.process_task(task)
        except (Exception, TimeIsUp) as error:  # noqa: BLE001 - the token is marked as failed, and saved
            if limit is None or not limit.expired:
                log.info("Exception %s occurred during processing: %s", type(error), error)
                _fail(task, f"Exception {type(error)} occurred during processing: {error}", error)
        if limit is not None and limit.expired and limit.told:
            log.info("Token %s was cancelled", task.id)
            _fail(task, "cancelled")
        elif limit is not None and limit.expired:
            log.info("Token %s exceeded its time limit of %s seconds", task.id, timeout)
            _fail(task, f"Token execution exceeded timeout limit of {timeout} seconds")

    @contextmanager
    def _time_limit(self, task: Task, seconds: float | None) -> Iterator[TimeLimit | None]:
        """The end of the token's program by force: when its time is up, or when the token is cancelled."""
        if seconds is None and self._heart is None:
            yield None
            return
        with TimeLimit(seconds, self._end_offspring) as limit:
            self._at_hand = self._before(task), limit
            try:
                yield limit
            finally:
                self._at_hand = None

    def _heed(self, beat: Beat) -> None:
        """Act on what a beat brought; in the heart's thread."""
        if (at_hand := self._at_hand) is not None:
            claimed, limit = at_hand
            # By its fence: a beat is of the moment when it was asked for, and the claim may be a later one.
            if claimed["_id"] in beat.cancelled and beat.held[claimed["_id"]] == fence_of(claimed):
                limit.end_now()
        if beat.orders == DRAIN and not self._draining:
            log.info("PiCaS ends after this token, told to %s", beat.orders)
            self._draining = True
            if hasattr(self.iterator, "stop"):
                self.iterator.stop()
        elif beat.orders and beat.orders != DRAIN and not self._ordered:
            self._ordered = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _save(self, task: Task, *, patience: float = float("inf")) -> None:
        """Save the task's changes, if its claim is in force, and note whether they were accepted."""
        before = self._before(task)
        try:
            accepted = self._settle(before, task, patience)
        except ssl.SSLError as error:
            # Long-lived connections are cut by proxies; a fresh one mends it or shows that it is something else.
            log.info("Connection lost while saving token %s, connecting anew: %s", task.id, error)
            self.reconnect()
            accepted = self._settle(before, task, patience)
        self._claimed = task, deepcopy(task.value)
        self._saved = task if accepted else None

    def _before(self, task: Task) -> Doc:
        """The task as it was claimed or last saved."""
        if self._claimed is not None and self._claimed[0] is task:
            return self._claimed[1]
        return deepcopy(task.value)

    def _settle(self, before: Doc, task: Task, patience: float) -> bool:
        if store_of(self.db) is None or "claim" not in before or state_of(before) is None:
            return DuckStore(self.db).settle(before, task)
        changes = changes_between(before, task.value)
        answer = self._exchange(before, changes, patience)
        if isinstance(answer, InvalidToken):
            log.error("The result of token %s cannot be stored: %s", task.id, answer)
            failed = _fail(Task(deepcopy(before)), f"the result cannot be stored: {answer}")
            changes = changes_between(before, failed.value)
            answer = self._exchange(before, changes, patience)
        if isinstance(answer, ClaimLost) and task.value.get("_rev") != before.get("_rev"):
            # The program has saved, maybe closed, the token by itself; what it did since is saved by revision.
            return DuckStore(self.db).settle(before, task)
        if isinstance(answer, Exception):
            log.warning("Result of token %s superseded: %s", task.id, answer)
            return False
        self._cancelled = str(Reason.CANCELLED) == answer.get("reason") != before.get("reason")
        self._accept(task, answer, changes)
        return True

    def _exchange(self, before: Doc, changes: Changes, patience: float) -> Doc | Exception:
        files = {
            name: Attachment(content_type=entry.get("content_type", "text/plain"), data=b64decode(entry["data"]))
            for name, entry in changes.attached.items()
        }
        settlement = Settlement(doc=before, outcome=changes.edit, attachments=files)
        return self.db.exchange([settlement], patience=patience).settled[0]  # type: ignore[no-any-return]

    def _accept(self, task: Task, stored: Doc, changes: Changes) -> None:
        """Give the program's task the content that was stored."""
        for name in changes.detached:
            self.db.db.delete_attachment(task.id, name)
        refill(task.value, self.db.get(task.id).value if changes.detached else stored)

    def _leave(self) -> None:
        """Stop at once, as a signal wants it. Whatever goes wrong with the token, the process ends."""
        self._leaving = True
        try:
            self._end_children()
            self._give_back()
            self.cleanup_env()
        finally:
            self._leaving, self._left = False, True
        sys.exit(0)

    def _give_back(self) -> None:
        task = self.current_task
        if task is None or task is self._saved:
            return
        if self.token_reset_values is None:
            if self._heart is not None:
                self._heart.close(keep_claims=True)
            return
        if self._claimed is None or self._claimed[0] is not task:
            self._claimed = task, deepcopy(task.value)
        task.scrub()
        task["lock"], task["done"] = self.token_reset_values
        try:
            self._save(task, patience=_PATIENCE_AT_STOP)
        except Exception:
            # It stays locked: the pool gives it back when this pilot's lease is over.
            log.exception("Token %s could not be given back", task.id)

    def _end_children(self) -> None:
        child = self.subprocess
        if child is not None and child.poll() is None:
            log.info("Terminating execution of token")
            child.terminate()
        self._end_offspring()
        if child is not None and child.poll() is None:
            end_child(child, _GRACE)

    def _end_offspring(self) -> bool:
        """End what the token's program has started, in whatever process group; whether there was anything."""
        offspring = self._offspring or Offspring()
        if self.subprocess is not None and self.subprocess.returncode is None:
            offspring.adopt(self.subprocess.pid)
        return offspring.end(_GRACE)

    def _kill_children(self) -> None:
        if self.subprocess is not None and self.subprocess.poll() is None:
            self.subprocess.kill()
        if self._offspring is not None:
            self._offspring.kill()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._left = False
        self.setup_handler()
        with self._alive():
            self.prepare_env()
            try:
                yield
            finally:
                if not self._left:
                    self.cleanup_env()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Within it the pool hears of this pilot, where the pool can."""
        store = store_of(self.db)
        if store is None:
            yield
            return
        with Heart(store.twin, self._record(), self._heed) as self._heart:
            yield

    def _record(self) -> PilotRecord:
        source = getattr(self.iterator, "iterator", self.iterator)
        design = getattr(source, "view_params", {}).get("design_doc", "Monitor")
        return PilotRecord(
            id=self.db.pilot,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            started_at=time.time(),
            lease=self.lease,
            view=str(view_of(getattr(source, "view", "todo"), design)),
            job={name: value for name, value in job_ids(os.environ).items() if value},
        )


class RunActor(AbstractRunActor):
    """A pilot that also knows when to stop, and gives failed tokens another try."""

    def run(
        self,
        max_token_time: float | None = None,
        max_total_time: float | None = None,
        max_tasks: int | None = None,
        max_scrub: int = 0,
        stop_function: Callable[..., Any] | None = None,
        **stop_function_args: Any,
    ) -> None:
        """Work token by token until there are no more, or until one of these, looked at after each token:

        ``stop_function(**stop_function_args)`` is true, ``max_tasks`` tokens are processed, ``max_total_time``
        seconds are over, which also ends the wait of an `EndlessViewIterator`. A token that failed is put back to
        todo up to ``max_scrub`` times. ``max_token_time`` is the seconds that one may take.
        """
        timer, processed_before = Timer(), self.tasks_processed

        def is_over() -> bool:
            return bool(
                (stop_function is not None and stop_function(**stop_function_args))
                or (max_tasks and self.tasks_processed - processed_before >= max_tasks)
                or (max_total_time is not None and timer.elapsed() > max_total_time)
            )

        if isinstance(self.iterator, EndlessViewIterator):
            self.iterator.stop_at = None if max_total_time is None else time.monotonic() + max_total_time
        with self._at_work():
            for task in self.iterator:
                self._run(task, max_token_time)
                self._retry(task, max_scrub)
                if self._draining or is_over():
                    break
                self.current_task = None

    def _retry(self, task: Task, max_scrub: int) -> None:
        """Put a failed token back to todo, unless it was cancelled, or its result superseded by somebody else's."""
        failed = task.value.get("exit_code", "") != 0
        if failed and task is self._saved and not self._cancelled and task.value.get("scrub_count", 0) < max_scrub:
            log.info("Scrubbing token %s", task.id)
            task.scrub()
            self._save(task)


def _fail(task: Task, message: str, exception: BaseException | None = None) -> Task:
    """Mark a token as failed, whatever is already said of it.

    A shell whose child was ended first may end with 0 before it is ended itself, a program may fail after it noted its
    command's 0, and a token that was put back may bear that of an earlier try: it would count as done.
    """
    task.error(message, exception=exception)
    if state_of({**task.value, "type": "token"}) is State.DONE:
        task["exit_code"] = ""
    return task
