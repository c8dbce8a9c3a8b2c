"""The systems that picas is measured beside, each in an environment of its own under ``.bench/``.

``python benchmarks/peers.py install [NAME ...]`` makes the environments; ``peers.py list`` says what is there.
A peer's time runs from submission to the last result. Where it has a server, that is up and its workers are
connected before; where one command does everything, it is that command's time, as it is for picas.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from programs import Failed, Finished, run

__all__ = ["PEERS", "PICASCLIENT", "Contest", "Peer", "python_of"]

ROOT = Path(__file__).resolve().parent.parent / ".bench"
DRIVERS = Path(__file__).resolve().parent / "drivers"
COMMANDS = {"true": "/bin/true", "echo": "sh -c 'echo hello'"}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What is to be run: ``count`` commands of a kind (``true`` or ``echo``), in an empty folder."""

    what: str
    count: int
    slots: int
    folder: Path
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way of running commands with another system.

    ``usual`` is about how many tokens per second it does (to choose a number that ends in time), ``time`` runs a
    contest and returns its seconds, ``remark`` is keyed by the kind of command. Without ``requirement`` it is a
    program of the system, ``program`` on the PATH.
    """

    name: str
    group: str
    usual: float
    time: Callable[[Contest], float]
    remark: dict[str, str]
    program: str
    requirement: str = ""

    @property
    def missing(self) -> str:
        """What to do when the peer is not there; empty when it is."""
        if not self.requirement:
            return "" if shutil.which(self.program) else f"not installed: {self.program} is not on the PATH"
        if (_bin(self.group) / self.program).exists():
            return ""
        return f"not installed: python benchmarks/peers.py install {self.group}"


def _bin(group: str) -> Path:
    return ROOT / group / "bin"


def _driver(contest: Contest, group: str, script: str, what: str, *, prefix: tuple[str, ...] = ()) -> float:
    """Run one of the drivers with a peer's own Python; the seconds it printed."""
    numbers = [contest.count, contest.slots, int(contest.timeout)]
    argv = [*prefix, str(_bin(group) / "python"), str(DRIVERS / script), what, *map(str, numbers)]
    env = {"PATH": f"{_bin(group)}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    return _seconds(run(argv, folder=contest.folder, timeout=contest.timeout + 15, env=env))


def _seconds(finished: Finished) -> float:
    for line in reversed(finished.output.splitlines()):
        if line.startswith('{"seconds"'):
            return float(json.loads(line)["seconds"])
    raise Failed("it did not say how long it took")


def _hyperqueue(contest: Contest) -> float:
    # Its server listens on every interface: a network with nothing but loopback keeps it to this machine.
    own_network = ("unshare", "--user", "--map-root-user", "--net", "--")
    return _driver(contest, "hyperqueue", "hyperqueue_tasks.py", contest.what, prefix=own_network)


def _parsl(contest: Contest) -> float:
    return _driver(contest, "parsl", "parsl_tasks.py", contest.what)


def _parsl_function(contest: Contest) -> float:
    return _driver(contest, "parsl", "parsl_tasks.py", "function")


def _hypershell(contest: Contest, database: bool) -> float:
    """Time ``hsx`` as a user's command; a first one of two tasks has made its keys and folders."""
    site = contest.folder / "site"
    site.mkdir()
    env = {"HYPERSHELL_SITE": str(site), "HYPERSHELL_LOGGING_LEVEL": "warning"}
    tasks = contest.folder / "tasks"
    argv = [str(_bin("hypershell") / "hsx"), str(tasks), "-N", str(contest.slots), "-b", "100"]
    argv += ["--capture"] if contest.what == "echo" else []
    argv += ["--initdb"] if database else ["--no-db"]
    for count in (2, contest.count):
        tasks.write_text(f"{COMMANDS[contest.what]}\n" * count)
        if database:
            path = contest.folder / f"tasks-{count}.db"
            env |= {"HYPERSHELL_DATABASE_PROVIDER": "sqlite", "HYPERSHELL_DATABASE_FILE": str(path)}
        argv_now = [*argv, "-p", str(_free_port())]
        finished = run(argv_now, folder=contest.folder, timeout=contest.timeout, env=env)
    return finished.seconds


def _hypershell_memory(contest: Contest) -> float:
    return _hypershell(contest, database=False)


def _hypershell_database(contest: Contest) -> float:
    return _hypershell(contest, database=True)


def _xargs(contest: Contest) -> float:
    words = contest.folder / "words"
    words.write_text("".join(f"{n}\n" for n in range(contest.count)))
    command = ["/bin/true"] if contest.what == "true" else ["sh", "-c", "echo hello"]
    argv = ["xargs", "-a", str(words), "-n", "1", "-P", str(contest.slots), *command]
    return run(argv, folder=contest.folder, timeout=contest.timeout).seconds


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_HQ, _PARSL, _HS = "hyperqueue==0.27.0", "parsl", "hypershell"

PEERS = (
    Peer(
        name="HyperQueue",
        group="hyperqueue",
        usual=450,
        time=_hyperqueue,
        remark={"true": "no journal, output to /dev/null", "echo": "no journal, output to files"},
        program="python",
        requirement=_HQ,
    ),
    Peer(
        name="Parsl HTEX bash_app",
        group="parsl",
        usual=400,
        time=_parsl,
        remark={"true": "no record, output inherited", "echo": "no record, output to files"},
        program="parsl-perf",
        requirement=_PARSL,
    ),
    Peer(
        name="Parsl HTEX python_app",
        group="parsl",
        usual=800,
        time=_parsl_function,
        remark={"true": "runs a Python function, no command"},
        program="parsl-perf",
        requirement=_PARSL,
    ),
    Peer(
        name="HyperShell",
        group="hypershell",
        usual=250,
        time=_hypershell_memory,
        remark={"true": "no record, output inherited", "echo": "no record, output to files"},
        program="hsx",
        requirement=_HS,
    ),
    Peer(
        name="HyperShell with SQLite",
        group="hypershell",
        usual=200,
        time=_hypershell_database,
        remark={"true": "output inherited", "echo": "output to files"},
        program="hsx",
        requirement=_HS,
    ),
    Peer(
        name="xargs -P",
        group="xargs",
        usual=1500,
        time=_xargs,
        remark={"true": "no record, output inherited", "echo": "no record, output to one file"},
        program="xargs",
    ),
)


PICASCLIENT = "picasclient"
"""It runs programs that are written for it, and no commands: `couchdb.py` measures it."""

REQUIREMENTS = {peer.group: peer.requirement for peer in PEERS if peer.requirement} | {PICASCLIENT: "picas==1.1.2"}


def python_of(group: str) -> Path:
    """The Python of a peer's environment; Failed when there is none."""
    python = _bin(group) / "python"
    if not python.exists():
        raise Failed(f"not installed: python benchmarks/peers.py install {group}")
    return python


def install(group: str) -> None:
    """Make the environment of a peer afresh, with the versions of Python and pip that run this."""
    requirement = REQUIREMENTS[group]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ROOT / group)], check=True)
    subprocess.run([str(_bin(group) / "python"), "-m", "pip", "install", "--quiet", requirement], check=True)
    print(f"{group}: installed {requirement}")


def _presence(group: str) -> str:
    try:
        python_of(group)
    except Failed as missing:
        return str(missing)
    return "installed"


def main() -> int:
    """``install [NAME ...]`` or ``list``."""
    groups = sorted(REQUIREMENTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["install", "list"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(groups)}; all when none is given")
    args = parser.parse_args()
    if unknown := set(args.names) - set(groups):
        parser.error(f"no peer named {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    if args.verb == "list":
        for peer in PEERS:
            print(f"{peer.name}: {peer.missing or 'installed'}")
        print(f"{PICASCLIENT}: {_presence(PICASCLIENT)}")
        return 0
    try:
        for group in args.names or groups:
            install(group)
    except subprocess.CalledProcessError as problem:
        print(f"could not install {group}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
