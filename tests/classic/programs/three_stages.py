#!/usr/bin/env python
"""Work in three stages: each token that is done brings about those of the next.

usage: three_stages.py [--start N]
"""

import argparse

from poolsettings import POOL, note

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.documents import Task


def token(name, stage, source):
    return Task({"_id": f"{name}-{stage}", "type": "token", "stage": stage, "input": source})


class Stages(RunActor):
    """Stage 1 hands on to 2 while it works, 2 to two of 3 when it is saved, and 3 is the end."""

    def process_task(self, task):
        note("ran", task.id)
        if task["stage"] == 1:
            doubled = 2 * task.input
            task.output = self.db.save(token(task.id, "2", {"number": doubled, "from": task.id})).id
        elif task["stage"] == "2":
            task.output = task.input["number"] + 1
        else:
            task.output = self.db.get(task.input).value["output"] * task["factor"]
        task["exit_code"] = 0
        task.done()

    def cleanup_run(self):
        done = self.current_task
        if done["stage"] == "2":
            following = [token(f"{done.id}-{factor}", "3", done.id) for factor in (10, 100)]
            for task in following:
                task["factor"] = int(task.id.split("-")[3])
            assert all(self.db.save_documents(following))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=int, default=0)
    args = parser.parse_args()
    client = CouchDB(**POOL)
    first = [token(f"n{number}", 1, number) for number in range(args.start)]
    print(client.save_documents(first))
    actor = Stages(client)
    actor.run()
    print(actor.tasks_processed, "tokens")


if __name__ == "__main__":
    main()
