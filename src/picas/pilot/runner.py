"""A runner: a small process that runs one command at a time, for a pilot that feeds it.

All runners of a pilot take jobs from one shared socket, so that whichever is free takes the next. A command gets a
process group of its own. When it ends, whatever it left behind is ended too: the runner is a child subreaper, so that
no descendant can slip away. When the pilot dies, even by SIGKILL, its end of the socket closes, and the runner ends the
command and itself. Where the fast path could be compiled, that runs the short, plain commands in between.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from picas.pilot import fastpath
from picas.pilot.bounds import Bounds
from picas.pilot.capture import TAIL_BYTES, Capture
from picas.pilot.ending import Ending
from picas.pilot.fastpath import IN_HAND, Desk, Ended, FastPath, Step
from picas.pilot.handover import OutputFile, TokenFile
from picas.pilot.jobs import CANCEL, FULL, QUIT, START_FAILED, TAIL, Frames, Job, Journal, Report, pack, unpack
from picas.pilot.outbox import HELD_BACK, Outbox
from picas.pilot.patience import Patience
from picas.pilot.watches import Growing, Quiet
from picas.process import become_subreaper, end_group, end_leftovers, has_children

__all__ = ["main"]

_SHORT = 0.005
"""Seconds for which a command is left alone: most short ones end within, and cost one wake-up only."""
_FOR_COMMANDS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that commands find as they usually are, though runners pass over them."""


