"""``picas-cli``: PiCaS's configuration file made and shown, and the password changed.

Passwords come from the terminal or from ``PICAS_PASSWORD``, never from the command line, which every user of the
machine can read; and none is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from picas.cli.output import prepare_streams, say, say_error, write
from picas.config import without_credentials
from picas.errors import PicasError, StoreError, UsageError
from picas.picas_config import PICAS_CONFIG_SCHEMA, PicasConfig

__all__ = ["main"]

_SCRIPT = """\
# Written by picas-cli dump-config. The password is not here: it is read from the configuration file.
from picas.crypto import decrypt_password
from picas.picas_config import PicasConfig

PICAS_HOST_URL = {host_url!r}
PICAS_DATABASE = {database!r}
PICAS_USERNAME = {username!r}
PICAS_PASSWORD = decrypt_password(PicasConfig({path!r}).config["encrypted_password"]).decode()
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code, as those of ``picas``. An error is one line and a hint on stderr."""
    prepare_streams()
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    except BrokenPipeError:
        # Nobody reads any more: have the interpreter flush into nothing at its end.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        return 0
    except PicasError as error:
        say_error(error.message, error.hint)
        return error.exit_code
    except OSError as error:
        say_error(f"{error.filename or 'output'}: {error.strerror or error}")
        return StoreError.exit_code
    return 0


def _run(words: list[str]) -> None:
    parser = _parser()
    args, unknown = parser.parse_known_args(words)
    if unknown:
        # Not shown: it may be a password.
        raise UsageError(f"argument {words.index(unknown[0]) + 1} is not known", hint="`picas-cli --help` shows how")
    if "verb" in args:
        args.verb(args)
    else:
        write(parser.format_help())


def _parser() -> argparse.ArgumentParser:
    refusing = argparse.ArgumentParser(add_help=False)
    refusing.add_argument("--password", "--new-password", action=_Refused, nargs="?", help=argparse.SUPPRESS)
    common = argparse.ArgumentParser(add_help=False, parents=[refusing])
    # No default: the one of a verb would win over the option before it.
    common.add_argument("--config", default=argparse.SUPPRESS, metavar="PATH", help="the configuration file")
    parser = argparse.ArgumentParser("picas-cli", parents=[common], description="PiCaS's configuration file.")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    init = _verb(verbs, "init", _init, common, "write the configuration file, asking for the password")
    init.add_argument("--host-url", default=_default("host_url"), metavar="URL", help="the server (%(default)s)")
    init.add_argument("--database", default=_default("database"), metavar="NAME", help="the database (%(default)s)")
    init.add_argument("--username", default=_default("username"), metavar="NAME", help="the user in CouchDB")
    _verb(verbs, "passwd", _passwd, common, "change the password, on the server and in the file")
    dump = _verb(verbs, "dump-config", _dump_config, common, "print the configuration as Python, without the password")
    dump.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    return parser


def _verb(verbs: Any, name: str, run: Any, common: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, parents=[common], help=text, description=text)
    parser.set_defaults(verb=run)
    return parser


def _default(key: str) -> str | None:
    """What the PiCaS variable says, else PiCaS's own default."""
    found: str | None = os.environ.get(f"PICAS_{key.upper()}") or PICAS_CONFIG_SCHEMA["properties"][key]["default"]
    return found


class _Refused(argparse.Action):
    """An option of PiCaS that is known in order to be refused."""

    def __call__(self, *given: object, **_: object) -> NoReturn:
        del given
        hint = "leave it out and type the password when asked, or set PICAS_PASSWORD for init"
        raise UsageError("a password may not stand on the command line, which everybody here can read", hint=hint)


def _init(args: argparse.Namespace) -> None:
    if without_credentials(args.host_url) != args.host_url:
        raise UsageError("the server's address may not hold a password", hint="give the user's name by --username")
    if not args.username:
        raise UsageError("no user name", hint="give --username NAME, or set PICAS_USERNAME")
    args.password = None
    config = _config(args, load=False)
    config.save_config(args)
    say(f"wrote {config.path}")


def _passwd(args: argparse.Namespace) -> None:
    args.new_password = None
    config = _config(args)
    config.change_password(args)
    say(f"changed the password of {config.config['username']}")


def _dump_config(args: argparse.Namespace) -> None:
    config = _config(args)
    given = os.fspath(config.config_path)
    found = {key: without_credentials(value) for key, value in config.config.items()}
    text = _SCRIPT.format(**found, path=given if given.startswith("~") else str(config.path.absolute()))
    if args.output is None:
        write(text)
        return
    target = Path(os.path.expanduser(args.output))  # noqa: PTH111 - a user may have no home
    target.write_text(text, encoding="utf-8")
    say(f"wrote {target}")


def _config(args: argparse.Namespace, *, load: bool = True) -> PicasConfig:
    return PicasConfig(getattr(args, "config", None), load=load)


if __name__ == "__main__":
    sys.exit(main())
