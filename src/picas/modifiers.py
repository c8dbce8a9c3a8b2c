"""PiCaS token modifiers: the verbs of a token's life as methods of an object that is given the token.

They change the token in memory and give it back; saving it is the caller's. ``picas.documents.Task`` has
the same verbs on the token itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from picas.jobid import Fields, add_job_id, remove_job_id
from picas.util import seconds

__all__ = ["BasicTokenModifier", "NestedTokenModifier", "TokenModifier"]

Token = TypeVar("Token", bound=Fields)
Record = TypeVar("Record")


class TokenModifier:
    """The verbs that a modifier has; each raises ``NotImplementedError`` until a subclass defines it."""

    def __init__(self, timeout: int = 86400) -> None:
        self.timeout = timeout

    def lock(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the token as taken."""
        raise NotImplementedError("lock")

    def unlock(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the token as free."""
        raise NotImplementedError("unlock")

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the token as finished."""
        raise NotImplementedError("close")

    def unclose(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the token as not finished."""
        raise NotImplementedError("unclose")

    def add_output(self, *args: Any, **kwargs: Any) -> Any:
        """Put results into the token."""
        raise NotImplementedError("add_output")

    def scrub(self, *args: Any, **kwargs: Any) -> Any:
        """Put the token back for another try."""
        raise NotImplementedError("scrub")

    def set_error(self, *args: Any, **kwargs: Any) -> Any:
        """Mark the token as failed for good."""
        raise NotImplementedError("set_error")


class BasicTokenModifier(TokenModifier):
    """Modify a token: a dict, or a ``Document`` around one. Every verb gives the token."""

    def lock(self, token: Token) -> Token:
        """Mark it as taken: now, on this host, in this batch job."""
        add_job_id(token)
        return _set(token, hostname=socket.gethostname(), lock=seconds())

    def unlock(self, token: Token) -> Token:
        """Mark it as free; this host is noted, the batch job forgotten. ``done`` stays as it is."""
        remove_job_id(token)
        return _set(token, hostname=socket.gethostname(), lock=0)

    def close(self, token: Token) -> Token:
        """Mark it as finished now."""
        return _set(token, done=seconds())

    def unclose(self, token: Token) -> Token:
        """Mark it as not finished; the batch job is forgotten."""
        remove_job_id(token)
        return _set(token, done=0)

    def add_output(self, token: Token, output: Mapping[str, Any]) -> Token:
        """Set the fields of ``output`` in the token itself, not in its field of that name."""
        return _set(token, **output)

    def scrub(self, token: Token) -> Token:
        """Count another try in ``scrub_count`` and unlock it."""
        if "scrub_count" not in token:
            token["scrub_count"] = 0
        return self.unlock(_set(token, scrub_count=token["scrub_count"] + 1))

    def set_error(self, token: Token) -> Token:
        """Mark it as failed for good: lock and done 99."""
        return _set(token, lock=99, done=99)


class NestedTokenModifier(TokenModifier):
    """Modify a token inside a record, and give the record.

    ``ref`` says where: a key of the record, or a list whose items after the first lead into it (the first
    is the record's own name in the views that emit such lists). ``KeyError`` when nothing is there.
    """

    def __init__(self, timeout: int = 86400) -> None:
        super().__init__(timeout)
        self.tokenmodifier = BasicTokenModifier()

    def get_token(self, ref: Any, record: Any) -> Any:
        """Give the token that ``ref`` leads to."""
        token = record
        for step in ref[1:] if isinstance(ref, list) else [ref]:
            token = token[step]
        return token

    def _modify(self, verb: Callable[..., Any], ref: Any, record: Record, *args: Any) -> Record:
        verb(self.get_token(ref, record), *args)
        return record

    def lock(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.lock``."""
        return self._modify(self.tokenmodifier.lock, ref, record)

    def unlock(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.unlock``."""
        return self._modify(self.tokenmodifier.unlock, ref, record)

    def close(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.close``."""
        return self._modify(self.tokenmodifier.close, ref, record)

    def unclose(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.unclose``."""
        return self._modify(self.tokenmodifier.unclose, ref, record)

    def add_output(self, ref: Any, record: Record, output: Mapping[str, Any]) -> Record:
        """As ``BasicTokenModifier.add_output``."""
        return self._modify(self.tokenmodifier.add_output, ref, record, output)

    def scrub(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.scrub``."""
        return self._modify(self.tokenmodifier.scrub, ref, record)

    def set_error(self, ref: Any, record: Record) -> Record:
        """As ``BasicTokenModifier.set_error``."""
        return self._modify(self.tokenmodifier.set_error, ref, record)


def _set(token: Token, /, **fields: Any) -> Token:
    for name, value in fields.items():
        token[name] = value
    return token
