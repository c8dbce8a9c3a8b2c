"""From a token to a job, and from what a runner reports back to an outcome. Decisions only; nothing is run here."""

from __future__ import annotations

import errno
import logging
import mimetypes
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from picas import lifecycle, tokens
from picas.errors import InvalidToken, UsageError
from picas.lifecycle import Claimant, Doc, Outcome, Reason, fence_of
from picas.pilot.jobs import START_FAILED, Report
from picas.stores.base import Attachment
from picas.templates import expand

__all__ = ["attachments", "command_of", "folder_of", "killed", "outcome_of", "quiet_limit", "refused"]

log = logging.getLogger("picas.pilot")

_BASH = ["bash", "-c"]
_SIGNALS = {int(known): known.name for known in signal.Signals}
_GIVEN_BACK = {"stopped": Reason.STOPPED, "limit": Reason.TIME}
_ENDED_FOR = {
    "time": Reason.TIME,
    "cancelled": Reason.CANCELLED,
    "disk": Reason.DISK,
    "memory": Reason.MEMORY,
    "quiet": Reason.QUIET,
}


def command_of(doc: Mapping[str, Any], template: Sequence[str] | None) -> list[str]:
    """The words to execute: the token's own command, else the pilot's, else the input as a line for bash.

    InvalidToken when there is none of them.
    """
    command = doc.get("command")
    if command is None and template:
        try:
            command = expand(template, doc)
        except UsageError as error:
            raise InvalidToken(f"token {doc['_id']}: {error}") from error
    if command is None:
        command = doc.get("input")
    if isinstance(command, str) and command:
        return [*_BASH, command]
    if isinstance(command, list) and command and all(isinstance(word, str) for word in command):
        return command
    raise InvalidToken(
        f"token {doc['_id']} has no command", hint="give it a field command, or `picas run -- COMMAND ...`"
    )


def folder_of(base: Path, doc: Mapping[str, Any]) -> Path:
    """A folder for one attempt at one token; no two tokens share one, whatever their ids."""
    return base / f"{quote(doc['_id'], safe='')[:180]}.{fence_of(doc)}"


def outcome_of(doc: Doc, report: Report, claimant: Claimant, *, max_scrub: int, jitter: float) -> Outcome:
    """What became of a token, judged from how its command ended."""
    reason, exit_code, more = _judge(report)
    changes, problem = _output(report.output)
    if problem and reason is Reason.EXIT and exit_code == 0:
        reason, exit_code, more = Reason.EXCEPTION, "", {"message": problem}
    delay = lifecycle.backoff(doc, jitter)
    return Outcome(
        reason=reason,
        exit_code=exit_code,
        give_back=report.why in _GIVEN_BACK,
        changes=changes,
        attempt=_attempt(doc, report, claimant) | more,
        max_scrub=max_scrub,
        retry_delay=delay,
    )


def killed(doc: Doc, claimant: Claimant, now: float, max_scrub: int) -> Outcome:
    """The end of a token whose runner was killed with it: by its own command, or for want of memory."""
    attempt = {"fence": fence_of(doc), "pilot": claimant.pilot, "hostname": claimant.hostname, "signal": "SIGKILL"}
    attempt |= {"end": round(now, 3), "message": "its runner was killed"}
    return Outcome(reason=Reason.SIGNAL, exit_code=-signal.SIGKILL, attempt=attempt, max_scrub=max_scrub)


def refused(doc: Doc, problem: InvalidToken, claimant: Claimant, now: float) -> Outcome:
    """The end of a token that could not even be tried, or whose result no store takes."""
    attempt = lifecycle.attempt(doc, claimant, now, now)
    return Outcome(reason=Reason.EXCEPTION, exit_code="", attempt={**attempt, "message": str(problem)[:500]})


def attachments(
    doc: Mapping[str, Any], report: Report, folder: str | None, patterns: Sequence[str], cap: int
) -> dict[str, Any]:
    """The files that go with the result: both streams, unless empty, and what matches in the work folder.

    A file of more than ``cap`` bytes is left out, which is said.
    """
    out, err = tokens.log_names(doc["_id"])
    found = {out: _stream(report.out), err: _stream(report.err)}
    kept = {name: attachment for name, attachment in found.items() if attachment is not None}
    if folder is not None and report.code > -START_FAILED:
        kept.update(_matching(Path(folder), patterns, cap))
    return kept


def quiet_limit(doc: Mapping[str, Any], limit: float) -> float:
    """Seconds for which a command may write nothing: as its token says, else ``limit``; 0 for ever."""
    if "quiet_limit" not in doc:
        return limit
    return tokens.quiet_limit(doc["quiet_limit"]) or limit


def _judge(report: Report) -> tuple[Reason, int | str, dict[str, Any]]:
    if report.code <= -START_FAILED:
        number = -report.code - START_FAILED
        name = errno.errorcode.get(number, str(number))
        return Reason.START_FAILED, 127 if number == errno.ENOENT else 126, {"errno": name}
    more = {"signal": _SIGNALS[-report.code]} if -report.code in _SIGNALS else {}
    if report.why:
        # One that exits 0 when it is told to end has not done its work.
        return (_GIVEN_BACK | _ENDED_FOR)[report.why], report.code or "", more
    return Reason.SIGNAL if report.code < 0 else Reason.EXIT, report.code, more


def _attempt(doc: Doc, report: Report, claimant: Claimant) -> dict[str, Any]:
    found = {
        **lifecycle.attempt(doc, claimant, report.start, report.start + report.runtime),
        "runtime": round(report.runtime, 4),
        "max_rss": report.max_rss,
        "pilot_cores": claimant.cores,
    }
    for name, size in (("stdout_bytes", report.out_size), ("stderr_bytes", report.err_size)):
        if size:
            found[name] = size
    return found | ({"leftovers": True} if report.leftovers else {})


def _output(data: bytes | None) -> tuple[dict[str, Any], str]:
    """The field ``output`` from what the command wrote to ``PICAS_OUTPUT``; and what is wrong with it."""
    if data is None:
        return {}, ""
    try:
        value = tokens.loads(data)
    except ValueError as error:
        return {}, f"PICAS_OUTPUT is not JSON: {error}"[:500]
    if not isinstance(value, dict):
        return {}, "PICAS_OUTPUT holds no JSON object"
    try:
        tokens.encode({"_id": "output", "output": value})
    except InvalidToken as error:
        return {}, f"PICAS_OUTPUT: {error}"[:500]
    return {"output": value}, ""


def _stream(output: bytes | str) -> Attachment | None:
    if isinstance(output, str):
        return Attachment(content_type="text/plain", path=output)
    return Attachment(content_type="text/plain", data=output) if output else None


def _matching(folder: Path, patterns: Sequence[str], cap: int) -> Iterator[tuple[str, Attachment]]:
    for pattern in () if folder.is_symlink() else patterns:
        try:
            yield from _regular(folder, pattern, cap)
        except OSError as error:  # somebody else removes files there
            log.warning("%s/%s is not all attached: %s", folder, pattern, error.strerror or error)


def _regular(folder: Path, pattern: str, cap: int) -> Iterator[tuple[str, Attachment]]:
    """Regular files only: a link could lead to somebody else's, and so could the folder, if it became one."""
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and not path.is_symlink() and folder.resolve() in path.resolve().parents:
            if path.stat().st_size > cap:
                log.warning("%s is not attached: it has %d bytes, and %d are allowed", path, path.stat().st_size, cap)
                continue
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            name = path.resolve().relative_to(folder.resolve()).as_posix()
            yield name, Attachment(content_type=kind, path=str(path))
