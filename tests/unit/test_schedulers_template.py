from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from picas.errors import UsageError
from picas.schedulers.base import JobSpec
from picas.schedulers.template import Template, render

TEMPLATE = Template(
    prefix="#SBATCH",
    options=(
        "--job-name={name}", "--output={output}/%j.out", "--partition={queue}", "--cpus={cores} --mem={memory_mib}M",
        "--gres=gpu:{gpus}", "--time={time}", "--signal=B:TERM@{warning}", "--no-requeue",
    ),
)  # fmt: skip
SPEC = JobSpec(name="picas-1", argv=["python", "-m", "picas", "run"], folder=Path("/home/me"), memory=3 << 30)


def test_a_person_can_read_it() -> None:
    spec = replace(
        SPEC, cores=4, time=5400.0, queue="short", environment={"PICAS_POOL": "couchdb://me@h/db"},
        output=Path("/scratch/out"), native=["-A", "proj", "--constraint=haswell"],
        argv=["/venv/bin/python", "-m", "picas", "run", "--where", "a > 1"],
    )  # fmt: skip
    assert render(spec, TEMPLATE) == (
        "#!/bin/sh\n"
        "#SBATCH --job-name=picas-1\n"
        "#SBATCH --output=/scratch/out/%j.out\n"
        "#SBATCH --partition=short\n"
        "#SBATCH --cpus=4 --mem=3072M\n"
        "#SBATCH --time=1:30:00\n"
        "#SBATCH --signal=B:TERM@120\n"
        "#SBATCH --no-requeue\n"
        "#SBATCH -A proj --constraint=haswell\n"
        "cd /home/me || exit 1\n"
        "export PICAS_POOL=couchdb://me@h/db\n"
        "exec /venv/bin/python -m picas run --where 'a > 1'\n"
    )


def test_what_is_not_asked_for_is_left_out() -> None:
    script = render(replace(SPEC, warning=0.0), TEMPLATE)
    assert [line for line in script.splitlines() if line.startswith("#SBATCH")] == [
        "#SBATCH --job-name=picas-1",
        "#SBATCH --output=/home/me/%j.out",
        "#SBATCH --cpus=1 --mem=3072M",
        "#SBATCH --no-requeue",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a\n#SBATCH --uid=0"}, "the job's name"),
        ({"name": "-x"}, "the job's name '-x' begins like an option"),
        ({"queue": "a b"}, "the queue 'a b'"),
        ({"output": Path("/tmp/a b")}, "the folder for output"),
        ({"native": ["--x=$(id)"]}, "the native option"),
        ({"native": [""]}, "the native option"),
        ({"environment": {"A B": "1"}}, "'A B' cannot be the name of a variable"),
        ({"environment": {"A": "1\n2"}}, "the variable A '1\\\\n2' has control characters"),
        ({"folder": Path("/tmp/\udcff")}, "the folder"),
        ({"argv": ["a\0"]}, "the argument"),
    ],
)
def test_what_could_be_taken_for_something_else_is_refused_in_one_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        render(replace(SPEC, **change), TEMPLATE)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
