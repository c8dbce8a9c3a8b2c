#!/usr/bin/env python
"""A pool looked after with the couchdb package, as before there were tools for it; pilots beside it use picas.

usage: old_tools.py views | push N | work | reset VIEW HOURS | delete VIEW | clash
"""

# ruff: noqa: I001 - what else is called couchdb in this repository is not meant
import sys
import time

import couchdb
from couchdb.design import ViewDefinition
from couchdb.http import ResourceConflict, ResourceNotFound
from poolsettings import POOL, note

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.documents import Document, Task
from picas.iterators import TaskViewIterator
from picas.modifiers import BasicTokenModifier

CONDITIONS = {
    "todo": "doc.lock == 0 && doc.done == 0",
    "locked": "doc.lock > 0 && doc.done == 0",
    "done": "doc.lock > 0 && doc.done > 0 && parseInt(doc.exit_code) == 0",
    "error": "doc.lock > 0 && doc.done > 0 && parseInt(doc.exit_code) != 0",
}


def database():
    server = couchdb.Server(POOL["url"])
    server.resource.credentials = (POOL["username"], POOL["password"])
    return server[POOL["db"]]


def views():
    """The five views that people watch a pool by."""
    db = database()
    for name, condition in CONDITIONS.items():
        code = f'function (doc) {{ if (doc.type == "token" && {condition}) {{ emit(doc._id, doc._id); }} }}'
        ViewDefinition("Monitor", name, code).sync(db)
    tests = " ".join(f'if ({condition}) {{ emit("{name}", 1); }}' for name, condition in CONDITIONS.items())
    total = f'function (doc) {{ if (doc.type == "token") {{ {tests} }} }}'
    ViewDefinition("Monitor", "overview_total", total, "function (keys, values) { return sum(values); }").sync(db)


def push(count):
    """Half of the tokens by each of the two packages; every third of them is going to fail at first."""
    fields = {"type": "token", "lock": 0, "done": 0, "exit_code": "", "hostname": "", "scrub_count": 0}
    docs = [{"_id": f"token_{n}", **fields, "input": n, "flawed": n % 3 == 0} for n in range(int(count))]
    half = len(docs) // 2
    for doc in docs[:half]:
        database().save(doc)
    print(CouchDB(**POOL).save_documents([Task(doc) for doc in docs[half:]]))


class Worker(RunActor):
    def process_task(self, token):
        note("ran", token["_id"])
        token["exit_code"] = 1 if token["flawed"] and token["scrub_count"] == 0 else 0
        token.put_attachment("result.txt", str(token["input"] ** 2))
        BasicTokenModifier().close(token)


def work():
    Worker(CouchDB(**POOL)).run(max_token_time=60)


def lock_one():
    """Claim a token and walk off with it."""
    print(next(TaskViewIterator(CouchDB(**POOL), "todo")).id)


def reset(view, hours):
    """Give tokens another try that were locked so long ago."""
    db = database()
    again = []
    for row in db.view(view):
        doc = db[row["key"]]
        if time.time() - doc["lock"] >= float(hours) * 3600:
            doc.update(lock=0, done=0, hostname="", exit_code="", scrub_count=doc["scrub_count"] + 1)
            doc.pop("_attachments", None)
            again.append(doc)
    print([saved for saved, _, _ in db.update(again)])


def delete(view):
    db = database()
    for row in db.view(view):
        db.delete(db[row["key"]])


def clash():
    """What two that change the same token get to see, whichever package they use."""
    db, client = database(), CouchDB(**POOL)
    ours, theirs = client.get("token_0"), db["token_0"]
    db.save(theirs)
    for act, doc in ((client.save, ours), (client.save, Document({"_id": "token_0"})), (client.delete, ours)):
        try:
            act(doc)
        except ResourceConflict as conflict:
            print("conflict", act.__name__, conflict)
    client.save(client.get("token_0"))
    try:
        db.save(theirs)
    except ResourceConflict:
        print("conflict theirs")
    try:
        list(client.view("todo", design_doc="Nowhere"))
    except ResourceNotFound:
        print("no such view")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
