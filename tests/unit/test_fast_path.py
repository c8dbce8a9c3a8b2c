"""Runners with their fast path and without: the same jobs, the same reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas.pilot import fastpath
from support.installing import Missing, or_skip

_RUN = """
import json, os, sys
from pathlib import Path
from picas.pilot import crew as crews
from picas.pilot.crew import Crew
from picas.pilot.jobs import Job

# Long enough for short commands to be short on a busy machine too.
crews._START = crews._START.replace("; main(", "; import picas.pilot.runner as runner; runner._SHORT = 0.25; main(")

def text(stream):
    return (Path(stream).read_bytes() if isinstance(stream, str) else stream).decode("latin-1")

def shown(report):
    return {
        "code": report.code, "why": report.why, "leftovers": report.leftovers,
        "out": text(report.out), "out_size": report.out_size, "err": text(report.err), "err_size": report.err_size,
        "output": None if report.output is None else report.output.decode(),
        "took": report.runtime > 0 and report.start > 1e9, "memory": report.max_rss > 0,
    }

crew = Crew(1)
number = 0
for line in sys.stdin:
    reports, wanted = {}, json.loads(line)
    for fields in wanted:
        number += 1
        environ = {name.encode(): value.encode() for name, value in fields.pop("environ", {}).items()}
        bounds = fields.pop("bounds", None)
        usual = {"token": "{}", "time_limit": 0.0, "grace": 1.0, "output_cap": 1 << 20, "folder": None}
        if fields.pop("cancel", False):
            crew.cancel([number], "cancelled", 0.0)
        crew.send(Job(number, environ=environ, bounds=bounds and (tuple(bounds[0]), *bounds[1:]), **usual | fields))
    while len(reports) < len(wanted) and crew.alive:
        reports.update((report.number, shown(report)) for report in crew.collect(10.0))
    print(json.dumps([reports[one] for one in sorted(reports)]), flush=True)
crew.close()
"""


_SPOIL = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
int main(int count, char **words)
{
    fcntl(1, F_SETFL, count > 1 ? O_DIRECT : O_NONBLOCK);
    for (int word = 1; word < count && word < 3; word++)
        if (write(1, words[word], 6) != 6)
            return 1;
    if (count > 3)
        fcntl(1, F_SETFL, 0);
    return 0;
}
"""
"""Changes its standard output for all who have it: to packets, when it has two words of six letters to write, and with
a third word back again."""


def _sh(script: str, **fields: Any) -> dict[str, Any]:
    return {"argv": ["sh", "-c", script], **fields}


