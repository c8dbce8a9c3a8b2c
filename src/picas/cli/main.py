"""The entry point: the tree of commands, loaded one by one, and how every error ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from picas import bundled, log
from picas.cli.output import clean, prepare_streams, say_error, say_lines
from picas.cli.session import SETTINGS
from picas.errors import PicasError, StoreError, UsageError

__all__ = ["app", "main"]

_VERBS = {
    "init": "making", "add": "adding", "run": "running", "status": "status", "top": "top", "ls": "looking",
    "show": "looking", "logs": "looking", "wait": "waiting", "reset": "changing", "cancel": "changing",
    "hold": "changing", "priority": "changing", "delete": "changing", "explain": "explaining",
    "report": "reporting", "pilot": "pilots", "autopilot": "autopiloting", "view": "viewing", "pool": "pools",
    "user": "users", "config": "making", "doctor": "doctor", "web": "web",
}  # fmt: skip
"""Each verb and the module of `picas.cli` that has it."""

_HELP = {
    "init": "Make a pool.",
    "add": "Add tokens: from lines, tables, ranges, sweeps, or one command.",
    "run": "Run a pilot here until nothing is left.",
    "status": "Show how the pool stands, once or live.",
    "top": "Show pilots, what they run and use, live.",
    "ls": "List tokens.",
    "show": "Show tokens in full, as JSON.",
    "logs": "Print what the command of a token wrote.",
    "wait": "Wait until the selected tokens are done or failed.",
    "reset": "Put tokens back to todo, as good as new.",
    "cancel": "End tokens, running ones too.",
    "hold": "Take waiting tokens out of the reach of pilots, until they are reset.",
    "priority": "Have tokens claimed before others, or after them.",
    "delete": "Delete tokens with their attachments.",
    "explain": "Say why a token is where it is, and what next.",
    "report": "Tell what became of the pool, in words or as a timeline.",
    "pilot": "Pilots: run, submit, list, drain, stop, recover, bundle.",
    "autopilot": "Pilots on batch systems, as many as there is work for: run, plan.",
    "view": "Views with a condition: add, list, remove.",
    "pool": "Pools: create, drop, copy, export, import, archive, check, pause, resume.",
    "user": "Users of a CouchDB server: add, allow, list, new passwords.",
    "config": "Show which pool is meant, and why.",
    "doctor": "Check this machine and the pool.",
    "web": "Serve a page that shows the pool.",
}


class _Verbs(TyperGroup):
    """Imports the module of a verb when it is called, so that help and the first claim come quickly."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the parser's signature
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _VERBS:
            return None
        if _wants_overview(ctx):
            return typer.main.get_command(_placeholder(cmd_name))
        module = import_module(f"picas.cli.{_VERBS[cmd_name]}")
        built = typer.main.get_command(module.app)
        return built.commands[cmd_name] if hasattr(built, "commands") else built


def _wants_overview(ctx: Any) -> bool:
    """Whether only names and one-line helps are wanted, as for ``picas --help``."""
    return bool(getattr(ctx, "resilient_parsing", False)) or ctx.meta.get("picas.overview", False) is True


def _placeholder(verb: str) -> typer.Typer:
    stand_in = typer.Typer(add_completion=False, rich_markup_mode=None)
    stand_in.command(verb, help=_HELP[verb])(lambda: None)
    return stand_in


app = typer.Typer(
    cls=_Verbs,
    name="picas",
    help="Token pools and the pilots that work them.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"picas {version('picas')}")
        for line in bundled.lines():
            typer.echo(clean(line))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Option(help="The pool: a path or an address.", show_default=False)] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv shows tracebacks.")] = 0,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Token pools and the pilots that work them."""
    del version
    SETTINGS.pool, SETTINGS.verbose = pool, verbose
    if no_color:
        os.environ["NO_COLOR"] = "1"
    log.set_up(verbose, clean)
    if ctx.invoked_subcommand is None:
        ctx.meta["picas.overview"] = True
        typer.echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. An error is one line and a hint on stderr, a traceback with -vv only."""
    words = list(sys.argv[1:] if argv is None else argv)
    SETTINGS.pool, SETTINGS.verbose = None, 0
    prepare_streams()
    try:
        _check_text(words)
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 - what a verb had not done is not done; it ends here as one line
        return _failed(error)
    return code


def _check_text(words: Sequence[str]) -> None:
    """Refuse what is no text before it is an id, a condition or an address; databases have no place for it."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"argument {number}, {word!r:.60}, is not UTF-8", hint="such files come in by -") from None


def _failed(error: Exception) -> int:
    """The exit code of an error, once it was said; with -vv where it came from."""
    if SETTINGS.verbose > 1:
        import traceback

        say_lines(traceback.format_exc())
    if isinstance(error, PicasError):
        say_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, OSError):
        _forget_stdout()
        say_error(f"{error.filename or 'input or output'}: {error.strerror or error}")
        return StoreError.exit_code
    say_error(f"this is a fault of picas: {type(error).__name__}: {error}", "report it, with what `picas -vv` shows")
    return StoreError.exit_code


def _run(words: list[str]) -> int:
    command = typer.main.get_command(app)
    if any(word in ("-h", "--help") for word in words[:1]):
        words = []
    try:
        result = command.main(args=words, prog_name="picas", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                raise KeyboardInterrupt from None
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            say_lines(error.format_message())
        else:
            say_error(" ".join(error.format_message().split()), _usage_hint(error))
        return int(getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _usage_hint(error: Any) -> str:
    path = error.ctx.command_path if getattr(error, "ctx", None) is not None else "picas"
    return f"`{path} --help` shows how"


def _forget_stdout() -> None:
    """Nobody reads any more: have the interpreter flush into nothing at its end."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
