"""The examples, run as a newcomer runs them: their scripts, on pools of their own."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from picas.pool import Selection, connect
from support.installing import or_skip, program

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def compiler() -> str:
    """A C compiler, installed where that may be."""
    return or_skip(lambda: program("cc", "gcc", "libc6-dev"))


def environ(home: Path) -> dict[str, str]:
    """The environment of a user who has the package under test, and no settings of picas."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PICAS_", "SLURM_", "PBS_"))}
    return {**kept, "PICAS": f"{sys.executable} -m picas", "HOME": str(home)}


def run(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One example's script, working in a folder."""
    script = [str(EXAMPLES / name / "run.sh"), str(folder), *words]
    return subprocess.run(script, capture_output=True, text=True, env=environ(folder.parent), timeout=120)


def test_quick_squares_twenty_numbers(tmp_path: Path) -> None:
    done = run("quick", tmp_path / "quick")
    assert done.returncode == 0, done.stderr
    assert "the square of 12 is 144" in done.stdout
    with connect(str(tmp_path / "quick" / "picas.db")) as pool:
        written = [
            b"".join(pool.store.get_attachment(doc["_id"], f"logs_{doc['_id']}.out"))
            for doc in pool.select(Selection(everything=True))
        ]
    assert sorted(written) == sorted(b"the square of %d is %d\n" % (i, i * i) for i in range(1, 21))


def test_wordcount_counts_what_wc_counts(tmp_path: Path) -> None:
    done = run("wordcount", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    texts = {path.name: path.read_text(encoding="utf-8") for path in (EXAMPLES / "wordcount" / "texts").glob("*.txt")}
    table = dict(re.findall(r"^(\S+\.txt|total) +([0-9]+) ", done.stdout, re.MULTILINE))
    expected = {name: len(text.split()) for name, text in texts.items()}
    assert {name: int(words) for name, words in table.items()} == {**expected, "total": sum(expected.values())}
    assert "added 0 tokens; 8 were there already" in done.stderr


def test_wordcount_keeps_its_result_in_the_token(tmp_path: Path) -> None:
    texts = tmp_path / "mine"
    texts.mkdir()
    (texts / "odd name; $(x).txt").write_text("tick tock\ntick, it's tick\n", encoding="utf-8")
    done = run("wordcount", tmp_path / "work", str(texts))
    assert done.returncode == 0, done.stderr
    with connect(str(tmp_path / "work" / "wordcount.db")) as pool:
        doc = pool.get("texts/odd name; $(x).txt")
    assert doc is not None
    assert doc["output"] == {"words": 5, "lines": 2, "frequent": {"tick": 3, "it's": 1, "tock": 1}}


@pytest.mark.usefixtures("compiler")
def test_fractals_attaches_27_pictures_and_makes_a_contact_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "fractals"
    done = run("fractals", folder)
    assert done.returncode == 0, done.stderr
    assert "contact-sheet.png: 27 pictures, 1880 x 632 pixels" in done.stdout
    with connect(str(folder / "fractals.db")) as pool:
        pictures = [
            b"".join(pool.store.get_attachment(doc["_id"], "picture.ppm"))
            for doc in pool.select(Selection(everything=True))
        ]
    assert len(pictures) == len(set(pictures)) == 27
    assert all(picture.startswith(b"P6\n200 200\n255\n") and len(picture) == 120_015 for picture in pictures)
    width, height, pixels = read_png((folder / "contact-sheet.png").read_bytes())
    assert (width, height) == (1880, 632)
    assert len(pixels) == height * (1 + 3 * width)
    assert len(set(pixels)) > 200


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("broken", [False, True])
def test_demo_ends_well_only_when_every_token_is_done(tmp_path: Path, broken: bool) -> None:
    copy = tmp_path / "examples"
    shutil.copytree(EXAMPLES, copy)
    if broken:
        (copy / "wordcount" / "texts" / "bees.txt").write_bytes(b"\xff\xfe no UTF-8")
    done = subprocess.run([str(copy / "demo.sh")], capture_output=True, text=True, env=environ(tmp_path), timeout=120)
    assert done.returncode == (1 if broken else 0), done.stdout
    assert done.stderr == ""
    assert ("Every token is done." in done.stdout) is not broken
    assert ("7 done, 1 failed" in done.stdout) is broken
    assert "27 done, 0 failed" in done.stdout
    assert (tmp_path / ".demo" / "fractals" / "contact-sheet.png").exists()


def test_the_programs_in_the_python_page_run(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "python.md").read_text(encoding="utf-8")
    printed = ""
    for source in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        (tmp_path / "program.py").write_text(source, encoding="utf-8")
        argv = [sys.executable, "program.py"]
        done = subprocess.run(
            argv, cwd=tmp_path, capture_output=True, text=True, env=environ(tmp_path), timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "n1\n" in printed
    assert "6 1 no work is left\nb'hello\\n'\n[5, 4, 9]\n18\n[0.0, 1.0, 2.0, 3.0]\n9\n" in printed


def test_pi_is_about_three_and_goes_on_where_it_was(tmp_path: Path) -> None:
    argv = [sys.executable, str(EXAMPLES / "pi" / "pi.py"), "pi.db", "20"]
    printed = set()
    for _ in range(2):
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=environ(tmp_path), timeout=120)
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert len(printed) == 1
    assert re.search(r"20 calls: 3\.1[34]\d+\n$", printed.pop())
    with connect(str(tmp_path / "pi.db")) as pool:
        assert [doc["fence"] for doc in pool.documents()] == [1] * 20


def read_png(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and the bytes of all rows, each after its filter byte; every checksum is checked."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    return width, height, zlib.decompress(chunks[b"IDAT"])
