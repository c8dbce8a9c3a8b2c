"""The limit: a process that writes each of its documents twice, as claimed and as done, and claims nothing.

Run as ``python -S``, with nothing but the standard library. A batch of one is a PUT for each write; of more it is a
``_bulk_docs`` with the results of one batch and the claims of the next, as pilots of picas make them.
"""

import base64
import http.client
import json
import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gate import Pilot

Doc = dict[str, Any]


class Database:
    """A database over one connection."""

    def __init__(self, pilot: Pilot) -> None:
        parts = urlsplit(pilot.server)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=60)
        self._path = f"{parts.path}/{quote(pilot.database, safe='')}"
        login = base64.b64encode(f"{pilot.username}:{pilot.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"} if pilot.username is not None else {}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers; an error ends the process."""
        headers = {**self._headers, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, self._path + path, body=data, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text)

    def docs(self, first: str, last: str) -> list[Doc]:
        """The documents from one id to another."""
        ends = {"startkey": json.dumps(first), "endkey": json.dumps(last), "include_docs": "true"}
        return [row["doc"] for row in self.request("GET", f"/_all_docs?{urlencode(ends)}")["rows"]]

    def put(self, doc: Doc) -> None:
        """Write one document."""
        doc["_rev"] = self.request("PUT", f"/{doc['_id']}", doc)["rev"]

    def bulk(self, docs: list[Doc]) -> None:
        """Write many."""
        for doc, row in zip(docs, self.request("POST", "/_bulk_docs", {"docs": docs})):  # noqa: B905 - no newer
            doc["_rev"] = row["rev"]


def lock(doc: Doc, pilot: str) -> Doc:
    """The document with what a claim writes."""
    now = int(time.time())
    doc.update(lock=now, hostname="limit", fence=1, claim={"fence": 1, "pilot": pilot, "at": now})
    return doc


def close(doc: Doc) -> Doc:
    """The document with what a settlement writes."""
    del doc["claim"]
    doc.update(done=int(time.time()), exit_code=0, reason="exit")
    return doc


def one_by_one(database: Database, docs: list[Doc], pilot: Pilot) -> None:
    """Two requests for each document."""
    for doc in docs:
        database.put(lock(doc, "limit"))
        database.put(close(doc))
        pilot.settled()


def in_batches(database: Database, docs: list[Doc], pilot: Pilot) -> None:
    """One request for each batch, and one more."""
    held: list[Doc] = []
    for start in range(0, len(docs) + pilot.batch, pilot.batch):
        following = docs[start : start + pilot.batch]
        if held or following:
            database.bulk([close(doc) for doc in held] + [lock(doc, "limit") for doc in following])
            pilot.settled()
        held = following


def main() -> None:
    """Read the documents that are this process's own, wait at the gate, and write them."""
    pilot = Pilot()
    database = Database(pilot)
    docs = database.docs(pilot.told["first"], pilot.told["last"])
    with pilot.at_work():
        (one_by_one if pilot.batch == 1 else in_batches)(database, docs, pilot)
    pilot.ran(doc["_id"] for doc in docs)


main()
