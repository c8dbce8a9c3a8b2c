"""A Slurm for tests: Debian's munged, slurmctld and slurmd in a folder of their own, started here without systemd.

It takes nothing that the machine may already have: its key, sockets, ports (on loopback alone) and state are its own,
and whoever runs the tests owns it, root or not. It is up in about a second. Its nodes claim more cores than the
machine has, and share its processors. There is no accounting: a job that ended is known for ``MinJobAge`` seconds.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import time
from collections.abc import Mapping

from support.daemons import Daemons, free_ports, until
from support.installing import Missing, from_debian, one_at_a_time

__all__ = ["Missing", "Slurm", "get_slurm"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
_SETTINGS = {"SlurmctldTimeout": "30", "SlurmdTimeout": "60", "KillWait": "5", "MinJobAge": "300"}

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,sched_interval=1,bf_interval=1,bf_continue
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
DefMemPerCPU=256
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
"""

_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=8000 State=UNKNOWN\n"
)
_PARTITIONS = """
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10
"""

_SETTINGS = {"SlurmctldTimeout": "30", "SlurmdTimeout": "60", "KillWait": "5", "MinJobAge": "300"}


class Slurm(Daemons):
    """One cluster. ``settings`` are lines of its configuration; jobs in the partition ``urgent`` push others out."""

    def __init__(self, *, nodes: int = 2, cores: int = 4, **settings: str) -> None:
        super().__init__("Slurm", ("SLURM_", "SBATCH_", "SQUEUE_"))
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environ = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        try:
            self._configure(cores, {**_SETTINGS, **settings})
            self._start()
        except BaseException:
            self.close()
            raise

    def submit(self, script: str, *options: str) -> str:
        """Hand in a script, whose output nobody reads; the job's id."""
        words = ["sbatch", "--parsable", "--no-requeue", "--output=/dev/null", f"--chdir={self.folder}", *options]
        return self.run(*words, stdin=f"#!/bin/sh\n{script}\n")

    def job(self, job_id: str) -> dict[str, str]:
        """What Slurm says of a job, as ``scontrol`` names it: ``JobState``, ``Reason``, ``ExitCode`` and others."""
        said = self.run("scontrol", "show", "job", "-o", job_id)
        return dict(word.partition("=")[::2] for word in said.split() if "=" in word)

    def wait(self, job_id: str, *states: str, seconds: float = 30.0) -> dict[str, str]:
        """Wait until a job is in one of these states; what Slurm says of it then."""
        job: dict[str, str] = {}

        def arrived() -> bool:
            job.update(self.job(job_id))
            return job["JobState"] in states

        until(f"job {job_id} is {' or '.join(states)}", arrived, seconds)
        return job

    def requeue(self, job_id: str) -> None:
        """Have a job stop, and start again: in seconds, where Slurm of itself would wait for two minutes.

        Not in the same second, when a node would still take it for the run that was ended, and refuse it.
        """
        before = self.job(job_id)["Restarts"]
        self.run("scontrol", "requeue", job_id)

        def runs_again() -> bool:
            job = self.job(job_id)
            if job["JobState"] == "PENDING" and job["EligibleTime"] > _local_time(5):
                self.run("scontrol", "update", f"jobid={job_id}", f"starttime={_local_time(2)}")
            return job["Restarts"] != before and job["JobState"] not in ("PENDING", "COMPLETING")

        until(f"job {job_id} runs again", runs_again, 60.0)

    def drain(self, node: str) -> None:
        """Let a node start nothing any more."""
        self.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=a test drains it")

    def resume(self, node: str) -> None:
        """Let it start jobs again, whatever it was kept from it for."""
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def clear(self) -> None:
        """End all jobs, wait until they have ended, and let all nodes work: as it was in the beginning."""
        user = pwd.getpwuid(os.getuid()).pw_name
        self.run("scancel", f"--user={user}")
        until("no job is left", lambda: not self.run("squeue", "-h"), 30.0)
        for node in self.run("sinfo", "-h", "-N", "-p", "debug", "-t", "drain,down", "-o", "%N").split():
            self.resume(node)

    def kill_node(self, node: str) -> None:
        """End a node's daemon, as if the node were cut off: what runs there runs on."""
        self.kill(node)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self.start(node, _program("slurmd"), "-D", "-N", node, "-f", self.environ["SLURM_CONF"])

    def kill_controller(self) -> None:
        """End what all commands ask."""
        self.kill("slurmctld")

    def start_controller(self) -> None:
        """Start it, and wait until it answers."""
        self.start("slurmctld", _program("slurmctld"), "-D", "-f", self.environ["SLURM_CONF"])
        self.until_up(lambda: self.ask("scontrol", "ping").returncode == 0)

    def _configure(self, cores: int, settings: Mapping[str, str]) -> None:
        host = socket.gethostname().partition(".")[0]
        controller, *ports = free_ports(1 + len(self.nodes))
        user = pwd.getpwuid(os.getuid()).pw_name
        text = _CONFIG.format(host=host, port=controller, user=user, folder=self.folder)
        text += "".join(f"{name}={value}\n" for name, value in settings.items())
        for name, port in zip(self.nodes, ports, strict=True):
            text += _NODE.format(name=name, host=host, port=port, cores=cores)
        (self.folder / "slurm.conf").write_text(text + _PARTITIONS)
        (self.folder / "state").mkdir(mode=0o700)
        with open(self.folder / "munge.key", "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(secrets.token_bytes(128))

    def _start(self) -> None:
        own = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        self.start("munged", _program("munged"), "-F", f"--socket={self.folder}/munge.socket", *own.values())
        self.until_up((self.folder / "munge.socket").exists)
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.until_up(
            lambda: self.run("sinfo", "-h", "-N", "-p", "debug", "-o", "%t").split() == ["idle"] * len(self.nodes)
        )


def get_slurm(**options: object) -> Slurm:
    """A cluster, installed if need be; raises Missing. The caller closes it."""
    with one_at_a_time():
        if not all(map(_program, _PROGRAMS)):
            from_debian("munge", "slurmctld", "slurmd", "slurm-client")
    missing = [name for name in _PROGRAMS if not _program(name)]
    if missing:
        raise Missing(f"there is no {missing[0]} here: apt-get install munge slurmctld slurmd slurm-client")
    return Slurm(**options)  # type: ignore[arg-type]


def _local_time(seconds: float) -> str:
    """The time so many seconds from now, as Slurm writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + seconds))


def _program(name: str) -> str:
    """Where a program is, among those for administrators too; nothing where it is not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""
