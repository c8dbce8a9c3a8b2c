"""What goes into a bundle, and what picas says of itself where it is none."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from picas import bundle, bundled
from picas.errors import ConfigError

PURE_TOO = {"yaml/_yaml"}
"""What is compiled in a dependency that does without it, only slower."""


def held() -> list[Distribution]:
    return [distribution(name) for name in bundle.collect()[0].holds]


def test_every_dependency_is_in_it_or_compiled() -> None:
    required = {
        re.split(r"[^\w.-]", text)[0].lower() for text in distribution("picas").requires or () if ";" not in text
    }
    inside = {name.lower() for name in bundle.collect()[0].holds}
    assert required - inside == bundle.COMPILED


def test_what_is_in_it_needs_nothing_compiled() -> None:
    """When this fails, a dependency is compiled now: say here that it does without, or leave it out."""
    files = [path for one in held() for path in one.files or ()]
    compiled = {str(path).partition(".")[0] for path in files if path.suffix in (".so", ".pyd")}
    assert compiled <= PURE_TOO


def test_nothing_in_it_is_of_this_machine() -> None:
    _, files = bundle.collect("https://h.example/db")
    here = str(Path(bundle.__file__).parents[2]).encode()
    assert not [name for name, data in files.items() if here in data]


def test_names_stay_within_it() -> None:
    assert not [name for name in bundle.collect()[1] if name.startswith("/") or ".." in name.split("/")]


def test_files_that_nothing_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of packages of a Linux distribution, or of a checkout."""
    monkeypatch.setattr(Distribution, "files", None)
    with pytest.raises(ConfigError, match="nothing says which files annotated-doc has"):
        bundle.collect()


def test_a_dependency_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distribution, "requires", ["no-such-thing>=1", "none-either; python_version < '3.11'"])
    with pytest.raises(ConfigError, match="no-such-thing is not installed"):
        bundle.collect()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "b.pyz"
    path.write_bytes(b"before")
    path.chmod(0o600)
    tmp_path.chmod(0o700)
    link = tmp_path / "l.pyz"
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="symbolic link"):
        bundle.write_file(link, {"a": b"1"})
    assert path.read_bytes() == b"before"
    size = bundle.write_file(path, {"a": b"1"})
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (size, 0o755)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.pyz", "l.pyz"]


def test_installed_picas_is_no_bundle() -> None:
    assert bundled.about() is None
    assert bundled.lines() == []
    bundled.refuse("never", "says so")