class Runner:
    """The runner's state: its sockets, pipes and files, and reports not yet sent."""

    def __init__(
        self, jobs: socket.socket, control: socket.socket, journal: Journal, folder: Path, spill: Path
    ) -> None:
        self._jobs = jobs
        self._frames = Frames(control)
        self._home = self._here = os.getcwd()
        self._token = TokenFile(str(folder / "token.json"))
        self._output = OutputFile(str(folder / "output.json"))
        self._out = Capture(spill / f"{folder.name}.out")
        self._err = Capture(spill / f"{folder.name}.err")
        self._journal = journal
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._child_signal = _signal_handle(signal.SIGCHLD)
        self._outbox = Outbox(self._frames, self._journal)
        self._cancelled: dict[int, tuple[str, float]] = {}
        self._long: int | None = None  # the number of the job that runs, once it has run for a moment
        self._quit = False
        self._away = False
        self._is_full = False
        self._growing = Growing()
        self._base = {
            **os.environb,
            b"PICAS_TOKEN": os.fsencode(self._token.path),
            b"PICAS_OUTPUT": os.fsencode(self._output.path),
        }
        self._idle_poll = _poll(jobs.fileno(), control.fileno())
        self._told = _poll(control.fileno())
        self._patience = Patience(_SHORT)
        self._pipes = _poll(self._out.reader, self._err.reader)
        self._long_poll = _poll(self._child_signal, control.fileno(), self._out.reader, self._err.reader)
        library = fastpath.load()
        self._fast = None if library is None else self._fast_path(library)

    def _fast_path(self, library: ctypes.CDLL) -> FastPath:
        return FastPath(
            library,
            {"jobs": self._jobs.fileno(), "control": self._frames.sock.fileno(), "null": self._null},
            token=self._token,
            output_path=self._output.path,
            environ=self._base,
            journal=self._journal,
            patience=_SHORT,
            held_back=HELD_BACK,
        )

    def loop(self) -> None:
        """Run jobs until told to quit."""
        while not self._quit:
            if self._fast is None:
                self._take_next()
            else:
                self._take_many(self._fast)
        self._patience.rest()
        self._flush()

    def _take_next(self) -> None:
        try:
            data = self._jobs.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._idle()
            return
        if not data:
            self._quit = True
            return
        message = unpack(data)
        self._journal.begin(message[0])
        self._keep(self._run_sent(message))

    def _take_many(self, fast: FastPath) -> None:
        """The same by way of the fast path, which runs what it can, and says what else there is to do."""
        self._patience.begin()
        step = fast.serve(self._out, self._err, self._outbox.room, self._here == self._home)
        message: tuple[Any, ...] = unpack(fast.message) if step in IN_HAND else ()
        if message and not fast.desk.is_noted:
            # Before anything is sent or read, which can take long: a job in no book would be lost with this process.
            self._journal.begin(message[0])
        if fast.desk.reports_count and self._outbox.put(fast.reports, fast.desk.reports_count, fast.desk.oldest):
            self._flush()
        if step is Step.IDLE:
            self._idle()
        elif step is Step.GONE:
            self._quit = True
        elif step is Step.TOLD:
            self._keep(self._run_sent(message))
        elif message:
            self._keep(self._go_on(Job(*message), step, fast.desk))

    def _idle(self) -> None:
        self._patience.rest()
        self._flush()
        ready = self._idle_poll.poll()
        if any(handle == self._frames.sock.fileno() for handle, _ in ready):
            self._listen()

    def _keep(self, report: Report) -> None:
        if self._outbox.put(pack(tuple(report)), 1, time.monotonic()):
            self._flush()

    def _flush(self) -> None:
        try:
            self._outbox.send()
        except OSError:
            self._quit = self._away = True

    def _listen(self) -> None:
        messages = self._frames.receive()
        if messages is None:
            self._quit = self._away = True
            return
        for verb, *values in messages:
            if verb == QUIT:
                self._quit = True
            elif verb == CANCEL:
                numbers, why, grace = values
                self._cancelled.update(dict.fromkeys(numbers, (why, grace)))
            elif verb == FULL:
                self._is_full = True
            elif verb == TAIL and values[0] == self._long:
                self._send_tail(*values)
        if self._fast is not None:
            self._fast.refuse(self._cancelled)

    def _send_tail(self, number: int, out_from: int, err_from: int) -> None:
        try:
            self._frames.send(
                (number, *self._out.recent(out_from, TAIL_BYTES), *self._err.recent(err_from, TAIL_BYTES))
            )
        except OSError:
            self._quit = self._away = True

    def _run_sent(self, message: tuple[Any, ...]) -> Report:
        """Run a job as it was sent: whole, or as its number and the file that it is in."""
        if len(message) == len(Job._fields):
            return self._run(Job(*message))
        number, path = message
        try:
            job = Job(*unpack(Path(path).read_bytes()))
        except OSError as error:
            job = Job(number, [], {}, "", 0.0, 0.0, 0, None)
            self._begin(job)
            return self._report(job, -START_FAILED - (error.errno or errno.EIO), "", time.time(), 0.0, 0)
        return self._run(job)

    def _run(self, job: Job) -> Report:
        self._begin(job)
        if self._told.poll(0):
            self._listen()
        start = time.time()
        if self._away or job.number in self._cancelled:
            why, _ = self._cancelled.pop(job.number, ("stopped", 0.0))
            return self._report(job, -signal.SIGTERM, why, start, 0.0, 0)
        begun = time.monotonic()
        bounds = None
        try:
            if job.bounds is None:
                pid = self._spawn(job)
            else:
                bounds = Bounds(job.bounds, f"picas-{os.getpid()}-{job.number}", begun)
                with bounds.around():
                    pid = self._spawn(job)
        except (OSError, ValueError) as error:
            if bounds is not None:
                bounds.close()
            number = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
            return self._report(job, -START_FAILED - number, "", start, time.monotonic() - begun, 0)
        self._patience.wait(pid, begun + _SHORT)
        return self._finish(job, pid, start, begun, _reap(pid), bounds)

    def _go_on(self, job: Job, step: Step, desk: Desk) -> Report:
        """Take over a job that the fast path has begun."""
        self._begin(job)
        if step is Step.FAILED:
            runtime = time.monotonic() - desk.begun
            return self._report(job, -START_FAILED - desk.error, "", desk.start, runtime, 0)
        if step is Step.LONG:
            self._patience.rest()
        ended = Ended(desk.status, desk.max_rss) if step is Step.ENDED else None
        return self._finish(job, desk.pid, desk.start, desk.begun, ended, None)

    def _begin(self, job: Job) -> None:
        self._out.begin(job.output_cap)
        self._err.begin(job.output_cap)

    def _finish(
        self, job: Job, pid: int, start: float, begun: float, ended: Ended | None, bounds: Bounds | None
    ) -> Report:
        """See a command to its end, if it has not come yet, and what it left behind."""
        why = ""
        if ended is None:
            ended, why = self._wait(job, pid, begun, bounds)
        runtime = time.monotonic() - begun
        leftovers = has_children()
        if leftovers:
            end_group(pid, signal.SIGKILL)
            if not end_leftovers():
                sys.stderr.write(f"picas: a process left by job {job.number} cannot be ended\n")
        is_spoilt = self._out.is_spoilt() or self._err.is_spoilt()
        if self._pipes.poll(0):
            self._out.drain(to_the_end=True)
            self._err.drain(to_the_end=True)
        if leftovers or is_spoilt:
            self._renew_pipes()
        self._cancelled.pop(job.number, None)
        if self._out.broken or self._err.broken:
            why = why or "disk"
        most = ended.max_rss
        if bounds is not None:
            killed, peak = bounds.close()
            why, most = why or ("memory" if killed else ""), max(most, peak)
        return self._report(job, os.waitstatus_to_exitcode(ended.status), why, start, runtime, most, leftovers)

    def _spawn(self, job: Job) -> int:
        self._token.write(job.token.encode())
        self._go_to(job.folder)
        return os.posix_spawnp(
            job.argv[0],
            job.argv,
            {**self._base, **job.environ},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, self._out.writer, 1),
                (os.POSIX_SPAWN_DUP2, self._err.writer, 2),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_FOR_COMMANDS,
        )

    def _go_to(self, folder: str | None) -> None:
        """Commands start where their runner is: in the token's own folder, or where the pilot was started."""
        if folder is not None:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = folder or self._home
        if wanted != self._here:
            os.chdir(wanted)
            self._here = wanted

    def _wait(self, job: Job, pid: int, begun: float, bounds: Bounds | None) -> tuple[Ended, str]:
        """Wait for the command, take its output, and end it when its time is over or somebody says so: why."""
        self._long = job.number
        self._flush()
        timeout, ending = 0.0, Ending(pid, job, begun)
        quiet = Quiet(job.quiet, begun) if job.quiet else None
        while True:
            self._attend(self._long_poll.poll(timeout * 1000))
            if ended := _reap(pid):
                self._long = None
                return ended, ending.why
            asked = ("stopped", 0.0) if self._away else self._cancelled.get(job.number)
            if asked is None and (self._out.broken or self._err.broken):
                asked = ("disk", job.grace)
            if self._is_full:
                self._is_full = False
                if self._growing.warned(job.number, self._out.on_disk + self._err.on_disk):
                    asked = asked or self._cancelled.setdefault(job.number, ("disk", job.grace))
            now = time.monotonic()
            if bounds is not None and asked is None and bounds.is_over(now):
                asked = ("memory", job.grace)
            if quiet is not None and asked is None and quiet.is_over(now, self._out.size + self._err.size):
                asked = ("quiet", job.grace)
            timeout = ending.step(now, asked)
            if bounds is not None:
                timeout = bounds.pause(timeout, now)
            if quiet is not None:
                timeout = min(timeout, quiet.wait)

    def _attend(self, ready: list[tuple[int, int]]) -> None:
        for handle, _ in ready:
            if handle == self._child_signal:
                os.read(handle, 1024)
            elif handle == self._out.reader:
                self._out.drain()
            elif handle == self._err.reader:
                self._err.drain()
            else:
                self._listen()

    def _renew_pipes(self) -> None:
        """Whoever escaped could still write into the old ones, and what was changed in them would be found changed."""
        for capture in (self._out, self._err):
            for poll in (self._pipes, self._long_poll):
                poll.unregister(capture.reader)
            capture.abandon()
            for poll in (self._pipes, self._long_poll):
                poll.register(capture.reader, select.POLLIN)

    def _report(
        self, job: Job, code: int, why: str, start: float, runtime: float, max_rss: int, leftovers: bool = False
    ) -> Report:
        return Report(
            job.number,
            code,
            why,
            start,
            runtime,
            max_rss,
            self._out.result(),
            self._out.size,
            self._err.result(),
            self._err.size,
            self._output.take(),
            leftovers,
        )


