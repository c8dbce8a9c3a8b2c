"""S3: whatever stands in a field of a job, its script has the options that were meant, and its program its words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from picas.errors import UsageError
from picas.schedulers import dirac, gridengine, htcondor, pbs, slurm
from picas.schedulers.base import JobSpec

BASE = JobSpec(
    name="picas-a-1", argv=["picas", "run", "x"], folder=Path("/data/me"), cores=4, memory=1 << 30, gpus=1, time=3600.0,
    queue="long", environment={"PICAS_POOL": "pool"}, native=["A=b"], avoid=["n1"],
)  # fmt: skip
SCRIPTS: dict[str, Callable[[JobSpec], str]] = {
    "slurm": slurm.make().script,
    "gridengine": gridengine.make().script,
    "pbs": pbs.make().script,
    "htcondor": htcondor.make().script,
    "dirac": dirac.make().script,
}
OPTION = {
    "slurm": r"^#SBATCH (.*)$", "gridengine": r"^#\$ (.*)$", "pbs": r"^#PBS (.*)$", "htcondor": r"^([+\w]+)(?: =|$)",
    "dirac": r"^(\w+) = .*;$",
}  # fmt: skip
TEXT = st.text(max_size=40) | st.text("a-_ \n\r\t;#$'\"\\`|&(){}%=,@0\x00\x85\u2028", max_size=25)
ANYTHING = settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))


def options(system: str, script: str) -> list[str]:
    """The options as the batch system finds them, on every line that it may look at; without values that may differ."""
    found = re.findall(OPTION[system], script, re.MULTILINE)
    return [re.split("[ =:]", option)[0] for option in found]


def words(system: str, script: str) -> list[str]:
    """The words that the program is started with."""
    if system != "htcondor":
        lines = [line for line in script.splitlines() if line.startswith("exec ")]
        assert len(lines) == 1
        return shlex.split(lines[0])[1:]
    (program,) = re.findall("^executable = (.*)$", script, re.MULTILINE)
    (listed,) = re.findall('^arguments = "(.*)"$', script, re.MULTILINE)
    given = [program, *condor_words(listed.replace('""', '"'))]
    given = [word.replace("$(DOLLAR)", "$") for word in given]
    return given[1:] if given[0] == "/usr/bin/env" else given


def condor_words(text: str) -> list[str]:
    """As HTCondor's manual has it: words between blanks, in single quotes, of which two stand for one."""
    return [word.replace("''", "'") for word in re.findall(r"'((?:[^']|'')*)'(?: |$)", text)]


@pytest.mark.parametrize("system", SCRIPTS)
@ANYTHING
@given(name=TEXT, queue=TEXT, word=TEXT, value=TEXT, native=TEXT, folder=TEXT)
@example("a\n#SBATCH --uid=0", "", "", "", "", "")
@example("a", "q", "x\n#$ -l h=1", "v\n#PBS -q other", "A=b\nqueue 9", "/data")
def test_no_field_adds_an_option(
    system: str, name: str, queue: str, word: str, value: str, native: str, folder: str
) -> None:
    script, plain = SCRIPTS[system], SCRIPTS[system](BASE)
    for spec in (
        replace(BASE, name=name),
        replace(BASE, queue=queue or "q"),
        replace(BASE, argv=["picas", word]),
        replace(BASE, argv=[word or "x"]),
        replace(BASE, environment={"PICAS_POOL": value}),
        replace(BASE, environment={native: "x"}),
        replace(BASE, native=[f"A={native}"]),
        replace(BASE, avoid=[name]),
        replace(BASE, folder=Path(f"/{folder}") if "\x00" not in folder else Path("/")),
    ):
        try:
            made = script(spec)
        except UsageError:
            continue
        assert options(system, made) == options(system, plain) or "native" in _differs(spec)
        assert len(made.splitlines()) == len(plain.splitlines())
        assert words(system, made) == list(spec.argv)


def _differs(spec: JobSpec) -> set[str]:
    """A native option may be any one option: no more than one, which the number of lines shows."""
    return {"native"} if spec.native != BASE.native else set()


@pytest.mark.parametrize("system", SCRIPTS)
@ANYTHING
@given(
    arguments=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=12), max_size=4)
)
@example(["", "a b", "it's", 'say "x"', "$HOME", "$(x)", "a\\", "#$ -l x", "'", '"', "''"])
def test_the_program_gets_its_words(system: str, arguments: list[str]) -> None:
    if system == "htcondor" and any("$$" in word for word in arguments):
        return  # refused, and said so
    assert words(system, SCRIPTS[system](replace(BASE, argv=["picas", *arguments]))) == ["picas", *arguments]
