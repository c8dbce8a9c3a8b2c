#!/usr/bin/env python
"""Work tokens as they come in, until enough are done or somebody says that it is over.

usage: wait_for_work.py (--until-file PATH | --until-done N)
"""

import argparse
from pathlib import Path

from poolsettings import POOL, note

from picas import CouchDB, EndlessViewIterator, RunActor


class Shift(RunActor):
    def __init__(self, db, **stop):
        super().__init__(db)
        self.iterator = EndlessViewIterator(self.iterator, sleep_sec=0.2, **stop)

    def process_task(self, task):
        note("ran", task.id)
        task.output = {"length": len(task.input)}
        task["exit_code"] = 0
        task.done()


def is_over(path):
    return Path(path).exists()


def has_done(actor, wanted):
    print("finished", actor.current_task.id)
    return actor.tasks_processed >= wanted


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until-file")
    parser.add_argument("--until-done", type=int)
    args = parser.parse_args()
    client = CouchDB(**POOL)
    if args.until_file:
        actor = Shift(client, stop_callback=is_over, path=args.until_file)
        note("waiting")
        actor.run()
    else:
        actor = Shift(client)
        note("waiting")
        actor.run(max_total_time=120, stop_function=has_done, actor=actor, wanted=args.until_done)
    note("over", actor.tasks_processed)


if __name__ == "__main__":
    main()
