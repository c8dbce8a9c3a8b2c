#!/usr/bin/env python
"""Run each token's shell line, or spin where it says ``spin``; heard of by the pool three times a second.

usage: steered.py [--retries N]
"""

import argparse
import subprocess
import time

from poolsettings import POOL, note

from picas import CouchDB, RunActor


class Steered(RunActor):
    lease = 1.0

    def process_task(self, task):
        note("begun", task.id)
        if task.input == "spin":
            while True:
                time.sleep(0.01)
        with subprocess.Popen(["sh", "-c", task.input]) as child:
            note("child", child.pid)
            task["exit_code"] = child.wait()
        task.done()

    def cleanup_run(self):
        note("ran", self.current_task.id)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retries", type=int, default=0)
    Steered(CouchDB(**POOL)).run(max_scrub=parser.parse_args().retries)
    note("over")


if __name__ == "__main__":
    main()
