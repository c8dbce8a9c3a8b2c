"""Pretended batch systems: the commands of GridEngine, PBS, HTCondor or DIRAC as programs in a folder.

    fake = FakeBatch(tmp_path / "pbs", "pbs")
    monkeypatch.setenv("PATH", fake.path())
    ...                                              # qsub makes jobs, which wait
    fake.set("1.pbs", job_state="F", Exit_status=3)  # what the system says of a job, in its own words
    fake.forget("1.pbs")                             # the queue does not know it any more, the accounts do
    fake.forget("1.pbs", accounts=True)              # nobody does
    fake.tell(qstat="fail")                          # and back: fake.tell(qstat="")
    fake.calls("qstat")                              # the argv of each call so far; fake.environments("qsub")

What a command can be told, and stays told: ``fail`` (its server cannot be reached), ``hang`` (60 s), ``garbage``,
``partial`` (its output is cut off, with exit code 0), ``empty``, ``limit`` (refused), ``lost`` (the job is made, but
the answer is lost). What they print is arranged as the real ones print it: GridEngine's was captured from 8.1.9, the
others' is that of their sources and manuals.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from support.fake_programs import FakePrograms, changing, note_call

COMMANDS = {
    "gridengine": ("qsub", "qstat", "qacct", "qdel"),
    "pbs": ("qsub", "qstat", "qdel"),
    "htcondor": ("condor_submit", "condor_q", "condor_history", "condor_rm"),
    "dirac": ("dirac-wms-job-submit", "dirac-wms-job-status", "dirac-wms-job-attributes", "dirac-wms-job-kill"),
}

Jobs = dict[str, dict[str, Any]]
Result = tuple[str, str, int]


class FakeBatch(FakePrograms):
    """The programs in a folder, and what is behind them."""

    def __init__(self, folder: Path, system: str) -> None:
        super().__init__(folder, __file__, COMMANDS[system], {"system": system, "next": 1, "jobs": {}, "told": {}})

    def set(self, job_id: str, **said: Any) -> None:
        """Change what the system says of a job; one that is not there is made."""
        with changing(self.folder) as state:
            state["jobs"].setdefault(job_id, new_job(state["system"], job_id, "", ""))["said"].update(said)

    def forget(self, job_id: str, *, accounts: bool = False) -> None:
        """Take a job out of the queue, and out of the accounts as well."""
        with changing(self.folder) as state:
            job = state["jobs"].setdefault(job_id, new_job(state["system"], job_id, "", ""))
            job.update(queue=False, account=not accounts)

    @property
    def jobs(self) -> Jobs:
        """All jobs there have been, by id: their script, and what is said of them."""
        with changing(self.folder) as state:
            found: Jobs = state["jobs"]
            return found


def new_job(system: str, job_id: str, name: str, script: str) -> dict[str, Any]:
    """A job that waits."""
    cluster, _, process = (job_id if system == "htcondor" else "0").partition(".")
    said: dict[str, dict[str, Any]] = {
        "gridengine": {
            "state": "qw", "queue": "", "failed": "0", "exit_status": "0", "ru_wallclock": "3s", "category": "NONE"
        },
        "pbs": {"Job_Name": name, "Job_Owner": f"{user()}@node1", "job_state": "Q", "substate": 10, "queue": "workq"},
        "htcondor": {
            "ClusterId": int(cluster), "ProcId": int(process or 0), "JobStatus": 1, "Owner": user(),
            "JobBatchName": name,
        },
        "dirac": {"Status": "Waiting", "MinorStatus": "Pilot Agent Submission", "Site": "ANY"},
    }  # fmt: skip
    return {"name": name, "script": script, "queue": True, "account": True, "said": said[system]}


def user() -> str:
    return os.environ.get("LOGNAME") or os.environ.get("USER") or __import__("pwd").getpwuid(os.getuid()).pw_name


AWAY = {
    "gridengine": 'error: unable to send message to qmaster using port 6444 on host "m": got send error\n',
    "pbs": "{name}: cannot connect to server pbs (errno=15010)\n",
    "htcondor": "Error: Couldn't contact the condor_collector on m. Can't find address of schedd\n",
    "dirac": "ERROR: Error while connecting to the server: connection refused\n",
}
REFUSED = {
    "gridengine": "Unable to run job: job rejected: only 2 jobs are allowed per user (job count: 2).\nExiting.\n",
    "pbs": "qsub: would exceed queue generic's per-user limit of jobs in 'Q' state\n",
    "htcondor": "\nERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER\n",
    "dirac": "ERROR {name}.jdl: Illegal Job JDL: no Executable\n",
}


def main(folder: Path, name: str, words: list[str]) -> int:
    """One call of one of the commands."""
    note_call(folder, name, words)
    submits = name in ("qsub", "condor_submit", "dirac-wms-job-submit")
    stdin = sys.stdin.read() if submits else ""
    with changing(folder) as state:
        system, told = state["system"], state["told"].get(name, "")
        done: Result = ("", "", 0)
        if told not in ("fail", "hang", "limit"):
            done = submit(state, words, stdin) if submits else globals()[system](state["jobs"], name, words)
    if told in ("hang", "lost"):
        time.sleep(60)
    if told in ("fail", "limit"):
        text = (AWAY if told == "fail" else REFUSED)[system].replace("{name}", name)
        (sys.stdout if system == "dirac" else sys.stderr).write(text)
        return 1 if system != "dirac" else 2
    out, err, code = done
    written = {"garbage": "<html>\x00\x1b[31m502 Bad Gateway\n", "partial": out[: len(out) // 2 - 3], "empty": ""}
    sys.stdout.write(written.get(told, out))
    sys.stderr.write(err)
    return code


def submit(state: dict[str, Any], words: list[str], script: str) -> Result:
    system, number = state["system"], state["next"]
    state["next"] = number + 1
    if system == "dirac":
        script = Path(words[-1]).read_text()
    pattern = {
        "gridengine": r"^#\$ -N (.*)$", "pbs": "^#PBS -N (.*)$", "htcondor": r'^\+JobBatchName = "(.*)"$',
        "dirac": '^JobName = "(.*)";$',
    }[system]  # fmt: skip
    found = re.search(pattern, script, re.MULTILINE)
    job_id = {"pbs": f"{number}.pbs", "htcondor": f"{number}.0"}.get(system, str(number))
    state["jobs"][job_id] = new_job(system, job_id, found[1] if found else "", script)
    if system == "dirac":
        state["jobs"][job_id]["group"] = re.search('^JobGroup = "(.*)";$', script, re.MULTILINE)[1]  # type: ignore[index]
    printed = {"htcondor": f"{job_id} - {job_id}", "dirac": f"JobID = {job_id}"}
    return f"{printed.get(system, job_id)}\n", "", 0


def gridengine(jobs: Jobs, name: str, words: list[str]) -> Result:
    if name == "qdel":
        known = [job_id for job_id in words if job_id in jobs and jobs[job_id]["queue"]]
        for job_id in known:
            jobs[job_id].update(queue=False)
            jobs[job_id]["said"].update(failed="100 : assumedly after job", exit_status="137                  (Killed)")
        lines = [
            f"root has registered the job {job_id} for deletion" if job_id in known
            else f'denied: job "{job_id}" does not exist'
            for job_id in words
        ]  # fmt: skip
        return "".join(f"{line}\n" for line in lines), "", 0 if known else 1
    if name == "qacct":
        return (
            "".join(ge_record(job_id, job) for job_id, job in jobs.items() if job["account"] and not job["queue"]),
            "",
            0,
        )
    rows = {True: "", False: ""}
    for job_id, job in jobs.items():
        if job["queue"]:
            rows[bool(job["said"]["queue"])] += ge_row(job_id, job)
    return (
        "<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://arc.liv.ac.uk/qstat.xsd\">\n"
        f"  <queue_info>\n{rows[True]}  </queue_info>\n  <job_info>\n{rows[False]}  </job_info>\n</job_info>\n"
    ), "", 0  # fmt: skip


def ge_row(job_id: str, job: dict[str, Any]) -> str:
    said = job["said"]
    return (
        f'    <job_list state="{"running" if said["queue"] else "pending"}">\n'
        f"      <JB_job_number>{job_id}</JB_job_number>\n      <JAT_prio>0.50000</JAT_prio>\n"
        f"      <JB_name>{job['name']}</JB_name>\n      <JB_owner>{user()}</JB_owner>\n"
        f"      <state>{said['state']}</state>\n      <JAT_start_time>2026-11-24T18:03:17</JAT_start_time>\n"
        f"      <queue_name>{said['queue']}</queue_name>\n      <slots>1</slots>\n    </job_list>\n"
    )


def ge_record(job_id: str, job: dict[str, Any]) -> str:
    said = job["said"]
    lines = {
        "qname": "all.q", "hostname": "n1", "owner": user(), "jobname": job["name"], "jobnumber": job_id,
        "taskid": "undefined", "granted_pe": "NONE", "slots": "1", "failed": said["failed"],
        "exit_status": said["exit_status"], "ru_wallclock": said["ru_wallclock"], "maxvmem": "3.410MB",
        "category": said["category"],
    }  # fmt: skip
    return "=" * 62 + "\n" + "".join(f"{key:12} {value:20}\n" for key, value in lines.items())


def pbs(jobs: Jobs, name: str, words: list[str]) -> Result:
    if name == "qdel":
        errors = []
        for job_id in words:
            if job_id not in jobs:
                errors.append(f"qdel: Unknown Job Id {job_id}")
            elif not jobs[job_id]["queue"]:
                errors.append(f"qdel: Job has finished {job_id}")
            else:
                jobs[job_id].update(queue=False)
                jobs[job_id]["said"].update(job_state="F", Exit_status=271, substate=91)
        return "", "".join(f"{line}\n" for line in errors), 153 if errors else 0
    wanted = [word for word in words if word[0].isdigit()] or [key for key, job in jobs.items() if job["queue"]]
    shown, errors = {}, []
    for job_id in wanted:
        job = jobs.get(job_id)
        if job and (job["queue"] or ("-x" in words and job["account"])):
            shown[job_id] = job["said"]
        elif job and job["account"]:
            errors.append(f"qstat: {job_id} Job has finished, use -x or -H to obtain historical job information")
        else:
            errors.append(f"qstat: Unknown Job Id {job_id}")
    table: dict[str, Any] = {"timestamp": 1795543401, "pbs_version": "23.06.06", "pbs_server": "pbs"}
    if shown:
        table["Jobs"] = shown
    return json.dumps(table, indent=4) + "\n", "".join(f"{line}\n" for line in errors), 153 if errors else 0


def htcondor(jobs: Jobs, name: str, words: list[str]) -> Result:
    ids = [word for word in words if re.fullmatch(r"[0-9]+\.[0-9]+", word)]
    if name == "condor_rm":
        lines, code = "", 0
        for job_id in ids:
            if job_id in jobs and jobs[job_id]["queue"]:
                jobs[job_id].update(queue=False)
                jobs[job_id]["said"].update(JobStatus=3, RemoveReason=f"via condor_rm (by user {user()})")
                lines += f"Job {job_id} marked for removal\n"
            else:
                lines, code = f"{lines}Job {job_id} not found\n", 1
        return lines, "", code
    in_queue = name == "condor_q"
    there = [(key, job) for key, job in jobs.items() if job["queue"] is in_queue and (in_queue or job["account"])]
    shown = [job["said"] for key, job in there if not ids or key in ids]
    return (json.dumps(shown, indent=1) + "\n" if shown or in_queue else ""), "", 0


def dirac(jobs: Jobs, name: str, words: list[str]) -> Result:
    if name == "dirac-wms-job-kill":
        for job_id in words:
            if job_id in jobs and jobs[job_id]["queue"]:
                jobs[job_id]["said"].update(Status="Killed", MinorStatus="Marked for termination")
        return f"Killed jobs {','.join(words)}\n", "", 0
    if "-g" in words:
        group = words[words.index("-g") + 1]
        words = [key for key, job in jobs.items() if job.get("group") == group and job["queue"]]
        if not words:
            return "Error: No jobs selected\n", "", 255
    known = {job_id: jobs[job_id] for job_id in words if job_id in jobs and jobs[job_id]["queue"]}
    if name == "dirac-wms-job-attributes":
        blocks = [
            f"=================\n {key}\n{{'ApplicationStatus': 'Unknown',\n 'JobID': '{key}',\n"
            f" 'JobName': '{job['name']}',\n 'Owner': 'someone'}}\n"
            for key, job in known.items()
        ]  # fmt: skip
        return "".join(blocks), "", 0
    lines = [f"JobID={key} " + " ".join(f"{k}={v};" for k, v in job["said"].items()) for key, job in known.items()]
    return "".join(f"{line} \n" for line in lines), "", 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
