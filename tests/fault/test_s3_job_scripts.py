"""S3: text in a field of a job adds no directive to its script, and no command."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picas.errors import UsageError
from picas.schedulers.base import JobSpec
from picas.schedulers.local import Local
from picas.schedulers.template import Template, render
from support.cli import Cli
from support.fake_systems import FakeSystem
from support.pilots import until

TEMPLATE = Template(
    prefix="#SBATCH",
    options=(
        "--job-name={name}", "--output={output}/%j.out", "--partition={queue}", "--cpus={cores} --mem={memory_mib}M",
        "--gres=gpu:{gpus}", "--time={time}", "--signal=B:TERM@{warning}", "--no-requeue",
    ),
)  # fmt: skip
SPEC = JobSpec(name="picas-1", argv=["python", "-m", "picas", "run"], folder=Path("/home/me"), memory=3 << 30)
PAYLOADS = [
    "; touch canary", "$(touch canary)", "`touch canary`", "| touch canary", "& touch canary", "' ; touch canary ; '",
    '" ; touch canary ; "', "a\ntouch canary", "a\n#SBATCH --wrap=x", "a\rtouch canary", "\\", "${IFS}", "{name}", "%j",
    "-o", "--output=/x", "#$ -o x", "> canary", "*",
]  # fmt: skip

OPTIONS = ("--queue", "--folder", "--workdir", "--attach", "--view", "--retry-on", "--memory", "--time")

TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "a\n#SBATCH --uid=0", "a\r#SBATCH -x", "$(id)", "`id`", ";id", "'; id; '", "a\x0bb", "\\", "#SBATCH -x",
        "a\u2028id", "%j", "{name}",
    ]
)  # fmt: skip


@given(
    name=TEXT, queue=TEXT, output=TEXT, folder=TEXT, word=TEXT, value=TEXT, variable=TEXT, native=TEXT,
    prefix=st.sampled_from(["#SBATCH", "#$", "#PBS"]),
)  # fmt: skip
def test_s3_text_in_a_field_adds_no_directive_and_no_command(
    name: str, queue: str, output: str, folder: str, word: str, value: str, variable: str, native: str, prefix: str
) -> None:
    """S3: any text in any field. The script has the directives and the commands it had, or is refused."""
    folders = {"folder": Path(f"/{folder}".replace("\0", "")), "output": Path(f"/{output}".replace("\0", ""))}
    parts: list[dict[str, object]] = [
        {"name": name}, {"queue": queue}, {"folder": folders["folder"]}, {"output": folders["output"]},
        {"argv": ["picas", word]}, {"environment": {"A": value}}, {"environment": {variable: "1"}},
        {"native": [native]},
    ]  # fmt: skip
    template = replace(TEMPLATE, prefix=prefix)
    for part in parts:
        spec = replace(SPEC, **part)  # type: ignore[arg-type]
        try:
            script = render(spec, template)
        except UsageError:
            continue
        _reparse(script, spec, prefix)


def _reparse(script: str, spec: JobSpec, prefix: str) -> None:
    """Read a script as a batch system does, line by line, and as a shell does, word by word."""
    lines = re.split(r"[\r\n\x0b\x0c\x85\u2028\u2029]", script)
    directives = [line for line in lines if line.startswith(prefix)]
    asked = ["--job-name", "--output", *(["--partition"] if spec.queue else []), "--cpus", "--signal", "--no-requeue"]
    seen = [re.split("[ =]", line.removeprefix(f"{prefix} "))[0] for line in directives]
    assert seen == asked + [re.split("[ =]", word)[0] for word in spec.native]
    assert lines[0] == "#!/bin/sh"
    commands = [shlex.split(line) for line in lines[1 + len(directives) :] if line]
    assert commands == [
        ["cd", str(spec.folder), "||", "exit", "1"],
        *(["export", f"{key}={text}"] for key, text in spec.environment.items()),
        ["exec", *spec.argv],
    ]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_s3_a_shell_that_runs_a_script_runs_nothing_else(tmp_path: Path, payload: str) -> None:
    """S3: what looks like commands stands in the fields that take any text. A shell runs the script: it is text."""
    local = Local(tmp_path / "state")
    folder = tmp_path / payload.replace("/", "_")
    folder.mkdir()
    spec = JobSpec(
        name="picas-1", argv=["sh", "-c", 'printf "%s" "$1$A"', "sh", payload], folder=folder, output=tmp_path / "out",
        environment={"A": payload},
    )  # fmt: skip
    if any(mark in payload for mark in "\n\r"):
        with pytest.raises(UsageError):
            local.submit(spec)
        return
    job = local.submit(spec)
    until("it has ended", lambda: local.status([job])[job].state.is_final, 60)
    assert (tmp_path / "out" / f"picas-1-{job}.out").read_text() == payload * 2
    assert not list(tmp_path.rglob("canary*"))


def test_s3_s2_options_of_the_command_line(tmp_path: Path) -> None:
    """S3: what looks like commands stands in each option of ``picas pilot submit``. No job has another option by it."""
    with FakeSystem(tmp_path / "slurm", "slurm") as fake:
        picas = Cli(tmp_path, PATH=fake.path())
        picas.ok("init")
        plain = picas.ok("pilot", "submit", "slurm", "--dry-run").out
        for payload in PAYLOADS[::4]:
            for option in OPTIONS:
                answer = picas.inside("pilot", "submit", "slurm", "--dry-run", f"{option}={payload}")
                assert answer.code in (0, 2), answer
                if answer.code == 0:
                    allowed = {"--partition"} if option == "--queue" else set()
                    assert _directives(answer.out) - _directives(plain) <= allowed
        assert fake.calls("sbatch") == []
        assert not list(tmp_path.glob("canary*"))


def _directives(script: str) -> set[str]:
    return {word.partition("=")[0] for line in script.splitlines() if line[0] == "#" for word in line.split()[1:]}
