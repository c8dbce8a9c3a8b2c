"""The script of a job, from a `JobSpec` and what a batch system calls its options.

    #!/bin/sh
    #SBATCH --cpus-per-task=4
    cd /home/me/project || exit 1
    export PICAS_POOL=couchdbs://me@pool.example.org/project
    exec /home/me/venv/bin/python -m picas run --cores 4

A batch system reads the lines with its prefix, some in the whole script, and a shell the others. So what becomes part
of a line with the prefix has only characters that mean nothing to either, and all else is quoted by one function,
`quoted`, which takes nothing that could begin a line.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from picas.errors import UsageError
from picas.schedulers.base import JobSpec

__all__ = ["HARMLESS", "Template", "checked", "fields", "nodes", "quoted", "render", "variable"]

HARMLESS = re.compile(r"[A-Za-z0-9._@:/+=,-]+", re.ASCII)
"""What has no meaning of its own in a job script or a job description."""
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Template:
    """What a batch system's scripts look like.

    ``options`` are what stands after ``prefix``, with `fields` in braces; one whose field is empty is left out, and
    with it what is not asked for.
    """

    prefix: str
    options: Sequence[str]


def render(spec: JobSpec, template: Template) -> str:
    """The script; UsageError, which names the field, for a value that could be taken for something else."""
    return "\n".join(_lines(spec, template)) + "\n"


def fields(spec: JobSpec) -> dict[str, str]:
    """What an option may have in braces, each checked; empty for what was not asked for.

    ``name folder output queue cores gpus``; ``memory_mib``, rounded up; ``time`` as ``H:MM:SS``, and in ``seconds``;
    ``warning`` in seconds; the nodes to ``avoid``, joined by commas.
    """
    length = math.ceil(spec.time) if spec.time else 0
    warning = math.ceil(spec.warning)
    memory = math.ceil(spec.memory / _MIB) if spec.memory else 0
    return {
        "name": checked(spec.name, "the job's name"),
        "folder": str(spec.folder),
        "output": checked(str(spec.output or spec.folder), "the folder for output"),
        "queue": checked(spec.queue, "the queue") if spec.queue else "",
        "cores": str(spec.cores),
        "gpus": _number(spec.gpus),
        "memory_mib": _number(memory),
        "time": _clock(length),
        "seconds": _number(length),
        "warning": _number(warning),
        "avoid": ",".join(nodes(spec)),
    }


def nodes(spec: JobSpec) -> list[str]:
    """The nodes to avoid, as they may stand anywhere; UsageError for what is no name of one."""
    for name in spec.avoid:
        if not _NODE.fullmatch(name):
            raise UsageError(f"{name!r:.80} is no name of a node")
    return list(spec.avoid)


def checked(text: str, what: str, *, option: bool = False) -> str:
    """A value as it may stand in a directive or a file name; UsageError, which names it, for any other.

    It may not look like an option where it is not one.
    """
    if text.startswith("-") and not option:
        raise UsageError(f"{what} {text!r:.80} begins like an option")
    return _harmless(text, what)


def quoted(text: str, what: str) -> str:
    """A text as one word for the shell; UsageError for one of several lines, or which is no text."""
    if _CONTROL.search(text):
        raise UsageError(f"{what} {text!r:.80} has control characters, which no job script may have")
    return shlex.quote(text)


def variable(name: str) -> str:
    """The name of a variable; UsageError for what cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r:.80} cannot be the name of a variable")
    return name


def _lines(spec: JobSpec, template: Template) -> Iterator[str]:
    known = fields(spec)
    yield "#!/bin/sh"
    for option in template.options:
        names = _PLACEHOLDER.findall(option)
        if all(known[name] for name in names):
            filled = _PLACEHOLDER.sub(lambda found: known[found[1]], option)
            yield f"{template.prefix} {filled}"
    if spec.native:
        words = [_harmless(word, "the native option") for word in spec.native]
        yield f"{template.prefix} {' '.join(words)}"
    yield f"cd {quoted(known['folder'], 'the folder')} || exit 1"
    yield from _exports(spec.environment)
    yield "exec " + " ".join(quoted(word, "the argument") for word in spec.argv)


def _harmless(text: str, what: str) -> str:
    if not HARMLESS.fullmatch(text):
        hint = "letters, digits and . _ @ : / + = , - are allowed"
        raise UsageError(f"{what} {text!r:.80} has characters that no line of options may have", hint=hint)
    return text


def _exports(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        yield f"export {variable(name)}={quoted(value, f'the variable {name}')}"


def _number(value: int) -> str:
    return str(value) if value else ""


def _clock(seconds: int) -> str:
    if not seconds:
        return ""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
