"""F5, the mutation gate: each guard is taken out in turn, and a test must notice: ``make mutants``.

A mutant is one change of one place in a copy of ``src``; its test is run with that copy. A place that is not there just
once is an error, and so is a test that fails without any change. Exit code 1 when a mutant outlives its test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAULT, CONTRACT = "tests/fault", "tests/contract"
LONGEST = 170.0
COMPILE = ("cc", "-O1", "-std=gnu11", "-shared", "-fPIC", "-w", "-o")


@dataclass(frozen=True)
class Mutant:
    """A guard by name, where it is, what it is made, and the test that must notice (a file, and ``-k`` of pytest)."""

    name: str
    file: str
    guard: str
    without: str
    test: str
    only: str


_LOOK = "self._defence.room.look(self._crew, self._holdings, self.options.grace)"

MUTANTS = (
    Mutant(
        "a signal to all of a job",
        "pilot/doubts.py",
        "if report.code in _ENDING and not report.why:",
        "if False:",
        f"{FAULT}/test_f10_whole_job.py",
        "first",
    ),
    Mutant(
        "what a directive may have",
        "schedulers/template.py",
        "if not HARMLESS.fullmatch(text):",
        "if False:",
        f"{FAULT}/test_s3_job_scripts.py",
        "text_in_a_field",
    ),
    Mutant(
        "quotes in job scripts",
        "schedulers/template.py",
        "return shlex.quote(text)",
        "return text",
        f"{FAULT}/test_s3_job_scripts.py",
        "runs_nothing_else",
    ),
    Mutant(
        "no password for a job",
        "schedulers/commands.py",
        "kept = without_secrets(environ)",
        "return dict(environ)",
        f"{FAULT}/test_s4_s5_secrets_of_jobs.py",
        "local_jobs",
    ),
    Mutant(
        "no job without its password",
        "submission.py",
        "raise ConfigError(_would_not_find(found, environ), hint=hint)\n\n\ndef is_file",
        "return address\n\n\ndef is_file",
        f"{FAULT}/test_s4_s5_secrets_of_jobs.py",
        "nowhere_safe",
    ),
    Mutant(
        "no far job without its password",
        "sandbox.py",
        "if found.password is None:",
        "if True:",
        "tests/e2e/test_pilot_submit_dirac.py",
        "would_reach",
    ),
    Mutant(
        "a grace period for jobs",
        "schedulers/book.py",
        "if now - since < grace:",
        "if False:",
        "tests/unit/test_schedulers_slurm.py",
        "nobody_knows",
    ),
    Mutant(
        "jobs of unknown fate count",
        "autopilot/looking.py",
        "if entry.misses < _MISSES or now - entry.missing_at < patience:",
        "if False:",
        f"{FAULT}/test_f84_commands.py",
        "slurm-60",
    ),
    Mutant(
        "jobs of an autopilot, DIRAC",
        "schedulers/dirac.py",
        "_group(spec.group or spec.name)",
        "_group(spec.name)",
        f"{FAULT}/test_f85_killed_autopilot.py",
        "dirac",
    ),
    Mutant(
        "a job without its name, DIRAC",
        "schedulers/batch.py",
        "if nameless := [job.id for job in jobs if job.id not in names]:",
        "if nameless := []:",
        "tests/unit/test_schedulers_dirac.py",
        "not_told",
    ),
    Mutant(
        "a refusal is no lost answer",
        "schedulers/batch.py",
        'lost = answer.code < 0 or _AWAY.search(f"{answer.err}\\n{answer.out}")',
        "lost = answer.code < 0",
        "tests/unit/test_schedulers_pbs.py",
        "answer_was_lost",
    ),
    Mutant(
        "half an id is none",
        "schedulers/batch.py",
        'return text[: text.rfind("\\n") + 1]',
        "return text",
        "tests/unit/test_schedulers_pbs.py",
        "answer_was_lost",
    ),
    Mutant(
        "half a table is none",
        "schedulers/slurm.py",
        'must_be_whole("what Slurm said", answer)',
        "pass",
        "tests/unit/test_schedulers_slurm.py",
        "cut_off_anywhere",
    ),
    Mutant(
        "a job told to end before it began",
        "schedulers/local.py",
        '[ -e "$1/cancelled" ] && exit 143; ',
        "",
        "tests/unit/test_schedulers_local.py",
        "before_it_has_begun",
    ),
    Mutant(
        "fence, memory",
        "stores/memory/state.py",
        "if row is None or not lifecycle.is_same_claim(row.doc, settlement.doc):",
        "if row is None:",
        f"{CONTRACT}/test_memory.py",
        "TestFence",
    ),
    Mutant(
        "fence, SQLite",
        "stores/sqlite/exchange.py",
        "if not is_same_claim(current, settlement.doc):",
        "if not current:",
        f"{FAULT}/test_f03_directed_pause.py",
        "runs",
    ),
    Mutant(
        "fence, CouchDB",
        "stores/couchdb/exchange.py",
        "if base is None or not holds(base, fence, pilot):",
        "if base is None:",
        f"{CONTRACT}/test_couchdb.py",
        "TestFence",
    ),
    Mutant(
        "fence, PostgreSQL",
        "stores/postgres/exchange.py",
        "if not is_same_claim(current, settlement.doc):",
        "if not current:",
        f"{CONTRACT}/test_postgres.py",
        "TestFence",
    ),
    Mutant(
        "fence of a request to cancel",
        "lifecycle.py",
        'return "cancel" in doc and holds(doc, doc["cancel"])',
        'return "cancel" in doc',
        f"{FAULT}/test_f11_f12_identity.py",
        "request_of_an_earlier_claim",
    ),
    Mutant(
        "fence of who cancels",
        "pool.py",
        'claims.setdefault(doc["_id"], fence_of(doc)) != fence_of(doc)',
        "not fence_of(doc)",
        f"{FAULT}/test_f11_f12_identity.py",
        "cancel_of_one_claim",
    ),
    Mutant(
        "revision, SQLite",
        "stores/sqlite/store.py",
        'WHERE id=? AND rev=?", (doc["_id"], doc.get("_rev"))',
        'WHERE id=?", (doc["_id"],)',
        f"{CONTRACT}/test_sqlite.py",
        "TestUpdate or TestDelete",
    ),
    Mutant(
        "lease",
        "stores/base.py",
        "return not self.alive and self.watched > self.lease",
        "return self.watched > self.lease",
        f"{FAULT}/test_f06_f07_leases.py",
        "ten_leases",
    ),
    Mutant(
        "watched before taken for dead",
        "stores/base.py",
        "return not self.alive and self.watched > self.lease",
        "return not self.alive",
        f"{FAULT}/test_postgres_f20_outage.py",
        "nobody_is_taken_for_dead",
    ),
    Mutant(
        "beat before claim",
        "command.py",
        f"self._renew()\n            {_LOOK}\n            self._exchange()",
        f"{_LOOK}\n            self._exchange()\n            self._renew()",
        "tests/property/test_simulation.py",
        "never_heard_of",
    ),
    Mutant(
        "read-back, PostgreSQL",
        "stores/postgres/exchange.py",
        "if self._number is not None:\n            took_place",
        "if self._number == '':\n            took_place",
        f"{FAULT}/test_postgres_f23_ambiguous_commits.py",
        "exchange_that_cannot_be_asked or answers_lost_again or breaks_and_the_server_is_away",
    ),
    Mutant(
        "read-back, CouchDB",
        "stores/couchdb/exchange.py",
        "ahead = self._claims_sent()",
        "ahead: list[Doc] = []",
        f"{FAULT}/test_couchdb_f23_ambiguous_writes.py",
        "given_back_by_a_pilot_that_stops",
    ),
    Mutant(
        "crash limit",
        "lifecycle.py",
        'if new["lost"] >= CRASH_LIMIT else',
        "if False else",
        f"{FAULT}/test_f08_crash_limit.py",
        "first",
    ),
    Mutant(
        "suspects claimed alone",
        "stores/derived.py",
        """if '"lost":' in text and lifecycle.is_suspect(doc):""",
        "if False:",
        f"{FAULT}/test_f08_crash_limit.py",
        "beside",
    ),
    Mutant(
        "kill of the group",
        "pilot/ending.py",
        "end_group(self._pid, signal.SIGKILL)\n            return",
        "return",
        f"{FAULT}/test_f51_f55_commands.py",
        "ignores_signals",
    ),
    Mutant(
        "sweep of leftovers",
        "pilot/runner.py",
        "if not end_leftovers():",
        "if False:",
        f"{FAULT}/test_f52_zombies.py",
        "thousand",
    ),
    Mutant(
        "subreaper",
        "pilot/runner.py",
        "    become_subreaper()\n    for handle",
        "    for handle",
        f"{FAULT}/test_f52_zombies.py",
        "thousand",
    ),
    Mutant(
        "death of the pilot",
        "pilot/runner.py",
        'asked = ("stopped", 0.0) if self._away else self._cancelled.get(job.number)',
        "asked = self._cancelled.get(job.number)",
        f"{FAULT}/test_f51_f55_commands.py",
        "daemons_of_a_killed_pilot",
    ),
    Mutant(
        "other runners spared",
        "process.py",
        "for pid in children() if pid not in spared",
        "for pid in children()",
        f"{FAULT}/test_f06_f07_leases.py",
        "runner_that_dies",
    ),
    Mutant(
        "no link as output",
        "pilot/handover.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        f"{FAULT}/test_f51_f55_commands.py",
        "no_json_object and symlink",
    ),
    Mutant(
        "no link as work folder",
        "pilot/work.py",
        "() if folder.is_symlink() else patterns",
        "patterns",
        f"{FAULT}/test_f60_f61_files.py",
        "folder-a-link",
    ),
    Mutant(
        "cap on output",
        "pilot/runner.py",
        "self._out.begin(job.output_cap)",
        "self._out.begin(1 << 62)",
        f"{FAULT}/test_f51_f55_commands.py",
        "output_without_end",
    ),
    Mutant(
        "unspent at stop",
        "pilot/work.py",
        "give_back=report.why in _GIVEN_BACK",
        "give_back=False",
        f"{FAULT}/test_f09_f10_stop.py",
        "five_stops",
    ),
    Mutant(
        "pause in the claim",
        "stores/sqlite/exchange.py",
        " AND NOT EXISTS (SELECT 1 FROM meta WHERE name='pause')",
        "",
        f"{FAULT}/test_steering.py",
        "paused_pool_wait_and_go_on",
    ),
    *(
        Mutant(f"the fast path, {name}", "pilot/fastpath.c", guard, without, "tests/unit/test_fast_path.py", only)
        for name, guard, without, only in (
            ("in a job's folder", " || !desk->is_home", "", "world"),
            ("cancelled jobs", " || is_refused(desk, job.number)", "", "ends"),
            ("what is left", " || has_children()", "", "left"),
            ("PICAS_OUTPUT", "lstat(desk->output_path, &output) == 0 || errno != ENOENT", "0", "files"),
            ("changed pipes", " || is_spoilt(desk->out_writer)", "", "streams"),
            ("changed PICAS_TOKEN", "known.st_nlink != 1 || (known.st_mode & 07777) != 0600", "0", "files"),
            ("PICAS_TOKEN replaced", " || known.st_ino != desk->token_number", "", "files"),
            ("half pairs", "at[1] >= 0xA0", "0", "starts"),
            ("much output", "if (waiting[0] > most || waiting[1] > most\n        ||", "if (", "streams"),
        )
    ),
)


def run_test(source: Path, test: str, only: str) -> tuple[int, str]:
    """Run a test with the code in a folder; pytest's exit code, and its last line. One that hangs has failed."""
    environ = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "120", test, "-k", only]
    try:
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return 1, "it hangs"
    lines = done.stdout.strip().splitlines()
    return done.returncode, lines[-1] if lines else done.stderr[-200:]