def main(jobs: int, control: int, journals: int, page: int, folder: str, spill: str) -> None:
    """Run with inherited sockets and a page of the journals, a folder for small files, and one for large output."""
    become_subreaper()
    for handle in (jobs, control):
        os.set_inheritable(handle, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # nothing here makes cycles that last, and a look for them would cost each command
    journal = Journal(journals, page)
    os.close(journals)
    runner = Runner(socket.socket(fileno=jobs), socket.socket(fileno=control), journal, Path(folder), Path(spill))
    try:
        runner.loop()
    finally:
        end_leftovers()


def _signal_handle(number: int) -> int:
    """A descriptor that becomes readable when the signal comes (signalfd(2)); the signal itself is blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_ulong * 16)()
    mask[(number - 1) // (8 * ctypes.sizeof(ctypes.c_ulong))] = 1 << (number - 1)
    handle = libc.signalfd(-1, ctypes.byref(mask), os.O_NONBLOCK | os.O_CLOEXEC)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "signalfd failed")
    return int(handle)


def _reap(pid: int) -> Ended | None:
    """How a child ended, None if it has not."""
    gone, status, usage = os.wait4(pid, os.WNOHANG)
    return Ended(status, usage.ru_maxrss * 1024) if gone else None


def _poll(*handles: int) -> select.poll:
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return poll
