"""Documents as PiCaS programs hold them: a dict with an id, attachments, and verbs for a token's life.

Nothing here talks to a database: a verb changes the dict in memory, and saving it is the caller's.
"""

from __future__ import annotations

import base64
import mimetypes
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any
from uuid import uuid4

from picas import jobid
from picas.util import merge_dicts, seconds

__all__ = ["Document", "Job", "Task", "User"]

_ERROR_MARK = 99


class Document:
    """A dict seen as a document: ``document[name]`` is a field, ``.id`` and ``.rev`` its identity.

    ``data`` is a dict or another document, whose dict is then shared. Data from a database (it has a
    ``_rev``) is wrapped as it is; other data is put into a new dict on top of a copy of ``base``.
    """

    def __init__(self, data: dict[str, Any] | Document | None = None, base: Mapping[str, Any] | None = None) -> None:
        fields: dict[str, Any] = data.doc if isinstance(data, Document) else {} if data is None else data
        self.doc: dict[str, Any] = fields if "_rev" in fields else merge_dicts(base or {}, fields)

    def __repr__(self) -> str:
        # Identity only: tokens are large, and a user document holds a password.
        rev = f" rev {self.doc['_rev']}" if "_rev" in self.doc else ""
        return f"<{type(self).__name__} {self.doc.get('_id', 'without id')}{rev}>"

    def __len__(self) -> int:
        return len(self.doc)

    def __getitem__(self, name: str, /) -> Any:
        return self.doc[name]

    def __setitem__(self, name: str, value: Any, /) -> None:
        self.doc[name] = value

    def __delitem__(self, name: str, /) -> None:
        del self.doc[name]

    def __contains__(self, name: object, /) -> bool:
        return name in self.doc

    def __iter__(self) -> Iterator[str]:
        return iter(self.doc)

    @property
    def value(self) -> dict[str, Any]:
        """The dict itself, not a copy."""
        return self.doc

    @property
    def id(self) -> str:
        """The document's ``_id``; ``AttributeError`` when it has none."""
        return self._identity("_id", "the document has no _id yet")

    @id.setter  # noqa: A003 - the property above is meant, not the builtin
    def id(self, new_id: str) -> None:
        self.doc["_id"] = new_id

    @property
    def rev(self) -> str:
        """The document's ``_rev``; ``AttributeError`` when it is not from a database."""
        return self._identity("_rev", "the document has no _rev: it was not read from or saved to a database")

    def _identity(self, field: str, complaint: str) -> str:
        try:
            found: str = self.doc[field]
        except KeyError as error:
            raise AttributeError(complaint) from error
        return found

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Set several fields at once."""
        self.doc.update(values)

    def put_attachment(self, name: str, data: str | bytes, mimetype: str | None = None) -> None:
        """Attach ``data`` under ``name``, in place of what had that name; text is stored as UTF-8.

        Without ``mimetype`` it is guessed from the name, else ``text/plain``. The bytes go, base64-coded,
        into ``_attachments``, and to the database when the document is saved.
        """
        content = data.encode() if isinstance(data, str) else data
        self.doc.setdefault("_attachments", {})[name] = {
            "content_type": mimetype or mimetypes.guess_type(name)[0] or "text/plain",
            "data": base64.b64encode(content).decode(),
        }

    def get_attachment(self, name: str, retrieve_from_database: Any = None) -> dict[str, Any]:
        """Give ``{content_type, data, ...}`` of an attachment, ``data`` as bytes; ``KeyError`` when missing.

        A document read from a database may know an attachment without holding its bytes. They are then
        fetched through ``retrieve_from_database.db.get_attachment(id, name)`` and kept in the document;
        without a database the result has no ``data``.
        """
        entry = self._attachment(name)
        if "data" not in entry and retrieve_from_database is not None:
            content = _fetched(retrieve_from_database, self.id, name)
            entry["data"] = base64.b64encode(content).decode()
            # With its bytes it is no stub any more: a store that reads "stub" would not look at "data".
            entry.pop("stub", None)
        attachment = {key: value for key, value in entry.items() if key != "data"}
        if "data" in entry:
            attachment["data"] = base64.b64decode(entry["data"])
        return attachment

    def remove_attachment(self, name: str) -> Document:
        """Take an attachment out of the document and give the document; ``KeyError`` when missing."""
        self._attachment(name)
        del self.doc["_attachments"][name]
        return self

    def _attachment(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] | None = self.doc.get("_attachments", {}).get(name)
        if entry is None:
            raise KeyError(name)
        return entry


class User(Document):
    """A CouchDB user, to be saved in ``_users``, where the server replaces the password by its hash."""

    def __init__(
        self,
        username: str,
        password: str,
        roles: list[str] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        base = {
            "_id": f"org.couchdb.user:{username}",
            "name": username,
            "type": "user",
            "password": password,
            "roles": roles or [],
        }
        super().__init__(data, base)


def _field(name: str, meaning: str) -> property:
    """Make a property of a document's field; reading it raises ``KeyError`` while the field is missing."""

    def read(document: Document) -> Any:
        return document[name]

    def write(document: Document, value: Any) -> None:
        document[name] = value

    return property(read, write, doc=meaning)


