"""A pilot in one file or folder, on a machine that has a ``python3`` and nothing else."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from picas.lifecycle import State
from picas.pool import Pool, connect
from support.cli import Answer, Cli
from support.couchdb_server import CouchServer
from support.pilots import until
from support.pythons import GOOD, OLD, SYSTEM
from support.tls_front import behind_tls, self_signed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, made by the real command, as a file and as a folder."""
    folder = tmp_path_factory.mktemp("made")
    cli = Cli(folder)
    told = cli.ok("pilot", "bundle", "picas.pyz")
    assert re.match(r"picas\.pyz: [\d,]+ bytes, picas ", told.out), told
    assert "urllib3 " in told.out
    cli.ok("pilot", "bundle", "--folder", "picas")
    return folder


@dataclass
class Node:
    """A machine with nothing but Python: one folder that can be written, with the bundle alone in it."""

    folder: Path
    words: tuple[str, ...]
    confined: bool

    def argv(self, *words: str) -> list[str]:
        command = [*self.words, *words]
        if not self.confined:
            return command
        here = str(self.folder)
        inside = f'mount --bind "{here}" "{here}" && mount -o remount,bind,ro / && cd "{here}" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", inside, "sh", *command]

    def start(self, *words: str, environ: Mapping[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        given = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.folder / "home"), **(environ or {})}
        variables = {name: value for name, value in given.items() if value}
        return subprocess.Popen(self.argv(*words), cwd=self.folder, env=variables, **{**pipes, **options})  # type: ignore[call-overload]

    def __call__(self, *words: str, environ: Mapping[str, str] | None = None) -> Answer:
        process = self.start(*words, environ=environ)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return Answer(process.returncode, out, err)


def can_confine() -> bool:
    """Whether a process can be given a view of the machine in which it may write to one folder only."""
    if not shutil.which("unshare"):
        return False
    tried = ["unshare", "--mount", "sh", "-c", "mount -o remount,bind,ro / && ! touch /in-the-way"]
    return subprocess.run(tried, capture_output=True).returncode == 0


CONFINED = can_confine()


@pytest.fixture
def node(made: Path, tmp_path: Path) -> Node:
    return node_with(made, tmp_path, SYSTEM)


def node_with(made: Path, tmp_path: Path, python: str, kind: str = "picas.pyz") -> Node:
    folder = tmp_path / "node"
    (folder / "home").mkdir(parents=True)
    (shutil.copytree if kind == "picas" else shutil.copy)(made / kind, folder / kind)
    return Node(folder, (python, "-I", "-S", kind), CONFINED)


@pytest.fixture
def pool(couchdb_server: CouchServer) -> Iterator[Pool]:
    address = couchdb_server.address(couchdb_server.database("bundle"))
    with connect(address, create=True) as opened:
        yield opened


def login(server: CouchServer, pool: Pool) -> dict[str, str]:
    """How a pilot on the node is told of the pool."""
    user = {} if server.admin is None else {"PICAS_USERNAME": server.admin, "PICAS_PASSWORD": server.password or ""}
    return {"PICAS_POOL": pool.url, **user}


def add(pool: Pool, commands: Sequence[str]) -> list[str]:
    docs = [{"_id": f"t{number}", "type": "token", "command": text} for number, text in enumerate(commands)]
    pool.add(docs)
    return [doc["_id"] for doc in docs]


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", ["picas.pyz", "picas"])
@pytest.mark.parametrize("version", GOOD)
def test_fifty_tokens_are_done_on_a_bare_python(
    made: Path, tmp_path: Path, couchdb_server: CouchServer, pool: Pool, version: str, kind: str
) -> None:
    node = node_with(made, tmp_path, GOOD[version], kind)
    before = left_in(node.folder)
    text = 'né 😀 \\ud800 "quoted"'
    ids = add(
        pool,
        [f"echo out {number} '{text}'; echo err >&2; echo '{{\"n\": 1e-7}}' > $PICAS_OUTPUT" for number in range(50)],
    )
    ran = node("run", "--cores", "2", environ=login(couchdb_server, pool))
    assert (ran.code, "50 done" in ran.err) == (0, True), ran
    assert pool.count()[State.DONE] == 50
    for number, doc in enumerate(pool.store.get(ids)):
        assert doc is not None
        assert doc["output"] == {"n": 1e-7}
        kept = pool.store.get_attachment(doc["_id"], f"logs_{doc['_id']}.out")
        assert b"".join(kept).decode() == f"out {number} {text}\n"
    # It has unpacked nothing, and taken everything away that it made, but for what Python compiles for itself.
    after = [name for name in left_in(node.folder) if "__pycache__" not in name and not name.startswith("home/")]
    assert after == before


