"""The autopilot's file: what it may say, and how what is wrong with it is told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from picas.autopilot.config import load
from picas.errors import ConfigError
from picas.lifecycle import State
from picas.views import View

GOOD = """
pool = "picas.db"

[site.spider]
system = "slurm"
native = ["--account=astro"]
queue = "normal"
max = 30
interval = "2m"
grace = 300

[site.spider.kind.single]
where = "cores=1"
time = "4h"
max = 20
backlog = 10
min = 1

[site.spider.kind.four]
view = "FourCore/todo"
cores = 4
memory = "8 GiB"
gpus = 1
queue = "long"
native = ["--exclusive"]
max = 5
idle = "10m"
"""


def _load(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "auto.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path)


def test_all_that_it_may_say(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    (site,) = config.sites  # type: ignore[attr-defined]
    assert (site.name, site.system, site.max, site.interval, site.grace) == ("spider", "slurm", 30, 120.0, 300.0)
    assert site.folder == tmp_path
    single, four = site.kinds
    assert single.view == View(State.TODO, "single")
    assert single.where.source == {"cores": 1} or single.where is not None
    assert (single.time, single.max, single.backlog, single.min, single.queue) == (14400.0, 20, 10, 1, "normal")
    assert four.view == View(State.TODO, "FourCore")
    # As many tokens as cores, where it does not say; the kind's queue wins, its options come after the site's.
    assert (four.cores, four.memory, four.gpus, four.backlog, four.queue) == (4, 8 * 2**30, 1, 4, "long")
    assert four.native == ("--account=astro", "--exclusive")
    assert four.idle == 600.0


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("backlog = 10", "backlgo = 10", "auto.toml:16: site.spider.kind.single.backlgo: is no known key"),
        ('system = "slurm"', 'system = "slrum"', "auto.toml:5: site.spider.system: 'slrum' is not one of local"),
        ("grace = 300", 'grace = "5 parsecs"', "auto.toml:10: site.spider.grace: '5 parsecs' is not a time"),
        ("grace = 300", "grace = -1", "auto.toml:10: site.spider.grace: -1 is not a time"),
        ('"2m"', '"0.1s"', "auto.toml:9: site.spider.interval: '0.1s' is not a time, at least 1 s"),
        ('"cores=1"', '"cores=="', "auto.toml:13: site.spider.kind.single.where: 'cores==' is not a condition"),
        ('"8 GiB"', '"8 h"', "auto.toml:22: site.spider.kind.four.memory: '8 h' is not a size"),
        ("cores = 4", "cores = 4.5", "auto.toml:21: site.spider.kind.four.cores: 4.5 is not a whole number"),
        ("cores = 4", "cores = true", "auto.toml:21: site.spider.kind.four.cores: True is not a whole number"),
        ("min = 1", "min = 21", "auto.toml:17: site.spider.kind.single.min: is 21, more than max, which is 20"),
        (
            'view = "FourCore/todo"',
            'view = "FourCore/done"',
            "auto.toml:20: site.spider.kind.four.view: 'FourCore/done'",
        ),
        ('view = "FourCore/todo"', 'view = "a/todo"\nwhere = "x=1"', "a view or a condition, not both"),
        ("max = 5", "", "auto.toml:19: site.spider.kind.four: max is missing"),
        ('system = "slurm"', "", "auto.toml:4: site.spider: system is missing"),
        ("kind.four]", 'kind."a b"]', "site.spider.kind.a b: is no name that can be part of a job"),
        ('native = ["--exclusive"]', 'native = "--exclusive"', "native: '--exclusive' is not a list of texts"),
        ('native = ["--exclusive"]', 'native = ["a\\nb"]', "is not a list of texts"),
        ('queue = "long"', 'queue = "a\\nb"', "site.spider.kind.four.queue: 'a\\nb' is not a text of one line"),
        ("max = 5", "max = 5\nmax = 6", "not valid TOML"),
        ('"picas.db"', '"picas.db', "not valid TOML"),
        ("[site.spider.kind.four]", "[site.spider.kinds.four]", "auto.toml:19: site.spider.kinds: is no known key"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_number_and_key(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert before in GOOD
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD.replace(before, after))
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert "line" in caught.value.message or "auto.toml:" in caught.value.message


def test_the_nearest_known_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD.replace("backlog = 10", "backlgo = 10"))
    assert caught.value.hint == "did you mean backlog?"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  \n",
        b"\x00\xff\xfe\x00binary",
        "[" * 100_000,
        "a=" + "[" * 100_000,
        "x = 1\n" * 400_000,
        'pool = "x"\n',
        "[site]\n",
        "site = 3\n",
        "[site.a]\nsystem = 'slurm'\nkind = 4\n",
        "[site.a]\nsystem = ['slurm']\n[site.a.kind.b]\nmax=1\n",
    ],
    ids=["empty", "blank", "binary", "deep", "nested", "large", "no site", "none", "number", "kind", "list"],
)
def test_f89_files_of_all_sorts_are_refused_within_a_second(tmp_path: Path, content: str | bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, content)
    assert time.monotonic() - begun < 10
    assert len(caught.value.message) < 500


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "missing.toml")