class Task(Document):
    """A token: one piece of work, with the verbs that move it through its life.

    The verbs give the task itself, so that they can be chained. They work on any dict; what a token from
    elsewhere lacks counts as not set.
    """

    input = _field("input", "What the work is about, as the application put it there.")
    output = _field("output", "What came out of the work.")
    uploads = _field("uploads", "Where results were uploaded to.")

    def __init__(self, task: dict[str, Any] | Document | None = None) -> None:
        base = {
            "type": "task",
            "lock": 0,
            "done": 0,
            "hostname": "",
            "scrub_count": 0,
            "input": {},
            "exit_code": "",
            "output": {},
            "uploads": {},
            "error": [],
        }
        super().__init__(task, base)
        if "_id" not in self.doc:
            self.id = f"task_{uuid4().hex}"

    def lock(self) -> Task:
        """Mark the token as taken: now, on this host, in this batch job."""
        self.doc["lock"] = seconds()
        self.doc["hostname"] = socket.gethostname()
        jobid.add_job_id(self.doc)
        return self

    def done(self) -> Task:
        """Mark the token as finished now; whether well or not is ``exit_code``'s to say."""
        self.doc["done"] = seconds()
        return self

    def scrub(self) -> Task:
        """Put the token back for another try, counted in ``scrub_count``; this host is noted, no batch job."""
        self.doc["scrub_count"] = self.doc.get("scrub_count", 0) + 1
        self.doc.update(lock=0, done=0, hostname=socket.gethostname())
        jobid.remove_job_id(self.doc)
        return self

    def error(self, msg: Any = None, exception: Any = None) -> Task:
        """Mark the token as failed for good and append ``{time, message, exception}`` to its errors.

        ``message`` and ``exception`` (a traceback) are left out when not given.
        """
        entry: dict[str, Any] = {"time": seconds()}
        if msg is not None:
            entry["message"] = str(msg)
        if exception is not None:
            entry["exception"] = _traceback_of(exception)
        self.doc.update(lock=_ERROR_MARK, done=_ERROR_MARK, error=[*self.get_errors(), entry])
        return self

    def has_error(self) -> bool:
        """Tell whether ``error()`` ended the token; a bad exit code alone does not count."""
        return bool(self.doc.get("lock") == _ERROR_MARK)

    def is_done(self) -> bool:
        """Tell whether the token has ended, well or not."""
        return bool(self.doc.get("done", 0) != 0)

    def get_errors(self) -> list[Any]:
        """Give what ``error()`` recorded, oldest first; ``[]`` when there is nothing."""
        # An application may keep something of its own under this name: one entry, whatever it is.
        errors = self.doc.get("error") or []
        return errors if isinstance(errors, list) else [errors]


class Job(Document):
    """Work with its times written down: queued, started, done, archived (unix seconds, 0 when not yet)."""

    def __init__(self, job: dict[str, Any] | Document) -> None:
        base = {
            "type": "job",
            "hostname": "",
            "start": 0,
            "done": 0,
            "queue": 0,
            "method": "",
            "archive": 0,
        }
        super().__init__(job, base)
        if "_id" not in self.doc:
            raise ValueError("a job needs an _id")

    def queue(self, method: str, host: str | None = None) -> Job:
        """Note that it was queued now, by which method and, when given, for which host."""
        self.doc.update(method=method, queue=seconds())
        if host is not None:
            self.doc["hostname"] = host
        return self

    def start(self) -> Job:
        """Note that it started now, on this host; an earlier end is forgotten."""
        self.doc.update(start=seconds(), done=0, archive=0, hostname=socket.gethostname())
        return self

    def finish(self) -> Job:
        """Note that it ended now."""
        self.doc["done"] = seconds()
        return self

    def archive(self) -> Job:
        """Turn it into a new document ``archived-ID-SECONDS``, ended now unless it had ended before.

        Saving it adds that document; deleting the one under the old id is the caller's.
        """
        now = seconds()
        if self.doc.get("done", 0) <= 0:
            self.doc["done"] = now
        self.doc["archive"] = now
        self.id = f"archived-{self.id}-{now}"
        self.doc.pop("_rev", None)
        return self

    def is_done(self) -> bool:
        """Tell whether it has ended."""
        return bool(self.doc.get("done", 0) != 0)


def _fetched(database: Any, doc_id: str, name: str) -> bytes:
    stream = database.db.get_attachment(doc_id, name)
    if stream is None:
        raise KeyError(name)
    if not hasattr(stream, "read"):
        return b"".join(stream)
    with closing(stream):
        content: bytes = stream.read()
    return content


def _traceback_of(exception: Any) -> str:
    if isinstance(exception, BaseException):
        return "".join(traceback.format_exception(exception))
    # Programs also pass a mere mark, or sys.exc_info(): the exception being handled is then meant.
    return traceback.format_exc() if sys.exc_info()[0] else str(exception)
