"""F50 to F56: commands that misbehave. The pilot outlives them all, and every token ends with a true account."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from picas.lifecycle import State, state_of
from picas.tokens import log_names
from support.checker import SIDE, check
from support.pilots import Site, until

DEAF = "trap '' TERM INT HUP; "

DAEMONS = """
import os, pathlib, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
pathlib.Path(os.environ["SIDE"]).touch()
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        with open(os.environ["SIDE"], "a") as side:
            side.write("daemon\\n")
        time.sleep(60)
        os._exit(0)
while pathlib.Path(os.environ["SIDE"]).read_text().count("daemon") < 4:
    time.sleep(0.01)
time.sleep(float(sys.argv[1]))
"""


def _last(doc: dict[str, Any]) -> dict[str, Any]:
    attempt: dict[str, Any] = doc["attempts"][-1]
    return attempt


def _ended(doc: dict[str, Any]) -> tuple[State | None, Any, str]:
    return state_of(doc), doc["exit_code"], doc["reason"]


# F50


def test_output_without_end_is_cut_in_the_middle_and_counted(site: Site) -> None:
    """F50: a command writes without end. Head and tail are kept, the rest is counted, and the pilot stays small."""
    size, cap = 200_000_000, 1 << 20
    script = f"echo HEAD; yes 0123456789 | head -c {size}; echo TAIL"
    (token_id,) = site.add(["sh", "-c", script])
    pilot = site.pilot(cores=1, lease=10.0, output_cap=cap)
    sizes: dict[int, int] = {}

    def ended_and_measured() -> bool:
        for pid in [pilot.pid, *_descendants(pilot.pid)]:
            sizes[pid] = max(sizes.get(pid, 0), _peak_rss(pid))
        return pilot.process.poll() is not None

    until("the pilot ends", ended_and_measured, 60.0)

    assert 0 < max(sizes.values()) < 100_000_000
    kept = site.attachment(token_id, log_names(token_id)[0])
    assert kept.startswith(b"HEAD\n0123456789\n")
    assert kept.endswith(b"TAIL\n")
    assert b"bytes left out here]" in kept
    assert cap // 2 < len(kept) <= cap + 100
    assert _last(site.doc(token_id))["stdout_bytes"] == size + 10
    # Done, with the head and the tail of what it said, and its true length.
    assert check(site) == {State.DONE: 1}


def _peak_rss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [far for child in children for far in _descendants(child)]


# F51


def test_a_command_that_ignores_signals_is_killed_after_its_time_and_the_grace(site: Site) -> None:
    """F51: a command ignores TERM, INT and HUP. It is killed when the grace is over."""
    script = f"{DEAF} while :; do sleep 0.1; done"
    (doc,) = site.run(["sh", "-c", script], token_time=0.5, grace=1.0)

    assert _ended(doc) == (State.ERROR, -9, "time")
    assert _last(doc)["signal"] == "SIGKILL"
    assert 1.5 <= _last(doc)["runtime"] <= 0.5 + 1.0 + 1.0
    # In error for its time; nothing of the command is left.
    assert check(site) == {State.ERROR: 1}


# F52


def test_daemons_of_a_command_that_exits_0_are_ended(site: Site) -> None:
    """F52: a command leaves four daemons in sessions of their own, and exits 0. It is done; none is left."""
    (doc,) = site.run([sys.executable, "-c", DAEMONS, "0"])

    assert site.lines() == ["daemon"] * 4
    assert _last(doc)["leftovers"] is True
    # Done, as its command said; none of its daemons is left.
    assert check(site) == {State.DONE: 1}


def test_daemons_of_a_command_over_its_time_are_ended(site: Site) -> None:
    """F52: the same of a command whose time is up. None is left."""
    (doc,) = site.run([sys.executable, "-c", DAEMONS, "60"], token_time=2.0, grace=0.3)

    assert site.lines() == ["daemon"] * 4
    assert _ended(doc) == (State.ERROR, -9, "time")
    # In error for its time; neither it nor a daemon is left.
    assert check(site) == {State.ERROR: 1}


def test_daemons_of_a_cancelled_command_are_ended(site: Site) -> None:
    """F52: the same of a command that is cancelled. None is left."""
    (token_id,) = site.add([sys.executable, "-c", DAEMONS, "60"])
    pilot = site.pilot(cores=1, lease=1.0, grace=0.3)
    until("the daemons run", lambda: site.lines() == ["daemon"] * 4)

    assert site.pool.cancel([site.doc(token_id)]).changed == [token_id]
    pilot.report()

    assert _ended(site.doc(token_id)) == (State.ERROR, -9, "cancelled")
    # In error as cancelled; neither it nor a daemon is left.
    assert check(site) == {State.ERROR: 1}


def test_daemons_of_a_killed_pilot_are_ended(site: Site) -> None:
    """F52: the same when the pilot is killed with SIGKILL. None is left after two seconds."""
    (token_id,) = site.add([sys.executable, "-c", DAEMONS, "60"])
    pilot = site.pilot(cores=1, lease=1.0)
    until("the daemons run", lambda: site.lines() == ["daemon"] * 4)

    pilot.signal(signal.SIGKILL)
    pilot.ended()

    until("no process is left", lambda: not site.marked(), 2.0)
    until("the lease ends", lambda: site.pool.recover() == [token_id])
    # The token waits again, one loss on record; neither its command nor a daemon is left.
    assert site.doc(token_id)["lost"] == 1
    assert check(site, unfinished=frozenset({State.TODO})) == {State.TODO: 1}


# F53 and F54


def test_a_background_child_that_keeps_stdout_delays_nothing(site: Site) -> None:
    """F53: a child keeps the output open after its parent has ended. The token ends at once, and the child with it."""
    (doc,) = site.run(["sh", "-c", "sleep 60 & echo said; exit 0"])

    assert _last(doc)["runtime"] <= 5.0
    assert _last(doc)["leftovers"] is True
    # Done with its output; the child is ended.
    assert site.attachment(doc["_id"], log_names(doc["_id"])[0]) == b"said\n"
    assert check(site) == {State.DONE: 1}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exec <&- >&- 2>&-; sleep 0.1; exit 0", 0),
        ("cat; exit 0", 0),
        ("exec < /dev/tty", 2),
        ("test -t 0", 1),
        ('python3 -c "import getpass; getpass.getpass()" < /dev/null', 1),
    ],
    ids=["closes-all", "reads-stdin", "opens-tty", "asks-for-tty", "asks-for-password"],
)
def test_a_command_that_wants_a_terminal_does_not_hang(site: Site, script: str, code: int) -> None:
    """F54: a command closes its streams, reads its input, or wants a terminal. It does not hang."""
    (doc,) = site.run(["bash", "-c", script])

    assert _last(doc)["runtime"] <= 5.0
    # It has ended by itself with its own exit code.
    assert doc["reason"] == "exit"
    assert (doc["exit_code"] == 0) == (code == 0)
    assert check(site) == {State.DONE if code == 0 else State.ERROR: 1}


# F55


def test_exit_codes_and_signals_are_told_apart(site: Site) -> None:
    """F55: commands exit with every kind of code and by every kind of signal. The two are told apart, and named."""
    codes = [0, 1, 126, 127, 255, 128 + 15]
    signals = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 64: "SIGRTMAX"}
    exits = [["sh", "-c", f"exit {code}"] for code in codes]
    kills = [["sh", "-c", f"ulimit -c 0; kill -{number} $$"] for number in signals]

    docs = site.run(*exits, *kills)

    for doc, code in zip(docs, codes, strict=False):
        assert (doc["exit_code"], doc["reason"]) == (code, "exit")
        assert (_last(doc)["exit_code"], _last(doc)["reason"]) == (code, "exit")
        assert "signal" not in _last(doc)
    for doc, number in zip(docs[len(codes) :], signals, strict=True):
        assert (doc["exit_code"], doc["reason"]) == (-number, "signal")
        assert (_last(doc)["exit_code"], _last(doc)["signal"]) == (-number, signals[number])
    # One done, the rest in error, each with what really happened.
    assert check(site) == {State.DONE: 1, State.ERROR: len(codes) - 1 + len(signals)}


# F56


def test_what_cannot_be_started_is_named_and_not_tried_again(site: Site) -> None:
    """F56: a command is not there, may not be run, or is none. The reason is named, and it is not tried again."""
    made = {"plain": "echo hello", "shebang": "#!/nowhere/interpreter\necho", "empty": ""}
    for name, text in made.items():
        (site.folder / name).write_text(text)
    for name in ("shebang", "empty"):
        (site.folder / name).chmod(0o755)
    expected = {
        "no-such-command-anywhere": ("ENOENT", 127),
        str(site.folder / "plain"): ("EACCES", 126),
        str(site.folder / "shebang"): ("ENOENT", 127),
        str(site.folder): ("EACCES", 126),
        str(site.folder / "empty"): ("ENOEXEC", 126),
    }

    docs = site.run(*[[word] for word in expected], fields={"max_scrub": 3}, max_scrub=3)

    for doc, (errno, code) in zip(docs, expected.values(), strict=True):
        assert _ended(doc) == (State.ERROR, code, "start-failed")
        assert [attempt["errno"] for attempt in doc["attempts"]] == [errno]
        assert doc["scrub_count"] == 0
    # In error at the first try, though three more were allowed.
    assert check(site) == {State.ERROR: len(expected)}


def test_a_script_that_deletes_itself_is_done(site: Site) -> None:
    script = site.folder / "once"
    script.write_text(f"#!/bin/sh\nrm -- $0\n{SIDE}\n")
    script.chmod(0o755)

    site.run([str(script)])

    # Done: what was deleted while it ran is no failure.
    assert check(site, side=True) == {State.DONE: 1}


# PICAS_OUTPUT and the other files that runner and command share

BAD_OUTPUT = {
    "not-json": 'echo nonsense > "$PICAS_OUTPUT"',
    "list": 'echo "[1]" > "$PICAS_OUTPUT"',
    "deep": 'head -c 200000 /dev/zero | tr "\\0" "[" > "$PICAS_OUTPUT"',
    "ten-megabytes": 'printf \'{"x": "%s"}\' "$(head -c 10000000 /dev/zero | tr "\\0" x)" > "$PICAS_OUTPUT"',
    "symlink": 'echo \'{"secret": 1}\' > "$SIDE.secret"; ln -s "$SIDE.secret" "$PICAS_OUTPUT"',
    "fifo": 'mkfifo "$PICAS_OUTPUT"',
    "directory": 'mkdir "$PICAS_OUTPUT"',
}
GOOD_OUTPUT = 'echo \'{"x": 1}\' > "$PICAS_OUTPUT"'


@pytest.mark.parametrize("kind", BAD_OUTPUT)
def test_an_output_that_is_no_json_object_is_refused_and_harms_no_other(site: Site, kind: str) -> None:
    """F60: what a command leaves as its output is no JSON, a link, a pipe, a folder, or huge. It is refused."""
    bad, good = site.run(["bash", "-c", BAD_OUTPUT[kind]], ["bash", "-c", GOOD_OUTPUT], cores=1)

    assert (state_of(bad), bad["reason"]) == (State.ERROR, "exception")
    assert "PICAS_OUTPUT" in _last(bad)["message"]
    assert "output" not in bad
    # The token after it, on the same core, is done with its own output.
    assert good["output"] == {"x": 1}
    assert check(site) == {State.ERROR: 1, State.DONE: 1}


@pytest.mark.parametrize(
    "deed",
    [
        'rm -f "$PICAS_TOKEN"; mkdir "$PICAS_TOKEN"',
        'rm -f "$PICAS_TOKEN"; ln -s /etc/passwd "$PICAS_TOKEN"',
        'rm -f "$PICAS_TOKEN"; mkfifo "$PICAS_TOKEN"',
        'rm -rf "$(dirname "$PICAS_TOKEN")"',
    ],
    ids=["token-a-folder", "token-a-link", "token-a-fifo", "folder-gone"],
)
def test_what_a_command_does_to_the_files_of_its_runner_harms_no_other(site: Site, deed: str) -> None:
    begun = time.monotonic()
    reads = 'grep -q "$PICAS_TOKEN_ID" "$PICAS_TOKEN" && ' + GOOD_OUTPUT

    first, second, third = site.run(["bash", "-c", deed], ["bash", "-c", reads], ["bash", "-c", reads], cores=1)

    assert state_of(first) is State.DONE
    # The tokens after it, on the same core, are done with their own input and output.
    assert [second.get("output"), third.get("output")] == [{"x": 1}] * 2
    assert check(site) == {State.DONE: 3}
    assert time.monotonic() - begun < 30.0


# F59


@pytest.mark.parametrize("deed", ["kill -9 $PPID", "kill -9 0; kill -9 $$"], ids=["its-parent", "its-group"])
@pytest.mark.parametrize("cores", [1, 2])
def test_a_command_that_kills_those_around_it_is_charged_and_the_others_run(site: Site, deed: str, cores: int) -> None:
    """F59: a command kills its runner, or its process group. It is charged, and the others run."""
    (killer,) = site.add(["sh", "-c", f"{deed}; sleep 60"])
    others = site.add(*[["sh", "-c", SIDE]] * 10)
    for _ in range(6):
        site.pilot(cores=cores, lease=1.0, grace=0.5).report(10.0)
        if not site.pool.count()[State.TODO]:
            break

    doc = site.doc(killer)
    # It is in error, with what it did on record; all others are done.
    assert state_of(doc) is State.ERROR
    assert doc["attempts"]
    assert [state_of(site.doc(token_id)) for token_id in others] == [State.DONE] * 10
    assert check(site, side=True) == {State.ERROR: 1, State.DONE: 10}


def test_a_command_gets_no_descriptor_of_the_runner(site: Site) -> None:
    script = "import os; print([n for n in range(3, 200) if os.path.lexists(f'/proc/self/fd/{n}')])"
    (doc,) = site.run([sys.executable, "-c", script])

    # It could take other tokens' jobs from the queue, and keep the pilot from noticing that a runner has died.
    assert site.attachment(doc["_id"], log_names(doc["_id"])[0]) == b"[]\n"
    assert check(site) == {State.DONE: 1}
