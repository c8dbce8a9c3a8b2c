"""F60 and F61: commands that leave in their work folder what is no output, or harm the folder itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from picas.tokens import log_names
from support.checker import check
from support.pilots import Site

FOREIGN = {
    "symlink": 'ln -s "$SECRET" out.txt',
    "hard-to-tell-link": 'mkdir d && ln -s "$(dirname "$SECRET")" d/out && ln -s d/out/secret out.txt',
    "fifo": "mkfifo out.txt",
    "device": "mknod out.txt c 1 5",
    "socket": "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('out.txt')\"",
    "folder": "mkdir out.txt",
    "absolute": 'cp "$SECRET" /tmp/out.txt.$$ && rm /tmp/out.txt.$$',
    "sparse": "truncate -s 1T out.txt",
    "folder-a-link": 'here=$PWD; cd /; rmdir "$here"; ln -s "$(dirname "$SECRET")" "$here"',
}


@pytest.fixture
def secret(site: Site) -> Path:
    folder = site.folder / "elsewhere"
    folder.mkdir()
    for name in ("secret", "out.txt"):
        (folder / name).write_text("somebody else's")
    site.environ = {**site.environ, "SECRET": str(folder / "secret")}
    return folder


@pytest.mark.parametrize("kind", FOREIGN)
def test_f60_only_regular_files_of_the_command_are_published(site: Site, secret: Path, kind: str) -> None:
    """F60: output is a link, a pipe, a device, a terabyte of zeros. Only regular files within the cap are attached."""
    if kind == "device" and os.getuid() != 0:
        pytest.skip("devices are made by root only")
    files = {"attach": ["*.txt", "d/**/*", "../*/*.txt"], "output_cap": 1 << 20}
    bad, good = site.run(
        ["sh", "-c", f"{FOREIGN[kind]}; exit 0"], ["sh", "-c", "echo mine > out.txt"], cores=1, **files
    )

    attached = {name for doc in (bad, good) for name in doc.get("_attachments", {})} - set(log_names(bad["_id"]))
    # Both are done; the one has nothing attached that was not its own, and the other's output is its own.
    assert attached == {"out.txt"}
    assert site.attachment(good["_id"], "out.txt") == b"mine\n"
    assert "out.txt" not in bad.get("_attachments", {})
    assert (secret / "secret").read_text() == (secret / "out.txt").read_text() == "somebody else's"
    assert check(site) == {State.DONE: 2}


def test_f60_a_command_that_writes_into_the_folder_of_another_token(site: Site) -> None:
    """F60: a command writes beside its own folder. What it put there is attached to no token."""
    meddles = "mkdir -p ../t00001.1 ../../x; echo theirs > ../t00001.1/out.txt; echo up > ../out.txt"
    first, second = site.run(["sh", "-c", meddles], ["sh", "-c", "rm -f out.txt; exit 0"], cores=1, attach=["*.txt"])

    assert [doc.get("_attachments", {}) for doc in (first, second)] == [{}, {}]
    assert check(site) == {State.DONE: 2}


HARMS = {
    "deleted": 'here=$PWD; cd /; rm -rf "$here"',
    "a-file-instead": 'here=$PWD; cd /; rmdir "$here"; echo x > "$here"',
    "a-link-instead": 'here=$PWD; cd /; rmdir "$here"; ln -s "$(dirname "$SECRET")" "$here"',
    "read-only": "mkdir -p a/b; echo x > a/b/c; chmod 0 a/b; chmod 500 a .",
    "links-inside": 'ln -s "$(dirname "$SECRET")" inside; ln -s / root',
    "deep": "i=0; while [ $i -lt 400 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done",
}


@pytest.mark.parametrize("kind", HARMS)
def test_f61_the_work_folder_is_cleaned_and_nothing_beside_it(site: Site, secret: Path, kind: str) -> None:
    """F61: a command deletes, replaces or locks its work folder. It is cleaned, and nothing outside is touched."""
    first, second = site.run(
        ["sh", "-c", f"{HARMS[kind]}; exit 0"], ["sh", "-c", "echo mine > out.txt"], cores=1, attach=["*.txt"]
    )

    assert (state_of(first), state_of(second)) == (State.DONE, State.DONE)
    assert site.attachment(second["_id"], "out.txt") == b"mine\n"
    assert sorted(path.name for path in secret.iterdir()) == ["out.txt", "secret"]
    assert list((site.folder / "tmp").iterdir()) == []
    assert check(site) == {State.DONE: 2}


def test_f61_a_folder_with_a_mount_stays_and_is_reported(site: Site, secret: Path) -> None:
    """F61: a command mounts somebody's folder inside its own, and leaves it. It stays, is said, and loses no file."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    mounts = f'mkdir m && mount --bind "{secret}" m && echo "$PWD/m" > "$SIDE"'
    (doc,) = site.run(["sh", "-c", mounts], cores=1, attach=["*.txt"])
    if state_of(doc) is not State.DONE:
        pytest.skip("nothing can be mounted here")
    (place,) = site.lines()
    try:
        assert sorted(path.name for path in secret.iterdir()) == ["out.txt", "secret"]
        assert "something is mounted at" in site.pilots[0].err_path.read_text()
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    assert check(site) == {State.DONE: 1}
