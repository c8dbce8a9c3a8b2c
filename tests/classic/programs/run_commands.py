#!/usr/bin/env python
"""Run the shell line in each token's ``input``; its output and errors end up beside the token.

usage: run_commands.py [--tokens N] [--seconds-each S] [--retries N]
"""

import argparse
from pathlib import Path

from poolsettings import POOL, note

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.executers import execute
from picas.modifiers import BasicTokenModifier
from picas.util import Timer


class Shell(RunActor):
    def __init__(self, db, modifier, **kwargs):
        super().__init__(db, **kwargs)
        self.modifier = modifier
        self.timer = Timer()

    def prepare_env(self):
        note("begin")

    def process_task(self, token):
        for name, value in token.doc.items():
            print(name, value)
        self.subprocess, code, out, err = execute(["sh", "-c", token["input"], token["_id"]])
        token["exit_code"] = code
        token = self.modifier.close(token)
        for kind, data in (("out", out), ("err", err)):
            log = Path(f"logs_{token['_id']}.{kind}")
            log.write_bytes(data)
            token.put_attachment(log.name, log.read_bytes())

    def cleanup_run(self):
        note("ran", self.current_task.id)

    def cleanup_env(self):
        note("end")
        print(f"{self.tasks_processed} tokens in {self.timer.elapsed():.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--seconds-each", type=float, default=1800)
    parser.add_argument("--retries", type=int, default=0)
    args = parser.parse_args()
    actor = Shell(CouchDB(**POOL), BasicTokenModifier(), view="todo", design_doc="Monitor")
    actor.run(max_token_time=args.seconds_each, max_total_time=3600, max_tasks=args.tokens, max_scrub=args.retries)


if __name__ == "__main__":
    main()
