from __future__ import annotations

import stat
from pathlib import Path

import pytest

from picas.schedulers import journal
from picas.schedulers.base import JobState
from picas.schedulers.journal import Journal, entries


def test_jobs_are_read_back_by_pool_with_what_became_of_them(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "state" / "jobs.jsonl")
    assert kept.entries("a") == []
    kept.add(entries("slurm", "a", {"1": "picas-x-1", "2": "picas-x-2"}))
    kept.add(entries("slurm", "b", {"3": "picas-y-1"}))
    first, second = kept.entries("a")
    kept.note([(first, None, JobState.DONE), (second, 12.0, None)])
    kept.note([(second, None, None)])
    assert [(entry.id, entry.state, entry.absent) for entry in kept.entries("a")] == [
        ("1", JobState.DONE, None),
        ("2", None, 12.0),
    ]
    assert [entry.name for entry in kept.entries("b")] == ["picas-y-1"]
    assert stat.S_IMODE((tmp_path / "state" / "jobs.jsonl").stat().st_mode) == 0o600


def test_what_is_no_news_is_not_written(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "jobs.jsonl")
    kept.add(entries("slurm", "a", {"1": "x"}))
    before = (tmp_path / "jobs.jsonl").read_text()
    kept.note([(entry, None, None) for entry in kept.entries("a")])
    assert (tmp_path / "jobs.jsonl").read_text() == before


def test_an_id_that_is_given_again_is_another_job(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "jobs.jsonl")
    kept.add(entries("slurm", "a", {"1": "old"}))
    kept.note([(entry, None, JobState.FAILED) for entry in kept.entries("a")])
    kept.add(entries("slurm", "a", {"1": "new"}))
    assert [(entry.name, entry.state) for entry in kept.entries("a")] == [("new", None)]


def test_lines_that_cannot_be_read_count_as_not_there(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "jobs.jsonl")
    kept.add(entries("slurm", "a", {"1": "x"}))
    with (tmp_path / "jobs.jsonl").open("ab") as file:
        file.write(b'\xff\n[]\n{"system": "slurm"}\n{"system": "slurm", "id": "1", "state": "nonsense"}\n{"syst')
    assert [entry.id for entry in kept.entries("a")] == ["1"]


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MOST_BYTES", 5000)
    monkeypatch.setattr(journal, "_MOST_ENTRIES", 20)
    kept = Journal(tmp_path / "jobs.jsonl")
    for number in range(200):
        kept.add(entries("slurm", "a", {str(number): f"picas-{number}"}))
        assert (tmp_path / "jobs.jsonl").stat().st_size < 5200
    assert kept.entries("a")[-1].id == "199"
    assert kept.entries("a")[-20].id == "180"