@pytest.mark.parametrize("home", ["", "/nowhere", "/"], ids=["unset", "missing", "read-only"])
def test_a_node_without_a_home(node: Node, couchdb_server: CouchServer, pool: Pool, home: str) -> None:
    add(pool, ["echo $PICAS_TOKEN_ID"] * 3)
    ran = node("run", "--cores", "2", environ={**login(couchdb_server, pool), "HOME": home})
    assert (ran.code, "3 done" in ran.err) == (0, True), ran


@pytest.mark.parametrize("version", GOOD)
def test_it_speaks_tls(made: Path, tmp_path: Path, couchdb_server: CouchServer, pool: Pool, version: str) -> None:
    node = node_with(made, tmp_path, GOOD[version])
    add(pool, ["true"] * 3)
    certificate = self_signed(tmp_path / "ca.pem")
    (node.folder / "ca.pem").write_bytes(certificate.read_bytes())
    with behind_tls(couchdb_server.url, certificate) as front:
        address = f"{front.url}/{pool.url.rpartition('/')[2]}"
        environ = {**login(couchdb_server, pool), "PICAS_POOL": address}
        said = node("run", environ=environ)
        assert (said.code, "certificate is not trusted" in said.err) == (4, True), said
        ran = node("run", environ={**environ, "PICAS_POOL": f"{address}?ca=ca.pem"})
    assert (ran.code, "3 done" in ran.err) == (0, True), ran


def test_it_holds_only_what_runs_anywhere(made: Path) -> None:
    with zipfile.ZipFile(made / "picas.pyz") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert names == sorted(names)
    assert not [name for name in names if name.endswith((".so", ".pyc", ".pyd"))]
    assert not [name for name in names if name.startswith(("picas/testing/", "picas/stores/sqlite/", "apsw"))]
    for name in ("typer", "urllib3", "rich", "picas"):
        assert [one for one in names if re.fullmatch(rf"{name}-[^/]*\.dist-info/.*LICENSE.*", one)], name
    assert left_in(made / "picas") == sorted(
        {*names, "pilot.sh", *(str(up) for name in names for up in Path(name).parents if up.name)}
    )


def test_the_same_again_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    Cli(tmp_path).ok("pilot", "bundle", "other.pyz")
    assert (tmp_path / "other.pyz").read_bytes() == (made / "picas.pyz").read_bytes()


def test_it_says_what_it_is(node: Node) -> None:
    said = node("--version")
    assert said.code == 0
    assert said.out.startswith("picas ")
    assert "with the CouchDB store" in said.out
    assert "urllib3 " in said.out
    checked = node("doctor", environ={"PICAS_POOL": "couchdb://127.0.0.1:1/none"})
    assert (checked.code, "a bundle without SQLite" in checked.out) == (4, True), checked


