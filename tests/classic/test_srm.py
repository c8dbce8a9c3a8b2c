"""The PiCaS contract for grid storage, over commands that stand in for a site's and record how they were called."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from picas import srm, srmclient
from picas.errors import UsageError
from picas.picaslogger import picaslogger
from picas.srm import Downloader, SRMClient, download_many

HOST = "srm://srm.grid.sara.nl/"
COPY = ["-2", "-server_mode=passive"]
PAYLOADS = ["a b", "$(touch canary)", "`touch canary`", "; touch canary", "| touch canary", "'", '"', "\n", "*", "&"]


class Grid:
    """Commands in a folder that is first on PATH; what each was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("srmcp", "srmls", "srmrm"):
            self.command(name)

    def command(self, name: str, then: str = "exit 0") -> None:
        """Make a command that records its arguments, and then does what the lines of shell say."""
        path = self.bin / name
        record = f"{{ printf '%s\\0' {name} \"$@\"; printf '\\n\\0'; }} >> '{self.folder}/calls'"
        path.write_text(f"#!/bin/sh\n{record}\n{then}\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        """Each call's words, of one call at a time."""
        calls: list[list[str]] = [[]]
        for word in (self.folder / "calls").read_text().split("\0")[:-1]:
            if word == "\n":
                calls.append([])
            else:
                calls[-1].append(word)
        return calls[:-1]


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    grid = Grid(tmp_path)
    monkeypatch.setenv("PATH", str(grid.bin), prepend=os.pathsep)
    monkeypatch.setattr(srm, "_LONGEST_PAUSE", 0.0)
    monkeypatch.chdir(tmp_path)
    return grid


@pytest.fixture
def client() -> SRMClient:
    return SRMClient(logging.getLogger("test of srm"))


class TestClient:
    def test_upload(self, grid: Grid, client: SRMClient) -> None:
        assert client.upload("/data/in.txt", "pnfs/dir") == f"{HOST}pnfs/dir/in.txt"
        assert grid.calls == [["srmcp", *COPY, "file:////data/in.txt", f"{HOST}pnfs/dir/in.txt"]]

    def test_download(self, grid: Grid, client: SRMClient) -> None:
        assert client.download("pnfs/dir/out.txt") == "./out.txt"
        assert client.download("pnfs/out.txt", local_dir="/data") == "/data/out.txt"
        assert grid.calls == [
            ["srmcp", *COPY, f"{HOST}pnfs/dir/out.txt", "file:///./out.txt"],
            ["srmcp", *COPY, f"{HOST}pnfs/out.txt", "file:////data/out.txt"],
        ]

    def test_remove(self, grid: Grid, client: SRMClient) -> None:
        assert client.remove("pnfs/x") is True
        assert grid.calls == [["srmrm", f"{HOST}pnfs/x"]]

    def test_another_host(self, grid: Grid) -> None:
        SRMClient(None, host="srm://h:8443/srm?SFN=/").remove("x")
        assert grid.calls == [["srmrm", "srm://h:8443/srm?SFN=/x"]]

    @pytest.mark.parametrize(
        ("listed", "name", "expected"),
        [
            ("  12 /pnfs/dir/file", "file", True),
            ("  12 /pnfs/dir/file2", "file", False),
            ("  12 /pnfs/dir/a file", "a file", True),
            ("  12 file", "file", True),
            ("  512 /pnfs/dir/sub/", "sub", True),
            ("  512 /pnfs/dir/sub/", "sub/", True),
            ("", "file", False),
        ],
    )
    def test_remote_exists(self, grid: Grid, client: SRMClient, listed: str, name: str, expected: bool) -> None:
        grid.command("srmls", f"echo '{listed}'")
        assert client.remote_exists(f"pnfs/dir/{name}") is expected
        assert grid.calls == [["srmls", f"{HOST}pnfs/dir/{name}"]]

    def test_remote_exists_of_a_server_that_fails(self, grid: Grid, client: SRMClient) -> None:
        grid.command("srmls", "echo ' 12 /pnfs/file'; exit 1")
        assert client.remote_exists("pnfs/file") is False

    def test_checks(self, grid: Grid, client: SRMClient) -> None:
        with pytest.raises(OSError, match="File not found") as raised:
            client.upload("none.txt", "pnfs", check=True)
        assert (raised.value.errno, raised.value.filename) == (10, "none.txt")
        with pytest.raises(OSError, match="File not found") as raised:
            client.download("pnfs/none.txt", check=True)
        assert (raised.value.errno, raised.value.filename) == (10, f"{HOST}pnfs/none.txt")
        grid.command("srmls", "echo ' 12 /pnfs/there.txt'")
        Path("there.txt").touch()
        with pytest.raises(OSError, match="File exists on srm") as raised:
            client.upload("there.txt", "pnfs", check=True)
        assert (raised.value.errno, raised.value.filename) == (11, f"{HOST}pnfs/there.txt")
        assert [call[0] for call in grid.calls] == ["srmls", "srmls"]
        assert client.download("pnfs/there.txt", check=True) == "./there.txt"

    @pytest.mark.parametrize(
        ("what", "act"),
        [
            ("Upload", lambda client: client.upload("/x", "pnfs")),
            ("Download", lambda client: client.download("pnfs/x")),
            ("Remove", lambda client: client.remove("pnfs/x")),
        ],
    )
    def test_a_command_that_fails_is_an_oserror_that_says_why(
        self, grid: Grid, client: SRMClient, what: str, act: Callable[[SRMClient], object]
    ) -> None:
        for name in ("srmcp", "srmrm"):
            grid.command(name, "echo noise >&2; echo 'no space at server' >&2; exit 3")
        with pytest.raises(OSError, match=f"^{what} failed.*no space at server$"):
            act(client)

    def test_a_command_that_is_not_installed(self, client: SRMClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(FileNotFoundError):
            client.download("x")

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_no_name_reaches_a_shell(self, grid: Grid, client: SRMClient, payload: str) -> None:
        name = f"x{payload}"
        client.upload(name, f"pnfs/{payload}")
        client.download(f"pnfs/{name}")
        client.remove(f"pnfs/{name}")
        assert not Path("canary").exists()
        flat = json.dumps([call[1:] for call in grid.calls])
        assert flat == json.dumps(
            [
                [*COPY, f"file:///{name}", f"{HOST}pnfs/{payload}/{name}"],
                [*COPY, f"{HOST}pnfs/{name}", f"file:///./{name}"],
                [f"{HOST}pnfs/{name}"],
            ]
        )

    @pytest.mark.parametrize(
        "act",
        [
            lambda client: client.upload("-x", "pnfs"),
            lambda client: client.upload("x", "-pnfs"),
            lambda client: client.download("-x"),
            lambda client: client.download("x", "-dir"),
            lambda client: client.remove("-recursive=true"),
            lambda client: client.remote_exists("-x"),
            lambda client: SRMClient(None, host="").remove("-x"),
            lambda client: SRMClient(None, host="-x").remove("x"),
        ],
    )
    def test_a_name_that_would_be_an_option_is_refused(
        self, grid: Grid, client: SRMClient, act: Callable[[SRMClient], object]
    ) -> None:
        with pytest.raises(UsageError, match="begins with -"):
            act(client)
        assert not (grid.folder / "calls").exists()

    def test_a_command_that_hangs_is_ended_with_what_it_started(self, grid: Grid) -> None:
        grid.command("srmcp", "sleep 1000 & echo $! > child; wait")
        with pytest.raises(TimeoutError, match=r"srmcp was ended: not ready after 0\.5 s"):
            SRMClient(None, timeout=0.5).download("x")
        wait_for(lambda: not is_alive(int(Path("child").read_text())))

    def test_an_interruption_ends_the_command(self, grid: Grid, client: SRMClient) -> None:
        def interrupt() -> None:
            wait_for(lambda: Path("child").exists() and Path("child").read_text().endswith("\n"))
            os.kill(os.getpid(), signal.SIGUSR1)

        def handler(number: int, frame: object) -> None:
            raise SystemExit(0)

        grid.command("srmcp", "sleep 1000 & echo $! > child; wait")
        before = signal.signal(signal.SIGUSR1, handler)
        sender = threading.Thread(target=interrupt)
        sender.start()
        try:
            with pytest.raises(SystemExit):
                client.download("x")
        finally:
            sender.join()
            signal.signal(signal.SIGUSR1, before)
        wait_for(lambda: not is_alive(int(Path("child").read_text())))

    def test_without_a_logger_it_is_picass(self) -> None:
        assert SRMClient(None).logger is picaslogger


class TestMany:
    def test_all_files(self, grid: Grid) -> None:
        files = [f"pnfs/{number}" for number in range(25)]
        download_many(files, poolsize=4, logger=logging.getLogger("test of srm"))
        assert (grid.folder / "calls").read_text().count("srmcp") == 25

    def test_none(self, grid: Grid) -> None:
        download_many([])

    def test_a_file_is_tried_again(self, grid: Grid) -> None:
        grid.command("srmcp", "echo x >> tries; test $(wc -l < tries) -ge 5")
        download_many(["pnfs/a"])
        assert len(grid.calls) == 5

    def test_those_that_fail_are_named_when_the_others_are_there(self, grid: Grid) -> None:
        grid.command("srmcp", 'case "$*" in *bad*) exit 1;; esac')
        with pytest.raises(OSError, match=r"^Download failed of: pnfs/bad, -worse$"):
            download_many(["pnfs/bad", "pnfs/a", "-worse", "pnfs/b"], poolsize=1)
        last = [call[3] for call in grid.calls]
        assert [url.removeprefix(HOST) for url in last] == ["pnfs/bad"] * 25 + ["pnfs/a", "pnfs/b"]

    def test_a_missing_command_is_not_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(OSError, match="Download failed of: x"):
            download_many(["x"])
        assert [record.levelname for record in caplog.records if record.name == "SRM"].count("ERROR") == 1

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_thread_that_dies_is_a_failure(self, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: SRMClient, file: str) -> str:
            raise RuntimeError("a fault")

        monkeypatch.setattr(SRMClient, "download", broken)
        with pytest.raises(OSError, match="Download failed of: a, b"):
            download_many(["a", "b"], poolsize=1)

    def test_a_downloader_of_ones_own(self, grid: Grid) -> None:
        waiting: queue.Queue[str] = queue.Queue()
        waiting.put("pnfs/a")
        thread = Downloader(waiting)
        assert (thread.q, thread.daemon, thread.logger.name) == (waiting, False, "SRM")
        thread.start()
        waiting.join()
        thread.join()
        assert thread.fetched == ["pnfs/a"]

    def test_srmclient_downloads_the_values_of_a_dict(self, grid: Grid) -> None:
        srmclient.download({1: "pnfs/a", 2: "pnfs/b"}, threads=1)
        assert [call[3] for call in grid.calls] == [f"{HOST}pnfs/a", f"{HOST}pnfs/b"]

    def test_srmclient_tries_ten_times(self, grid: Grid) -> None:
        grid.command("srmcp", "exit 1")
        with pytest.raises(OSError, match="Download failed of: pnfs/a"):
            srmclient.download({"any": "pnfs/a"})
        assert len(grid.calls) == 10
        assert srmclient.Downloader(queue.Queue()).logger.name == "Pindel"

    @pytest.mark.parametrize(
        "act", [lambda: srm.download("x"), lambda: srm.upload("x"), lambda: srm.upload_many(["x"], poolsize=2)]
    )
    def test_what_picas_never_had(self, act: Callable[[], object]) -> None:
        with pytest.raises(NotImplementedError, match="SRMClient"):
            act()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
