"""Everything that picas raises, in one tree.

    PicasError                    a message in one line, a hint, an exit code
    ├── UsageError                the caller asked for something that makes no sense: correct the call
    │   ├── InvalidToken          a document that no store takes: correct the document
    │   ├── InvalidSelector       a condition that cannot be read: correct the condition
    │   └── NoSuchView            the pool has no view or design document of that name: correct it, or add it
    ├── ConfigError               a file, variable or address is wrong: correct the configuration
    │   └── NoPool                nothing is at the address: make the pool
    ├── StoreError                the pool's database could not do it
    │   ├── StoreUnavailable      away, busy or full: the same call may be tried again later
    │   ├── StoreFailure          broken, read-only or foreign: trying again changes nothing
    │   └── Unsupported           this kind of store cannot do it; ``capabilities`` says so beforehand
    ├── Conflict                  somebody changed the document first: read it again, then decide
    │   └── ClaimLost             the token is no longer this pilot's; its result is superseded
    ├── TokenFailed               a call in the pool did not return: its message says what it raised
    ├── NothingMatched            a selection is empty
    └── WaitTimeout               the time allowed for waiting is over

``Conflict`` is both raised and returned: verbs on many documents return one per row that failed.
A store translates whatever its driver raises at its border; nothing else ever leaves it.
"""

from __future__ import annotations

__all__ = [
    "UNFIT",
    "ClaimLost",
    "ConfigError",
    "Conflict",
    "InvalidSelector",
    "InvalidToken",
    "NoPool",
    "NoSuchView",
    "NothingMatched",
    "PicasError",
    "StoreError",
    "StoreFailure",
    "StoreUnavailable",
    "TokenFailed",
    "Unsupported",
    "UsageError",
    "WaitTimeout",
]

UNFIT = 8
"""Exit code of `picas run` where nothing could be started on its machine: no error, so that it has no class."""


class PicasError(Exception):
    """Base of all errors of picas: ``message`` says what and which, ``hint`` what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PicasError):
    """The call itself is wrong; nothing was changed."""

    exit_code = 2


class InvalidToken(UsageError, ValueError):
    """A document breaks a rule that holds on every store; nothing was stored."""


class InvalidSelector(UsageError, ValueError):
    """A condition cannot be read or uses what is not supported."""


class NoSuchView(UsageError):
    """The pool has no view, or no design document, of that name."""


class ConfigError(PicasError):
    """A configuration file, an environment variable or a pool address is wrong."""

    exit_code = 3


class NoPool(ConfigError):
    """There is no pool at the address; ``picas init`` makes one."""


class StoreError(PicasError):
    """The pool's database did not do what was asked."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The store is away, busy or full; nothing was changed, and the call may be repeated."""


class StoreFailure(StoreError):
    """The store is damaged, read-only, or not a pool; repeating the call is pointless."""


class Unsupported(StoreError):
    """This kind of store cannot do it at all."""


class Conflict(PicasError):
    """The stored revision is not the one the caller had; nothing was changed."""

    exit_code = 5


class ClaimLost(Conflict):
    """The token was given to somebody else, or changed by a person, since it was claimed."""


class TokenFailed(PicasError):
    """A function that was called through a pool raised, was ended, or took its pilots with it."""


class NothingMatched(PicasError):
    """A selection matched no token."""

    exit_code = 6


class WaitTimeout(PicasError):
    """What was waited for did not come in the time allowed."""

    exit_code = 7