def copy_of_source(folder: str) -> Path:
    """A copy of ``src``."""
    return Path(shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__")))


def misplaced(mutant: Mutant, source: Path) -> str:
    """What is wrong with where its guard stands, if anything: a guard that has moved is taken out no more."""
    count = (source / "picas" / mutant.file).read_text(encoding="utf-8").count(mutant.guard)
    return "" if count == 1 else f"its guard stands {count} times in {mutant.file}"


def try_out(mutant: Mutant) -> tuple[Mutant, str, str, float]:
    """Take a guard out and run its test; the verdict, pytest's last line, and how long it took."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="picas-mutant-") as folder:
        source = copy_of_source(folder)
        if problem := misplaced(mutant, source):
            return mutant, "error", problem, 0.0
        path = source / "picas" / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.guard, mutant.without), encoding="utf-8")
        if path.suffix == ".c":
            subprocess.run([*COMPILE, str(path.with_name(f"lib{path.stem}.so")), str(path)], check=True)
        code, line = run_test(source, mutant.test, mutant.only)
    verdict = {0: "SURVIVES", 1: "found"}.get(code, "error")
    return mutant, verdict, line, time.monotonic() - begun


def try_without(mutant: Mutant) -> str:
    """The test without any change; what is wrong with it, if anything."""
    code, line = run_test(ROOT / "src", mutant.test, mutant.only)
    return "" if code == 0 and "passed" in line else f"{mutant.test} -k {mutant.only!r} without a mutant: {line}"


def check() -> int:
    """Whether every guard stands in the code, once; 1 when one does not."""
    problems = [f"mutant {one.name!r}: {problem}" for one in MUTANTS if (problem := misplaced(one, ROOT / "src"))]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def main(words: list[str]) -> int:
    """Try all mutants, or those whose names contain a word, two at a time."""
    parser = argparse.ArgumentParser(description="take each guard out, and see whether its test notices")
    parser.add_argument("names", nargs="*", help="only mutants with one of these words in their names")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="only see that every guard is where it should be")
    asked = parser.parse_args(words)
    if asked.check:
        return check()
    chosen = [one for one in MUTANTS if not asked.names or any(word in one.name for word in asked.names)]
    with ThreadPoolExecutor(asked.parallel) as threads:
        tests = {(one.test, one.only): one for one in chosen}
        wrong = [problem for problem in threads.map(try_without, tests.values()) if problem]
        print(f"{len(tests)} tests without a mutant: {len(tests) - len(wrong)} green", *wrong, sep="\n", flush=True)
        left = 0
        for mutant, verdict, line, seconds in threads.map(try_out, chosen):
            left += verdict != "found"
            print(f"{verdict:9} {mutant.name:30} {seconds:5.0f} s  {mutant.test} -k {mutant.only!r}", flush=True)
            if verdict != "found":
                print(f"          {line}", flush=True)
    print(f"{len(chosen)} mutants, {len(chosen) - left} found")
    return 1 if left or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
