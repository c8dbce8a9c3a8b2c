"""Time N tasks on a local HyperQueue server with one worker; run in HyperQueue's own environment.

HyperQueue's server listens on every interface, so this is to be started in a network of its own
(``unshare --user --map-root-user --net``), in which it first switches the loopback device on.
"""

import argparse
import fcntl
import json
import signal
import socket
import struct
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster  # type: ignore[import-not-found]
from hyperqueue.cluster import WorkerConfig  # type: ignore[import-not-found]

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def loopback_up() -> None:
    """Switch ``lo`` on in this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def build(what: str, count: int) -> Job:
    """A job of ``count`` tasks: /bin/true without output files, echo with HyperQueue's default files."""
    job = Job(max_fails=None)
    for _ in range(count):
        if what == "true":
            job.program(["/bin/true"], stdout=None, stderr=None)
        else:
            job.program(["sh", "-c", "echo hello"])
    return job


def main() -> None:
    """Print ``{"seconds": ...}`` from building the job until its last result is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["true", "echo"])
    parser.add_argument("count", type=int)
    parser.add_argument("slots", type=int)
    parser.add_argument("timeout", type=int)
    args = parser.parse_args()
    signal.alarm(args.timeout)
    loopback_up()
    with LocalCluster(server_dir=str(Path.cwd() / "server"), worker_config=WorkerConfig(cores=args.slots)) as cluster:
        client = cluster.client()
        start = time.monotonic()
        client.wait_for_jobs([client.submit(build(args.what, args.count))])
        print(json.dumps({"seconds": time.monotonic() - start}))


main()