@pytest.mark.parametrize("version", OLD or {"none": ""})
def test_an_old_python_is_told(made: Path, tmp_path: Path, version: str) -> None:
    if not OLD:
        pytest.skip("no Python before 3.10 is here")
    node = node_with(made, tmp_path, OLD[version])
    said = node("run")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("picas: this bundle needs Python 3.10 or later, and this is 3.")
    assert len(said.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("address", "name"),
    [("pool.db", "SQLite"), ("sqlite:///tmp/p.db", "SQLite"), ("postgresql://host/db", "PostgreSQL"), ("", "SQLite")],
)
def test_what_it_does_not_reach_is_one_line_and_what_to_do(node: Node, address: str, name: str) -> None:
    said = node("run", environ={"PICAS_POOL": address})
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        f"picas: this bundle has no {name} store\n"
        "hint: it reaches pools on CouchDB servers: "
        "name one by --pool or PICAS_POOL, or install picas on this machine\n"
    )
    assert left_in(node.folder) == ["home", "picas.pyz"]


def test_an_encrypted_password_is_not_for_bundles(node: Node) -> None:
    folder = node.folder / "home" / ".config" / "picas"
    folder.mkdir(parents=True)
    values = {"host_url": "https://h.example", "database": "d", "username": "ann", "encrypted_password": "abc"}
    (folder / "conf.yml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    said = node("run")
    assert said.code == 3
    assert "this bundle cannot read the encrypted password in " in said.err
    assert said.err.endswith("hint: set PICAS_PASSWORD\n")


def test_a_killed_pilot_leaves_two_small_folders_and_no_process(
    node: Node, couchdb_server: CouchServer, pool: Pool
) -> None:
    add(pool, ["sleep 600"] * 2)
    environ = {**login(couchdb_server, pool), "TMPDIR": str(node.folder), "BUNDLE_MARK": str(node.folder)}
    process = node.start("run", "--cores", "2", "--lease", "2s", environ=environ)
    until("both run", lambda: len(marked(node.folder, b"sleep\x00600")) == 2, 60)
    made = folders_of(node.folder)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    until("nothing of it runs", lambda: not marked(node.folder), 30)
    kept = {path for path in node.folder.iterdir() if path.name not in ("home", "picas.pyz")}
    assert kept <= made, "of what it made, nothing is left but these"
    assert 1 <= len(made) <= 2
    for path in made:
        shutil.rmtree(path)
    # The next pilot finds it silent, takes its tokens over, and is stopped in its turn.
    other = node.start("run", "--cores", "2", "--lease", "2s", "--idle", "60s", "--grace", "1s", environ=environ)
    until("both run again", lambda: len(marked(node.folder, b"sleep\x00600")) == 2, 60)
    other.terminate()
    _, err = other.communicate(timeout=60)
    assert (other.returncode, "2 given back" in err) == (0, True), err
    assert pool.count()[State.TODO] == 2
    assert sorted(path.name for path in node.folder.iterdir()) == ["home", "picas.pyz"]


def folders_of(folder: Path) -> set[Path]:
    """The folders of the node's runners, as these were told of them."""
    told = b" ".join(
        (Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in marked(folder, b"picas.pilot.runner")
    )
    return {Path(name) for name in re.findall(r"'(/[^']*/picas-[^/']*)", told.decode())}


def marked(folder: Path, cmdline: bytes = b"") -> list[int]:
    """Processes of the node, whose pilot had a variable that names its folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"BUNDLE_MARK={folder}\0".encode() in (process / "environ").read_bytes()
            if mine and cmdline in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_person_at_a_terminal_sees_how_it_goes(node: Node, couchdb_server: CouchServer, pool: Pool) -> None:
    add(pool, ["sleep 0.3"] * 4)
    ours, theirs = pty.openpty()
    environ = {**login(couchdb_server, pool), "TERM": "xterm", "COLUMNS": "100"}
    process = node.start("run", "--cores", "2", environ=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while part := read_some(ours):
        said += part
    assert (process.wait(60), b"4 done" in said, b"running" in said) == (0, True, True), said
    os.close(ours)
    listing = node("status", environ=login(couchdb_server, pool))
    assert (listing.code, "done" in listing.out) == (0, True), listing


def read_some(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # so a terminal says that nobody writes to it any more
        return b""


def with_pool(tmp_path: Path, python: str, address: str) -> Node:
    made = tmp_path / "made"
    made.mkdir()
    Cli(made).ok("pilot", "bundle", "picas.pyz", "--pool", address)
    node = node_with(made, tmp_path, python)
    (node.folder / "picas.toml").write_text('pool = "couchdb://127.0.0.1:1/of-the-file"\n')
    return node


def test_the_pool_in_it_gives_way_to_what_is_asked_for_only(tmp_path: Path) -> None:
    node = with_pool(tmp_path, SYSTEM, "couchdbs://ann%40lab@h.example/db?auth=cookie")
    assert "for the pool couchdbs://ann%40lab@h.example/db?auth=cookie\n" in node("--version").out
    shown = json.loads(node("config", "show", "-o", "json").out)
    assert (shown["pool"], shown["username"], shown["origin"]) == (
        "couchdbs://h.example/db?auth=cookie", "ann@lab", "this bundle"
    )  # fmt: skip
    other = {"PICAS_POOL": "couchdb://127.0.0.1:1/other"}
    assert json.loads(node("config", "show", "-o", "json", environ=other).out)["origin"] == "PICAS_POOL"


@pytest.mark.skipif("3.10" not in GOOD, reason="no Python 3.10 is here")
def test_a_file_of_toml_on_python_3_10(made: Path, tmp_path: Path) -> None:
    node = node_with(made, tmp_path, GOOD["3.10"])
    (node.folder / "picas.toml").write_text('pool = "couchdb://127.0.0.1:1/of-the-file"\n')
    with zipfile.ZipFile(made / "picas.pyz") as archive:
        has_tomli = "tomli/__init__.py" in archive.namelist()
    said = node("config", "show")
    if has_tomli:
        assert (said.code, "of-the-file" in said.out) == (0, True)
    else:
        assert (said.code, said.err.partition("\n")[0]) == (3, "picas: this bundle reads no picas.toml on Python 3.10")


class TestForTheGrid:
    """The job description and what it starts, run as a batch system of the Grid does: in a folder of its own."""

    @pytest.fixture
    def sandbox(self, tmp_path: Path, couchdb_server: CouchServer, pool: Pool) -> Path:
        made = tmp_path / "made"
        made.mkdir()
        user = "" if couchdb_server.admin is None else f"{couchdb_server.admin}@"
        cli = Cli(made, PICAS_PASSWORD="canary-of-the-maker")
        cli.ok(
            "pilot", "bundle", "grid.pyz", "--jdl", "--run", "--cores 2 --max-time 1h",
            "--pool", pool.url.replace("://", f"://{user}"),
        )  # fmt: skip
        assert sorted(path.name for path in made.iterdir()) == ["grid.jdl", "grid.pyz", "grid.sh"]
        for path in made.iterdir():
            assert b"canary" not in path.read_bytes()
        with zipfile.ZipFile(made / "grid.pyz") as archive:
            about = json.loads(archive.read("picas/bundle.json"))
        assert about["pool"] == pool.url.replace("://", f"://{user}")
        return made

    def test_the_job_runs_with_the_password_from_its_sandbox(
        self, sandbox: Path, tmp_path: Path, couchdb_server: CouchServer, pool: Pool
    ) -> None:
        job = self.read(sandbox / "grid.jdl")
        add(pool, ["env"] * 3)
        worker = tmp_path / "worker"
        worker.mkdir()
        for name in job["InputSandbox"]:
            shutil.copy(sandbox / name, worker / name)
        (worker / "picas.password").write_text(f"{couchdb_server.password or ''}\n")
        with (worker / job["StdOutput"]).open("wb") as out, (worker / job["StdError"]).open("wb") as err:
            done = subprocess.run(
                ["./" + job["Executable"], *job["Arguments"].split()],
                cwd=worker, env={"PATH": "/usr/bin:/bin", "PICAS_PYTHON": SYSTEM}, stdout=out, stderr=err, timeout=120,
            )  # fmt: skip
        said = (worker / "grid.err").read_text()
        assert (done.returncode, "3 done" in said) == (0, True), said
        assert sorted(path.name for path in worker.iterdir()) == ["grid.err", "grid.out", "grid.pyz", "grid.sh"]
        assert sorted(job["OutputSandbox"]) == ["grid.err", "grid.out"]
        for number in range(3):
            kept = pool.store.get_attachment(f"t{number}", f"logs_t{number}.out")
            assert (couchdb_server.password or "no secret").encode() not in b"".join(kept)

    def test_a_node_without_python_is_told(self, sandbox: Path, tmp_path: Path) -> None:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in ("dirname", "cat", "rm"):
            (tools / name).symlink_to(shutil.which(name) or name)
        script = (sandbox / "grid.sh").read_text().replace("/usr/bin/python3", str(tools / "python3"))
        (sandbox / "grid.sh").write_text(script)
        asked = ["/bin/sh", "grid.sh", "run"]
        done = subprocess.run(asked, cwd=sandbox, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("picas: this node has no Python 3.10 or later\nhint: ")

    @staticmethod
    def read(path: Path) -> dict[str, str | list[str]]:
        """A job description, each line of it understood."""
        lines = path.read_text().splitlines()
        assert (lines[0], lines[-1]) == ("[", "]")
        job: dict[str, str | list[str]] = {}
        for line in lines[1:-1]:
            one = re.fullmatch(r'  (\w+) = "([^"\\]*)";', line)
            several = re.fullmatch(r'  (\w+) = \{("[^"\\]*"(?:, "[^"\\]*")*)\};', line)
            assert one or several, line
            if one:
                job[one[1]] = one[2]
            elif several:
                job[several[1]] = re.findall(r'"([^"]*)"', several[2])
        return job


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "name a file, or a folder by --folder"),
        (["a.pyz", "--folder", "b"], 2, "name a file, or a folder by --folder"),
        (["a.zip"], 2, "a bundle may not be called 'a.zip'"),
        (["a b.pyz"], 2, "a bundle may not be called 'a b.pyz'"),
        (["a\n.pyz", "--jdl"], 2, "a bundle may not be called"),
        (["none/a.pyz"], 3, "none/a.pyz: cannot be written: No such file or directory"),
        (["--folder", "none/a"], 3, "none/a: cannot be written: No such file or directory"),
        (["--folder", "full"], 2, "full: is there already, and not an empty folder"),
        (["--folder", "b", "--jdl"], 2, "a job description is for a file"),
        (["a.pyz", "--run", "--cores 1"], 2, "--run is for the job description"),
        (["a.pyz", "--jdl", "--run", "--cors 1"], 2, "No such option: --cors"),
        (["a.pyz", "--jdl", "--run", '--view "a;\n b"'], 2, "cannot stand in a job description"),
        (["a.pyz", "--jdl", "--run", "'"], 2, "No closing quotation"),
        (["a.pyz", "--jdl", "--run", "--pool https://ann:canary@h.example/db"], 3, "--run: a password may not stand"),
        (["a.pyz", "--pool", "picas.db"], 3, "a bundle does not reach "),
        (["a.pyz", "--pool", "postgresql://h/db"], 3, "a bundle does not reach postgresql://h/db"),
        (["a.pyz", "--pool", "https://ann:canary@h.example/db"], 3, "--pool: a password may not stand"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    answer = Cli(tmp_path)("pilot", "bundle", *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert "canary" not in answer.err
    assert len(answer.err.splitlines()) <= 2
    assert left_in(tmp_path) == ["full", "full/kept"]


def test_a_bundle_does_not_make_bundles(node: Node) -> None:
    said = node("pilot", "bundle", "b.pyz")
    assert (said.code, said.err) == (3, "picas: this bundle makes no bundles\nhint: it can be copied as it is\n")
    said = node("pilot", "submit", "dirac", environ={"PICAS_POOL": "couchdb://127.0.0.1:1/none"})
    assert (said.code, said.err.partition("\n")[0]) == (
        3, "picas: this bundle makes no bundles, which these jobs need"
    )  # fmt: skip
