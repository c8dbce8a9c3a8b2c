"""Calls of Python functions as tokens: how one is written down, carried out, judged, and read again.

A token names its function, and a pilot that was given a function of that name calls it. The name is never imported,
nor is anything unpickled: what lies in a pool is data. The name also stands in ``requires``, as a resource that only
such a pilot offers, and with it 0 cores where every other token needs one. So a pilot for commands never takes a call,
whose ``input`` it would hand to bash, and a pilot for calls never takes a command.
"""

from __future__ import annotations

import builtins
import contextlib
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeAlias

from picas import lifecycle, tokens
from picas.errors import InvalidToken, TokenFailed, UsageError
from picas.lifecycle import Claimant, Doc, Outcome, Reason, State, state_of
from picas.tokens import Requirements

__all__ = ["Function", "Functions", "invoke", "judge", "name_of", "named", "offer", "result", "token"]

Function: TypeAlias = Callable[..., Any]
Functions: TypeAlias = Mapping[str, Function]

_TRACEBACK_CHARACTERS, _MESSAGE_CHARACTERS = 8000, 500
_PILOT_FRAMES = 2
"""Frames of ours around a function: `invoke`, and the pilot that calls it."""
_PLAIN = frozenset({str, int, float, bool, type(None)})
_RESOURCE = "function "


def name_of(function: Function) -> str:
    """The name under which tokens call a function: its own. UsageError when it has none that means anything."""
    name = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    if not name or "<" in name:
        raise UsageError(f"{function!r} has no name to call it by", hint="give one: {'NAME': function}")
    return str(name)


def named(functions: Function | Iterable[Function] | Functions) -> dict[str, Function]:
    """Functions by name: one, several, or given with their names. UsageError when two have the same."""
    if isinstance(functions, Mapping):
        return dict(functions)
    several = [functions] if callable(functions) else list(functions)
    found = {name_of(function): function for function in several}
    if len(found) != len(several) or not found:
        raise UsageError("no functions, or two of one name, were given", hint="give names: {'NAME': function}")
    return found


def token(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Doc:
    """A call as a token, without its id. One argument is its ``input``; more are its ``arguments``."""
    doc: Doc = {"function": name, "requires": {"cores": 0, _RESOURCE + name: 1}}
    if len(args) == 1 and not kwargs:
        doc["input"] = args[0]
    else:
        doc["arguments"] = {"args": list(args), "kwargs": dict(kwargs)}
    return doc


def offer(functions: Functions, time: float, memory: float) -> Requirements:
    """What a pilot that was given these functions offers, which fits their calls and nothing else."""
    return Requirements(memory=memory, time=time, other={_RESOURCE + name: 1.0 for name in functions})


def invoke(functions: Functions, doc: Mapping[str, Any]) -> Any:
    """Carry out the call that a token describes; a value that is JSON, and that nobody else can change."""
    function = functions.get(doc.get("function", ""))
    if function is None:
        raise InvalidToken(f"token {doc['_id']} calls {doc.get('function')!r}, which this pilot was not given")
    if "arguments" in doc:
        value = function(*doc["arguments"].get("args", ()), **doc["arguments"].get("kwargs", {}))
    else:
        value = function(doc.get("input"))
    if type(value) not in _PLAIN:
        # As it is now: the function may change its list later, and results are settled in batches.
        return tokens.parse(tokens.encode({"_id": doc["_id"], "output": value}))["output"]
    if type(value) is not bool and value is not None:
        tokens.encode({"_id": doc["_id"], "output": value})
    return value


def judge(
    doc: Doc,
    claimant: Claimant,
    value: Any,
    error: BaseException | None,
    *,
    span: tuple[float, float],
    max_scrub: int,
    jitter: float,
) -> Outcome:
    """What became of a call that returned a value or raised; ``span`` is its start (unix seconds) and its length."""
    start, runtime = span
    attempt = {**lifecycle.attempt(doc, claimant, start, start + runtime), "runtime": round(runtime, 6)}
    if error is None:
        return Outcome(changes={"output": value}, attempt=attempt)
    attempt |= {
        "exception": type(error).__name__,
        "message": _clean(str(error))[:_MESSAGE_CHARACTERS],
        "traceback": _clean("".join(traceback.format_exception(type(error), error, _within(error))))[
            -_TRACEBACK_CHARACTERS:
        ],
    }
    return Outcome(
        reason=Reason.EXCEPTION,
        exit_code=1,
        attempt=attempt,
        max_scrub=max_scrub,
        retry_delay=lifecycle.backoff(doc, jitter),
    )


def result(doc: Doc | None, token_id: str) -> Any:
    """What a call that has ended returned; raises what it raised, as far as that can be told.

    An exception that Python itself has comes back as that one, any other as `TokenFailed`: its class would have to be
    imported because a token names it.
    """
    if doc is None:
        raise TokenFailed(f"token {token_id} was deleted before its result was read")
    if state_of(doc) is not State.DONE:
        raise _raised(doc)
    return doc.get("output")


def _raised(doc: Doc) -> Exception:
    attempts = doc.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts and isinstance(attempts[-1], Mapping) else {}
    text, kind = str(last.get("message", "")), str(last.get("exception", ""))
    error: Exception | None = None
    found = getattr(builtins, kind, None)
    if doc.get("reason") == str(Reason.EXCEPTION) and isinstance(found, type) and issubclass(found, Exception):
        # One that wants more arguments, such as UnicodeDecodeError, cannot be made from its message.
        with contextlib.suppress(TypeError):
            error = found(text)
    if error is None:
        words = f"{kind}: {text}" if kind else text
        message = f"token {doc['_id']} failed ({doc.get('reason', 'no reason is known')}) {words}".strip()
        error = TokenFailed(message, hint=f"`picas explain {doc['_id']}` shows its attempts")
    if last.get("traceback"):
        error.__cause__ = _Remote(str(last["traceback"]))
    return error


class _Remote(Exception):
    """The traceback of where it was raised first, shown above that of where it is raised again."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _within(error: BaseException) -> TracebackType | None:
    """Its traceback from the function on, without the pilot around it."""
    found = error.__traceback__
    for _ in range(_PILOT_FRAMES):
        found = found.tb_next if found is not None and found.tb_next is not None else found
    return found


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
