#!/usr/bin/env python
"""Work what is urgent before what is not, also when it comes in between.

usage: urgent_first.py [--make-views] [--high VIEW] [--low VIEW] [--design DESIGN]
"""

import argparse

from poolsettings import POOL, note

from picas.actors import AbstractRunActor
from picas.clients import CouchDB
from picas.documents import Task
from picas.iterators import PrioritizedViewIterator

CONDITION = 'doc.type == "token" && doc.lock == 0 && doc.done == 0 && doc.urgent == %s'
EMIT_IF = "function (doc) { if (%s) { emit(doc._id, doc._id); } }"


class Desk(AbstractRunActor):
    def process_task(self, task):
        note("ran", task.id)
        if "interrupted_by" in task:
            late = Task({"_id": task["interrupted_by"], "type": "token", "urgent": True})
            self.db.save(late)
        task["exit_code"] = 0
        task.done()


def make_views(client):
    """Views of the same name in two design documents, and two views in one."""
    for urgent, design, view in ((True, "Urgent", "hurry"), (False, "Calm", "take_it_easy")):
        code = EMIT_IF % CONDITION % str(urgent).lower()
        client.add_view("todo", code, design_doc=design)
        client.add_view(view, code, design_doc="Desk")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--make-views", action="store_true")
    parser.add_argument("--high", default="Urgent/todo")
    parser.add_argument("--low", default="Calm/todo")
    parser.add_argument("--design", default="Monitor")
    args = parser.parse_args()
    client = CouchDB(**POOL)
    if args.make_views:
        make_views(client)
    else:
        Desk(client, PrioritizedViewIterator(client, args.high, args.low, design_doc=args.design)).run()


if __name__ == "__main__":
    main()
