"""A GridEngine for tests: Debian's sge_qmaster and sge_execd in a folder of their own, started here without systemd.

Its packages are unpacked beside the tests rather than installed, which would put a batch system and a mail server on
the machine. Its daemons run as root, or no job starts. Its cell, ports and state are its own; it has one host, with
eight slots for jobs and a parallel environment, ``smp``. Its ports are open to all of the network, for GridEngine
cannot keep to loopback: but from there it takes no request, for no host but this one is known to it.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from support.daemons import Daemons, free_ports, until
from support.installing import SERVERS, Missing, one_at_a_time, run

__all__ = ["GridEngine", "Missing", "get_gridengine"]

_PACKAGES = ("gridengine-common", "gridengine-client", "gridengine-exec", "gridengine-master")
_LIBRARIES = ("libjemalloc2", "libhwloc15", "libmunge2")
_UNPACKED = SERVERS / "gridengine"
_PLACE = b"/usr/lib/gridengine/%s%s"
"""Where its programs look for a library of their own, which is not there unless the packages are installed."""

_BOOTSTRAP = """admin_user {user}
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {folder}/default/common;{folder}/spool
binary_path {folder}/bin
qmaster_spool_dir {folder}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""

_CONFIGURATION = {
    "execd_spool_dir": "{folder}/execd",
    "mailer": "/bin/true",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:01",
    "reporting_params": "accounting=true accounting_flush_time=00:00:00 reporting=false flush_time=00:00:01",
}
"""What differs from Debian's: anybody may submit, and what happens is known at once."""

_SCHEDULING = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "schedd_job_info": "true",
}

_QUEUE = """qname all.q
hostlist {host}
seq_no 0
load_thresholds NONE
suspend_thresholds NONE
nsuspend 1
suspend_interval 00:05:00
priority 0
min_cpu_interval 00:05:00
processors UNDEFINED
qtype BATCH INTERACTIVE
ckpt_list NONE
pe_list smp
rerun FALSE
slots 8
tmpdir /tmp
shell /bin/sh
prolog NONE
epilog NONE
shell_start_mode unix_behavior
starter_method NONE
suspend_method NONE
resume_method NONE
terminate_method NONE
notify 00:00:05
owner_list NONE
user_lists NONE
xuser_lists NONE
subordinate_list NONE
complex_values NONE
projects NONE
xprojects NONE
calendar NONE
initial_state default
s_rt INFINITY
h_rt INFINITY
s_cpu INFINITY
h_cpu INFINITY
s_fsize INFINITY
h_fsize INFINITY
s_data INFINITY
h_data INFINITY
s_stack INFINITY
h_stack INFINITY
s_core INFINITY
h_core INFINITY
s_rss INFINITY
h_rss INFINITY
s_vmem INFINITY
h_vmem INFINITY
"""

