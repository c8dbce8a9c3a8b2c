"""PiCaS's log handler: what a program logs, as documents of type ``log`` beside its tokens."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from typing import Any
from uuid import uuid4

from picas.clients import Client, CouchDB
from picas.config import read_url, without_credentials
from picas.documents import Document
from picas.errors import Conflict, StoreUnavailable

__all__ = ["CouchDBLogger", "default_log_formatter"]

default_log_formatter = logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")

_TRIES = 10
_PAUSE = 0.5


class CouchDBLogger(logging.Handler):
    """Store each record in the database ``db`` at ``url``, which are those of ``picas.clients.CouchDB``. The
    URL of a server may have ``user:password@`` before its host.

    While the database is away a record is tried for five seconds, those after it once; one that could not be stored
    goes to stderr by ``handleError``, and never as an exception into the program. User names and passwords in
    URLs are left out of the documents. Any thread may log, and a forked child.
    """

    def __init__(self, url: str, db: str) -> None:
        self.db = _open(url, db)
        super().__init__()
        self.hostname = socket.gethostname()
        self.trace_nr = random.randrange(100_000)
        self._own = threading.local()
        self._own.client, self._own.pid = self.db, os.getpid()
        self._writing = False
        self._away = False

    def emit(self, record: logging.LogRecord) -> None:
        """Store a record."""
        if self._writing:
            return  # what the writing itself logs would be written without end
        self._writing = True
        try:
            self._save(Document(self._fields(record)))
        except Exception:  # noqa: BLE001 - the record is lost, and said to be; the program and its token go on
            self.handleError(record)
        finally:
            self._writing = False

    def close(self) -> None:
        """Close the database for this thread; those of other threads close when they end."""
        super().close()
        if getattr(self._own, "pid", None) == os.getpid():
            self._own.client.db.close()

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        message = without_credentials(record.getMessage())
        return {
            "_id": f"{self.hostname}:{int(record.created)}:{uuid4().hex}",
            "type": "log",
            "lvl": record.levelno,
            # Half characters and NUL, which no database takes.
            "msg": message.encode("utf-8", "replace").decode().replace("\0", "?"),
            "created": record.created,
            "func": record.funcName,
            "host": self.hostname,
            # So spelled in every pool that has such documents.
            "trance_nr": self.trace_nr,
        }

    def _save(self, doc: Document) -> None:
        tries = 1 if self._away else _TRIES
        while True:
            tries -= 1
            try:
                self._client().save(doc)
            except Conflict:
                break  # nobody else has this id: an earlier try did arrive
            except StoreUnavailable:
                self._away = True
                if not tries:
                    raise
                time.sleep(_PAUSE)
            else:
                break
        self._away = False

    def _client(self) -> Client:
        """The client of this thread in this process: a store serves one thread, and no child."""
        if getattr(self._own, "pid", None) != os.getpid():
            self._own.client, self._own.pid = self.db.copy(), os.getpid()
        client: Client = self._own.client
        return client


def _open(url: str, db: str) -> CouchDB:
    if "://" not in url:
        return CouchDB(url=url, db=db)
    address = read_url(url, CouchDBLogger.__name__)
    password = address.password.reveal() if address.password else ""
    return CouchDB(url=address.url, db=db, username=address.username, password=password)
