"""The pages of the documentation: complete, linked to each other, and their programs run."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CLASSIC = (DOCS / "classic-api.md").read_text(encoding="utf-8")
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")], key=str)

MODULES = """
picas.clients picas.documents picas.iterators picas.actors picas.modifiers picas.executers picas.generators picas.jobid
picas.util picas.crypto picas.picas_config picas.picaslogger picas.couchdblogger picas.srm picas.srmclient
picas.apps.picas_cli
"""


def names_of(module_name: str) -> set[str]:
    """The public names of a module, and those of its classes that programs call or override."""
    module = import_module(module_name)
    found = set(module.__all__)
    for thing in (getattr(module, name) for name in module.__all__):
        if inspect.isclass(thing):
            found |= {name for name in vars(thing) if not name.startswith("_")}
    return found


def words_of(text: str) -> set[str]:
    """The words that stand in `code`."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))


def sections_about(module_name: str) -> str:
    """The sections that name a module: in their heading, or else in a row of a table."""
    sections = re.split(r"^## ", CLASSIC, flags=re.MULTILINE)
    return "".join(section for section in sections if f"`{module_name}`" in section)


@pytest.mark.parametrize("module_name", MODULES.split())
def test_the_classic_page_has_every_name(module_name: str) -> None:
    assert names_of(module_name) - words_of(sections_about(module_name)) == set()


def test_the_classic_page_has_the_names_of_the_package() -> None:
    import picas

    assert set(picas.__all__) - words_of(CLASSIC.partition("## ")[0]) == set()


def test_the_programs_of_the_classic_page_run(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICAS_", "SLURM_", "PBS_"))}
    environ = {**kept, "HOME": str(tmp_path), "PYTHONWARNINGS": "error"}
    printed = ""
    for program in re.findall(r"```python\n(.*?)```", CLASSIC, re.DOTALL):
        argv = [sys.executable, "-c", program]
        done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert printed == "done 2\nerror 1\nt1 3 b'two\\n'\nb\na\nc\n"


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as they are in links."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_how_it_is_built_names_every_part() -> None:
    source = ROOT / "src" / "picas"
    parts = [*source.iterdir(), *(source / "stores" / "couchdb").iterdir()]
    names = {part.stem for part in parts if part.suffix == ".py" or (part / "__init__.py").exists()}
    page = (DOCS / "how-it-is-built.md").read_text(encoding="utf-8")
    assert names - words_of(re.sub(r"```.*?```", "", page, flags=re.DOTALL)) - {"__init__", "__main__"} == set()


def test_every_page_is_named_on_the_first() -> None:
    named = set(re.findall(r"\]\((\w[\w-]*\.md)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - named == {"index.md"}