_ENVIRONMENT = """pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


class GridEngine(Daemons):
    """One cluster."""

    def __init__(self, home: Path) -> None:
        super().__init__("GridEngine", ("SGE_", "JOB_"))
        self._home = home
        programs = home / "usr/lib/gridengine"
        libraries = [str(programs), *(str(folder) for folder in (home / "usr/lib").glob("*-linux-gnu"))]
        master, host = free_ports(2)
        self.environ = {
            "SGE_ROOT": str(self.folder),
            "SGE_CELL": "default",
            "SGE_QMASTER_PORT": str(master),
            "SGE_EXECD_PORT": str(host),
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }
        try:
            self._configure(programs)
            self._start()
        except BaseException:
            self.close()
            raise

    def submit(self, script: str, *options: str) -> str:
        """Hand in a script, whose output nobody reads; the job's id."""
        words = ["qsub", "-terse", "-wd", str(self.folder), "-o", "/dev/null", "-e", "/dev/null", *options]
        return self.run(*words, stdin=f"#!/bin/sh\n{script}\n")

    def states(self) -> dict[str, str]:
        """The letters (``r``, ``qw``, ``Eqw`` and others) of all jobs that have not ended."""
        root = ElementTree.fromstring(self.run("qstat", "-u", "*", "-xml"))
        return {job.findtext("JB_job_number", ""): job.findtext("state", "") for job in root.iter("job_list")}

    def account(self, job_id: str) -> dict[str, str]:
        """What is on record of a job that has ended; nothing of another."""
        done = self.ask("qacct", "-j", job_id)
        return dict(re.findall(r"^(\w+) +(.*?) *$", done.stdout, re.MULTILINE)) if done.returncode == 0 else {}

    def wait(self, job_id: str, state: str, seconds: float = 30.0) -> None:
        """Wait until a job has these letters."""
        until(f"job {job_id} is {state}", lambda: self.states().get(job_id) == state, seconds)

    def ended(self, job_id: str, seconds: float = 30.0) -> dict[str, str]:
        """Wait for a job's end; what is on record of it."""
        until(f"job {job_id} is on record", lambda: bool(self.account(job_id)), seconds)
        return self.account(job_id)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Kill jobs that begin meanwhile a second after they were warned, not five."""
        self.run("qconf", "-mattr", "queue", "notify", "00:00:01", "all.q")
        try:
            yield
        finally:
            self.run("qconf", "-mattr", "queue", "notify", "00:00:05", "all.q")

    def _configure(self, programs: Path) -> None:
        """Make its cell, as Debian's ``init_cluster`` would make the machine's."""
        arch = self.ask("sh", str(self._home / "usr/share/gridengine/util/arch")).stdout.strip()
        for name in ("bin", "lib", "utilbin"):
            (self.folder / name).mkdir()
            (self.folder / name / arch).symlink_to(programs)
        (self.folder / "util").symlink_to(self._home / "usr/share/gridengine/util")
        common = self.folder / "default" / "common"
        for folder in (common, self.folder / "spool", self.folder / "qmaster", self.folder / "execd"):
            folder.mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        (common / "bootstrap").write_text(_BOOTSTRAP.format(folder=self.folder, user=getpass.getuser()))
        (common / "host_aliases").write_text(f"localhost {host} {socket.gethostname()}\n")
        (common / "act_qmaster").write_text("localhost\n")
        self.run("spoolinit", "classic", "libspoolc", f"{common};{self.folder}/spool", "init")
        given = (self._home / "usr/share/gridengine/default-configuration").read_text()
        own = {name: value.format(folder=self.folder) for name, value in _CONFIGURATION.items()}
        self._defaults("configuration", self._file("configuration", _changed(given, own)))
        self._defaults("complexes", f"{self.folder}/util/resources/centry")
        self._defaults("usersets", f"{self.folder}/util/resources/usersets")
        self._defaults("managers", getpass.getuser())

    def _defaults(self, kind: str, value: str) -> None:
        self.run("spooldefaults.bin", kind, value)

    def _start(self) -> None:
        self.start("sge_qmaster", "env", "SGE_ND=1", "sge_qmaster")
        self.until_up(lambda: self.ask("qconf", "-sh").returncode == 0)
        self.run("qconf", "-as", "localhost")
        self.run("qconf", "-Msconf", self._file("scheduling", _changed(self.run("qconf", "-ssconf"), _SCHEDULING)))
        self.run("qconf", "-Ap", self._file("smp", _ENVIRONMENT))
        self.start("sge_execd", "env", "SGE_ND=1", "sge_execd")
        self.until_up(lambda: "localhost" in self.ask("qconf", "-sel").stdout)
        self.run("qconf", "-Aq", self._file("all.q", _QUEUE.format(host="localhost")))
        self.until_up(
            lambda: (
                re.search(r"all\.q@localhost +BIP +0/0/8 +[\d.]+ +\S+ *$", self.run("qstat", "-f"), re.M) is not None
            )
        )

    def _file(self, name: str, text: str) -> str:
        path = self.folder / f"{name}.conf"
        path.write_text(text)
        return str(path)


def get_gridengine() -> GridEngine:
    """A cluster, unpacked if need be; raises Missing. The caller closes it."""
    if os.getuid() != 0:
        raise Missing(
            "only root can run GridEngine: as anybody else it cannot make a folder for a job's temporary files"
        )
    with one_at_a_time():
        if not (_UNPACKED / ".unpacked").exists():
            _unpack()
    return GridEngine(_UNPACKED)


def _unpack() -> None:
    """Have Debian's packages brought here, and what they need; nothing is installed."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Missing("the tests need GridEngine, whose packages only Debian has: there is no apt-get here")
    with tempfile.TemporaryDirectory(prefix="picas-ge-") as folder:
        Path(folder).chmod(0o777)  # apt fetches as a user of its own
        run(["apt-get", "-q", "download", *_PACKAGES, *_LIBRARIES], Path(folder))
        for package in sorted(Path(folder).glob("*.deb")):
            run(["dpkg", "-x", str(package), str(_UNPACKED)])
    for program in (_UNPACKED / "usr/lib/gridengine").iterdir():
        _look_in_the_path(program)
    (_UNPACKED / ".unpacked").touch()


def _look_in_the_path(program: Path) -> None:
    """Have a program load its library by name, as LD_LIBRARY_PATH says, from wherever it was unpacked to."""
    if program.is_file() and _PLACE in (content := program.read_bytes()):
        program.write_bytes(content.replace(_PLACE, b"%s%s".ljust(len(_PLACE), b"\0")))


def _changed(text: str, values: dict[str, str]) -> str:
    """A configuration with other values."""
    for name, value in values.items():
        text = re.sub(rf"^{name}\b.*", f"{name} {value}", text, flags=re.MULTILINE)
    return text
