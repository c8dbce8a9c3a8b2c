"""PiCaS's way to files on grid storage: the commands ``srmcp srmls srmrm`` of the site's SRM client.

A command gets its arguments as they are, never through a shell. What is printed goes to no terminal; the last
line of a command that fails is in the error.
"""

from __future__ import annotations

import logging
import queue
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from posixpath import basename, join
from typing import Any, NoReturn

from picas.errors import UsageError
from picas.picaslogger import picaslogger
from picas.process import end_group

__all__ = ["Downloader", "SRMClient", "download", "download_many", "upload", "upload_many"]

_COPY = ("srmcp", "-2", "-server_mode=passive")
_LOOK_SECONDS = 600.0
_LONGEST_PAUSE = 30.0


class SRMClient:
    """Copy, look for and remove files at an SRM server.

    ``host`` is put before a path as it is. Failures are ``OSError`` (``EnvironmentError``); a command that takes
    longer than ``timeout`` seconds, or ten minutes where nothing is copied, is ended with all it started and is a
    ``TimeoutError``. A path that begins with ``-`` is a ``UsageError``: the commands would take it for an option.
    """

    def __init__(
        self, logger: logging.Logger | None, host: str = "srm://srm.grid.sara.nl/", timeout: float = 86400.0
    ) -> None:
        self.logger = picaslogger if logger is None else logger
        self.srm_host = host
        self.timeout = timeout

    def remote_exists(self, loc: str) -> bool:
        """Tell whether there is a file at a path; False too when the server does not say."""
        name = basename(loc.rstrip("/"))
        code, listed, _ = self._run("srmls", self._url(loc), seconds=_LOOK_SECONDS)
        lines = (line.strip().rstrip("/") for line in listed.splitlines())
        return code == 0 and any(line == name or line.endswith((f"/{name}", f" {name}")) for line in lines)

    def upload(self, local_file: str, srm_dir: str, check: bool = False) -> str:
        """Copy a local file into a directory of the server; its URL there.

        With ``check`` a local file that is missing is error 10, a remote one that is there already error 11.
        """
        srm_file = join(srm_dir, basename(local_file))
        url = self._url(srm_file)
        if check and not Path(local_file).is_file():
            raise OSError(10, "File not found.", local_file)
        if check and self.remote_exists(srm_file):
            raise OSError(11, "File exists on srm.", url)
        self._do("Upload", local_file, *_COPY, _file_url(local_file), url, seconds=self.timeout)
        return url

    def download(self, srm_file: str, local_dir: str = "./", check: bool = False) -> str:
        """Copy a file of the server into a local directory; its path there.

        With ``check`` a remote file that is missing is error 10.
        """
        local_file = join(local_dir, basename(srm_file))
        url = self._url(srm_file)
        if check and not self.remote_exists(srm_file):
            raise OSError(10, "File not found.", url)
        self._do("Download", srm_file, *_COPY, url, _file_url(local_file), seconds=self.timeout)
        return local_file

    def remove(self, srm_file: str) -> bool:
        """Remove a file of the server; True."""
        self._do("Remove", srm_file, "srmrm", self._url(srm_file), seconds=_LOOK_SECONDS)
        return True

    def _url(self, path: str) -> str:
        return _no_option(self.srm_host + _no_option(path))

    def _do(self, what: str, file: str, *argv: str, seconds: float) -> None:
        """Run a command that must succeed."""
        code, out, err = self._run(*argv, seconds=seconds)
        if code != 0:
            lines = (err.strip() or out.strip()).splitlines() or [f"exit code {code}"]
            self.logger.error("%s of %s failed: %s", what, file, lines[-1])
            raise OSError(f"{what} failed. {file}: {lines[-1]:.500}")

    def _run(self, *argv: str, seconds: float) -> tuple[int, str, str]:
        self.logger.info("Running: %s", " ".join(argv))
        try:
            return _run(argv, seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{argv[0]} was ended: not ready after {seconds:g} s") from None


class Downloader(threading.Thread):
    """A thread that downloads what is in a queue, into the working directory, until the queue is empty.

    ``fetched`` lists what it has. A file is tried up to ``tries`` times, with pauses that grow, then logged as an
    error and left; the thread goes on with the next.
    """

    tries = 25

    def __init__(self, q: queue.Queue[Any], logger: logging.Logger | None = None) -> None:
        super().__init__(daemon=False)
        self.q = q
        self.logger = logging.getLogger("SRM") if logger is None else logger
        self.srm = SRMClient(self.logger)
        self.fetched: list[str] = []

    def run(self) -> None:
        """Download until the queue is empty."""
        while True:
            try:
                file = self.q.get_nowait()
            except queue.Empty:
                return
            try:
                if self._fetch(file):
                    self.fetched.append(file)
            finally:
                self.q.task_done()

    def _fetch(self, file: str) -> bool:
        for attempt in range(self.tries):
            try:
                self.srm.download(file)
            except (UsageError, FileNotFoundError) as error:
                self.logger.error("Download of %s failed, and would again: %s", file, error)
                return False
            except OSError:
                time.sleep(random.uniform(0.0, min(2.0**attempt, _LONGEST_PAUSE)))
            else:
                return True
        self.logger.error("Download of %s failed %d times", file, self.tries)
        return False


def download_many(files: Iterable[str], poolsize: int = 10, logger: logging.Logger | None = None) -> None:
    """Download files into the working directory, ``poolsize`` at a time.

    Raises ``OSError`` with the names of those that failed when all others are there.
    """
    fetch(files, poolsize, lambda waiting: Downloader(waiting, logger))


def fetch(files: Iterable[str], threads: int, make: Callable[[queue.Queue[Any]], Downloader]) -> None:
    """Download files by so many threads, each made for the queue that it is to empty."""
    wanted, waiting = list(files), queue.Queue[Any]()
    for file in wanted:
        waiting.put(file)
    pool = [make(waiting) for _ in range(min(threads, len(wanted)))]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    fetched = {file for thread in pool for file in thread.fetched}
    if missing := [file for file in wanted if file not in fetched]:
        raise OSError(f"Download failed of: {', '.join(map(str, missing))}")


def download(remotefile: str) -> NoReturn:
    """Raise ``NotImplementedError``: `SRMClient.download` is the one to call."""
    raise NotImplementedError(f"download({remotefile!r}): call SRMClient(logger).download")


def upload(localfile: str) -> NoReturn:
    """Raise ``NotImplementedError``: `SRMClient.upload`, which knows where to, is the one to call."""
    raise NotImplementedError(f"upload({localfile!r}): call SRMClient(logger).upload")


def upload_many(files: Iterable[str], poolsize: int = 10) -> NoReturn:
    """Raise ``NotImplementedError``: `SRMClient.upload`, which knows where to, is the one to call."""
    del files, poolsize
    raise NotImplementedError("upload_many: call SRMClient(logger).upload for each file")


def _run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Run a command to its end: exit code and streams. Whatever stops the wait ends it, with all it started."""
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    # The commands are scripts that start others: a session of its own, to end them together.
    with subprocess.Popen(argv, start_new_session=True, stdin=nothing, stdout=pipe, stderr=pipe) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            end_group(process.pid, signal.SIGKILL)
            raise
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def _file_url(path: str) -> str:
    return "file:///" + _no_option(path)


def _no_option(value: str) -> str:
    """The path or URL itself; the commands have no ``--`` to end their options."""
    if value.startswith("-"):
        raise UsageError(f"{value!r} begins with -, as options do", hint="write ./ before it")
    return value
