"""The limit: one process that spawns commands one after another as fast as Python can, and nothing else.

Run by `limit.py` as ``python -I -S``: a small process without threads, with three open files (five when it
captures). It says "ready", waits for a line on its standard input, and answers with two monotonic times.
"""

import os
import sys
import time


def spawn_true(count: int, env: dict[str, str]) -> None:
    """Run /bin/true ``count`` times."""
    spawn, wait, argv = os.posix_spawn, os.waitpid, ["/bin/true"]
    for _ in range(count):
        if wait(spawn("/bin/true", argv, env), 0)[1]:
            raise SystemExit("/bin/true failed")


def spawn_echo(count: int, env: dict[str, str]) -> None:
    """Run ``sh -c 'echo hello'`` ``count`` times, and read both streams from pipes after each exit."""
    spawn, wait, read, argv = os.posix_spawn, os.waitpid, os.read, ["sh", "-c", "echo hello"]
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    os.set_blocking(err, False)
    actions = [(os.POSIX_SPAWN_DUP2, out_end, 1), (os.POSIX_SPAWN_DUP2, err_end, 2)]
    for _ in range(count):
        status = wait(spawn("/bin/sh", argv, env, file_actions=actions), 0)[1]
        if status or read(out, 65536) != b"hello\n":
            raise SystemExit("echo failed")
        try:
            read(err, 65536)
        except BlockingIOError:
            continue  # nothing was said on stderr, as it should be


def main() -> None:
    """Arguments: ``true`` or ``echo``, how many, and ``small`` or ``own`` for the environment."""
    what, count, environment = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    env = dict(os.environ) if environment == "own" else {"PATH": "/usr/bin:/bin"}
    run = {"true": spawn_true, "echo": spawn_echo}[what]
    os.write(1, b"ready\n")
    os.read(0, 1)
    start = time.monotonic()
    run(count, env)
    print(start, time.monotonic())


main()
