"""No batch system: jobs are processes of this machine, each in a session of its own, that outlive whoever made them.

A job is a folder ``HOST/ID`` in the user's state folder: ``job.json`` with its name, its ``script``, ``stat`` which its
shell writes as it begins (its process as proc(5) shows it, and which boot of the machine), ``exit`` with its exit code,
and ``cancelled`` when somebody has asked for its end. A process is the job only if it began when that one began, in the
same boot, so that a number used again is never taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from picas.errors import UsageError
from picas.files import make_folder, state_folder, write_new
from picas.schedulers import commands
from picas.schedulers.base import Job, JobSpec, JobState, SchedulerAway
from picas.schedulers.template import Template, render

__all__ = ["Local", "make"]

_TEMPLATE = Template(prefix="#", options=())

# A signal goes to all of a job's processes. Those that write for the shell take no notice of it; while the job runs,
# the shell waits for what that makes of it. A job that was not there yet was not sent it: it looks for itself.
_SHELL = """
trap '' TERM INT HUP
cat "/proc/$$/stat" /proc/sys/kernel/random/boot_id > "$1/stat.new" && mv "$1/stat.new" "$1/stat"
[ -e "$1/stat" ] || exit 1
trap : TERM INT HUP
/bin/sh -c '[ -e "$1/cancelled" ] && exit 143; exec /bin/sh "$1/script"' picas "$1"
code=$?
trap '' TERM INT HUP
echo "$code" > "$1/exit.new" && mv "$1/exit.new" "$1/exit"
"""

_STARTS_WITHIN = 30.0
"""Seconds within which a new job has begun, or never will."""

_KEPT = 7 * 86400.0
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class _Process:
    """The shell of a job, as it described itself when it began."""

    pid: int
    started: str
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it is still there; one that only waits to be reaped is not."""
        if self.boot != _read(Path("/proc/sys/kernel/random/boot_id")).strip():
            return False
        _reap(self.pid)
        words = _stat_words(_read(Path(f"/proc/{self.pid}/stat")))
        return bool(words) and words[0] not in "ZX" and words[19] == self.started


class Local:
    """The `Scheduler` of this machine. ``root`` is where jobs are kept, the user's state folder if not given."""

    name = "local"
    avoids, is_far = False, False

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or state_folder("local")
        self._jobs = self._root / re.sub(r"[^\w.-]", "_", socket.gethostname())

    def script(self, spec: JobSpec) -> str:
        """The script that a shell runs."""
        if spec.native:
            raise UsageError(f"jobs of this machine have no options of their own: {spec.native[0]!r:.60}")
        return render(spec, _TEMPLATE)

    def submit(self, spec: JobSpec) -> str:
        """Start one job; its id."""
        script = self.script(spec)
        job_id = os.urandom(6).hex()
        place = self._jobs / job_id
        try:
            self._tidy()
            make_folder(place)
            write_new(place / "script", script.encode())
            write_new(place / "job.json", json.dumps({"name": spec.name, "made_at": time.time()}).encode())
            _start(place, (spec.output or spec.folder) / f"{spec.name}-{job_id}.out")
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            text = f"a job could not be started: {error.strerror}: {error.filename or place}"
            raise SchedulerAway(text) from error
        return job_id

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        """What became of each job; one of another machine is left out."""
        found = {}
        for job_id in dict.fromkeys(ids):
            place = self._jobs / _checked(job_id)
            if place.is_dir():
                found[job_id] = _look(place)
            elif not any(self._root.glob(f"*/{job_id}")):
                found[job_id] = Job(id=job_id, state=JobState.GONE, reason="no record of it is left")
        return found

    def find(self, prefix: str) -> list[Job]:
        """Jobs of this machine, not yet ended, with a name that begins so."""
        jobs = [_look(place) for place in self._places()]
        return [job for job in jobs if job.name.startswith(prefix) and not job.state.is_final]

    def cancel(self, ids: Sequence[str]) -> None:
        """Send these jobs a TERM; a pilot then gives back what it holds, and ends."""
        for job_id in ids:
            place = self._jobs / _checked(job_id)
            if not place.is_dir() or _look(place).state.is_final:
                continue
            try:
                # Before it is looked for: a shell that has not begun looks at this before it runs the job.
                write_new(place / "cancelled", b"")
            except OSError as error:
                raise SchedulerAway(f"job {job_id} was not ended: {error.strerror}: {place}") from error
            process = _process(place)
            if process is not None and process.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)

    def _places(self) -> Iterator[Path]:
        if self._jobs.is_dir():
            yield from (place for place in self._jobs.iterdir() if _ID.fullmatch(place.name))

    def _tidy(self) -> None:
        """Remove what is left of jobs that ended long ago."""
        oldest = time.time() - _KEPT
        for place in self._places():
            if _made_at(place) < oldest and _look(place).state.is_final:
                shutil.rmtree(place, ignore_errors=True)


def make() -> Local:
    """This machine."""
    return Local()


def _start(place: Path, output: Path) -> None:
    """Have a shell run the job, in a session of its own, so that it outlives the terminal and this process."""
    make_folder(output.parent)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environ = commands.environment(os.environ, for_job=True)
    argv = ["/bin/sh", "-c", _SHELL, "picas", str(place)]
    os.posix_spawn("/bin/sh", argv, environ, file_actions=actions, setsid=True)


def _look(place: Path) -> Job:
    """What a job is doing. Whether it is alive is asked first: it leaves its exit code before it ends."""
    process = _process(place)
    alive = process is not None and process.alive
    code, cancelled = _read(place / "exit").strip(), (place / "cancelled").exists()
    name, host = _name(place), place.parent.name
    if not code and alive:
        return Job(id=place.name, name=name, state=JobState.ENDING if cancelled else JobState.RUNNING, node=host)
    if not code:
        waits = process is None and time.time() - _made_at(place) < _STARTS_WITHIN
        state = JobState.GONE if not waits else JobState.ENDING if cancelled else JobState.PENDING
        return Job(
            id=place.name, name=name, state=state, reason="" if waits else "killed, or the machine was restarted"
        )
    number = int(code) if int(code) <= 128 else 128 - int(code)
    state = JobState.CANCELLED if cancelled else JobState.FAILED if number else JobState.DONE
    return Job(id=place.name, name=name, state=state, exit_code=number, node=host)


def _process(place: Path) -> _Process | None:
    text = _read(place / "stat")
    words = _stat_words(text)
    return _Process(int(text.split()[0]), words[19], text.split()[-1]) if words else None


def _stat_words(text: str) -> list[str]:
    """What follows the name in a line of proc(5): the state first, the start as the twentieth."""
    words = text.rpartition(")")[2].split()
    return words if len(words) > 19 else []


def _made_at(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return time.time()


def _name(place: Path) -> str:
    try:
        return str(json.loads(_read(place / "job.json"))["name"])
    except (ValueError, KeyError, TypeError):
        return ""


def _reap(pid: int) -> None:
    """Take leave of a job that is a child of this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _checked(job_id: str) -> str:
    if not _ID.fullmatch(job_id):
        raise UsageError(f"{job_id!r:.60} is no id of a job of this machine")
    return job_id


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