CASES: dict[str, list[dict[str, Any]]] = {
    "ends": [
        {"argv": ["/bin/true"]},
        {"argv": ["true"]},
        {"argv": ["false"]},
        _sh("exit 200"),
        _sh("kill -9 $$"),
        _sh("kill -TERM $$"),
        _sh("sleep 0.4; echo late"),
        {"argv": ["sleep", "20"], "time_limit": 0.1},
        {"argv": ["sleep", "20"], "quiet": 0.2},
        _sh("echo never", cancel=True),
        _sh("echo bound", bounds=[[0], 0.0, ""]),
    ],
    "starts": [
        {"argv": ["no-such-program"]},
        {"argv": ["/no/such/program"]},
        {"argv": [""]},
        {"argv": ["/"]},
        {"argv": ["/etc/passwd"]},
        {"argv": ["x" * 300]},
        {"argv": ["/" + "x" * 5000]},
        {"argv": ["echo", "a\0b"]},
        {"argv": ["echo", "\udc80"]},
        {"argv": ["echo", "\ud800"]},
        {"argv": ["echo", "x" * 140_000]},
        {"argv": ["echo", *["y"] * 5000]},
        {"argv": ["echo", "x" * 100_000]},
        {"argv": ["not-mine"]},
        {"argv": ["no-interpreter"]},
        {"argv": ["no-magic"]},
    ],
    "streams": [
        _sh("echo out; echo err >&2"),
        _sh("head -c 30000 /dev/zero | tr '\\0' a; head -c 30000 /dev/zero | tr '\\0' b >&2"),
        _sh("head -c 40000 /dev/zero"),
        _sh("head -c 300000 /dev/zero"),
        _sh("head -c 10000 /dev/zero", output_cap=4096),
        _sh("head -c 4097 /dev/zero", output_cap=4096),
        *[_sh("echo again")] * 60,
        {"argv": ["spoil"]},
        _sh("head -c 6000000 /dev/zero && echo all", output_cap=4096),
        {"argv": ["spoil", "first,", "second"]},
        _sh("echo mine"),
        {"argv": ["spoil", "first,", "second", "undone"]},
        _sh("echo mine"),
    ],
    "world": [
        {"argv": ["env", "-0"], "environ": {"PICAS_TOKEN_ID": "t1", "HOME": "/over/there", "EMPTY": ""}},
        _sh("grep -E '^(Umask|NoNewPrivs|Cpus_allowed):' /proc/self/status"),
        # The signals up to 28: of those from 32 on, posix_spawn(3) of some C libraries leaves its own ignored.
        _sh("grep '^Sig[PBIC]' /proc/self/status | sed 's/[0-9a-f]*\\([0-9a-f]\\{7\\}\\)$/\\1/'"),
        {"argv": ["ls", "/proc/self/fd"]},
        {"argv": ["readlink", "/proc/self/fd/0"]},
        {"argv": ["pwd"]},
        _sh("set -- $(cat /proc/self/stat); test $$ = $5 && echo leads its group"),
        _sh("pwd", folder="made/for/it"),
        _sh("pwd"),
    ],
    "files": [
        _sh('cat "$PICAS_TOKEN"', token='{"a": "Ünïcödé"}'),
        _sh('cat "$PICAS_TOKEN"', token="{}"),
        _sh('cat "$PICAS_TOKEN"', token="\ud800"),
        _sh('rm "$PICAS_TOKEN"'),
        _sh('cat "$PICAS_TOKEN"', token='{"new": 1}'),
        _sh('rm "$PICAS_TOKEN"; ln -s /etc/passwd "$PICAS_TOKEN"'),
        _sh('cat "$PICAS_TOKEN"', token='{"new": 2}'),
        _sh('cd "${PICAS_TOKEN%/*}" && umask 077 && echo other > new && mv new token.json'),
        _sh('cat "$PICAS_TOKEN"', token='{"new": 5}'),
        _sh('echo "longer than it was" >> "$PICAS_TOKEN"'),
        _sh('cat "$PICAS_TOKEN"', token='{"new": 3}'),
        _sh('chmod 000 "$PICAS_TOKEN"'),
        _sh('stat -c "%a %h" "$PICAS_TOKEN"'),
        _sh('cd "${PICAS_TOKEN%/*}" && ln token.json kept', token='{"mine": 1}'),
        _sh('cd "${PICAS_TOKEN%/*}" && stat -c "%a %h" token.json && cat kept && rm kept', token='{"secret": 1}'),
        _sh('cd "${PICAS_TOKEN%/*}" && ls -A && chmod 000 . && rm -f *'),
        _sh('cat "$PICAS_TOKEN"', token='{"new": 4}'),
        _sh('echo {} > "$PICAS_OUTPUT"'),
        _sh("echo nothing"),
        _sh('mkdir "$PICAS_OUTPUT"'),
        _sh('ln -s /etc/passwd "$PICAS_OUTPUT"'),
        _sh("echo nothing"),
    ],
    "left": [
        _sh("sleep 60 & exit 0"),
        _sh("echo next"),
        _sh("setsid sleep 60 > /dev/null 2>&1 & exit 3"),
        _sh("(sleep 0.001; echo ghost) & exit 0"),
        _sh("echo next"),
    ],
}


def _compiled() -> None:
    if fastpath.load() is None:
        raise Missing("the fast path was not compiled: `make clean setup` does, with a C compiler")


class Runner:
    """A process with one runner, in a folder of its own."""

    def __init__(self, folder: Path, fast: bool) -> None:
        (folder / "bin").mkdir(parents=True)
        for name, text, mode in (
            ("not-mine", "#!/bin/sh\n", 0o644),
            ("no-interpreter", "#!/no/such/shell\n", 0o755),
            ("no-magic", "echo no magic\n", 0o755),
        ):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(mode)
        compiler = ["cc", "-x", "c", "-o", str(folder / "bin" / "spoil"), "-"]
        subprocess.run(compiler, input=_SPOIL, text=True, check=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICAS_", "COV", "PYTEST"))}
        path = f"{folder / 'nowhere'}::{folder / 'bin'}:{os.environ['PATH']}:/etc/passwd"
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN],
            cwd=folder,
            env={**kept, "PATH": path, "PICAS_TOKEN_ID": "old", **({} if fast else {"PICAS_FASTPATH": "0"})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Its reports on these jobs, without what is different in any two processes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        reports: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        for report in reports:
            report["out"] = "\0".join(
                line
                for line in report["out"].replace(str(self.folder), "HERE").split("\0")
                if not line.startswith(("PICAS_FASTPATH=", "PICAS_TOKEN=", "PICAS_OUTPUT="))
            )
            if report["out"].startswith("HERE") or "HOME=" in report["out"]:
                del report["out_size"]  # it has another folder's name in it
        return reports

    def close(self) -> None:
        """End it; it must end well."""
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runner, Runner]]:
    or_skip(_compiled)
    both = tuple(Runner(tmp_path_factory.mktemp("runner") / name, fast=name == "fast") for name in ("fast", "plain"))
    yield both[0], both[1]
    for runner in both:
        runner.close()


@pytest.mark.parametrize("jobs", [pytest.param(jobs, id=name) for name, jobs in CASES.items()])
def test_the_same_jobs_end_the_same(runners: tuple[Runner, Runner], jobs: list[dict[str, Any]]) -> None:
    fast, plain = (runner.run(jobs) for runner in runners)
    for job, one, other in zip(jobs, fast, plain, strict=True):
        assert one == other, job
    assert len(fast) == len(jobs)


@pytest.mark.usefixtures("runners")
@pytest.mark.parametrize("fast", [True, False])
def test_the_next_command_finds_all_as_the_last_one_did(tmp_path: Path, fast: bool) -> None:
    runner = Runner(tmp_path / "runner", fast)
    world = {
        "blocking": CASES["streams"][-6:-4],
        "packets": CASES["streams"][-4:],
        "token": CASES["files"][11:17],
    }
    out = {name: [report["out"] for report in runner.run(jobs)] for name, jobs in world.items()}
    (endless,) = runner.run([{"argv": ["yes"], "time_limit": 0.3, "output_cap": 4096}])
    runner.close()

    assert endless["why"] == "time"
    assert out["blocking"][1].endswith("all\n")
    assert out["packets"] == ["first,second", "mine\n"] * 2
    assert out["token"] == ["", "600 1\n", "", '600 1\n{"mine": 1}', "token.json\n", '{"new": 4}']


@pytest.mark.parametrize("fast", [True, False])
def test_a_crew_does_not_wait_for_a_runner_that_waits_for_it(tmp_path: Path, fast: bool) -> None:
    """A runner that cannot send its reports, since the pilot is busy, takes no orders either."""
    environ = {**os.environ, **({} if fast else {"PICAS_FASTPATH": "0"})}
    run = subprocess.run([sys.executable, "-c", _BUSY], cwd=tmp_path, env=environ, timeout=60, check=False)
    assert run.returncode == 0


_BUSY = """
import time
from picas.pilot.crew import Crew
from picas.pilot.jobs import Job

crew, sent = Crew(1), 0
job = Job(0, ["head", "-c", "30000", "/dev/zero"], {}, "{}", 0.0, 1.0, 1 << 20, None)
last = time.monotonic()
while time.monotonic() < last + 0.5:  # until it takes no more
    if crew.send(job._replace(number=sent)):
        sent, last = sent + 1, time.monotonic()
for number in range(sent):
    crew.cancel([number], "stopped", 0.0)
crew.cancel(range(sent), "stopped", 0.0)
whys = []
while len(whys) < sent:
    whys += [report.why for report in crew.collect(1.0)]
assert whys[0] == "" and whys[-1] == "stopped", whys
crew.close()
"""

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_NAME = st.from_regex(r"\A[A-Z_]{1,8}\Z").filter(lambda name: name != "PATH" and not name.startswith("LD_"))
_WEIRD = st.text(st.characters(), max_size=8)  # with half pairs and NULs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(
        st.builds(
            lambda words, environ, token, cap: {
                "argv": ["/usr/bin/printf", r"%s\0", *words], "environ": environ, "token": token, "output_cap": cap
            },
            st.lists(_TEXT | _WEIRD, max_size=5),
            st.dictionaries(_NAME, _TEXT, max_size=4),
            _TEXT,
            st.sampled_from([4096, 1 << 20]),
        ),
        min_size=1,
        max_size=20,
    )
)  # fmt: skip
def test_any_words_reach_the_command_as_they_are(runners: tuple[Runner, Runner], jobs: list[dict[str, Any]]) -> None:
    fast, plain = (runner.run(jobs) for runner in runners)
    assert fast == plain
