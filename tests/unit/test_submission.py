from __future__ import annotations

from pathlib import Path

import pytest

from picas import conf_yml
from picas.config import find_pool
from picas.crypto import encrypt_password, generate_and_save_key, read_key
from picas.errors import ConfigError, UsageError
from picas.submission import PilotJob, address_for_jobs, environment_for_jobs

HUSH = "correct-horse"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def address(home: Path, **environ: str) -> str | None:
    """The address that a job gets, submitted with these variables."""
    variables = {"HOME": str(home), **environ}
    return address_for_jobs(find_pool(None, variables, home), variables, home)


def keep_password(home: Path, server: str) -> None:
    key = home / ".config/picas/key.dat"
    generate_and_save_key(key)
    secret = encrypt_password(HUSH, read_key(key)).decode()
    values = {"host_url": server, "database": "db", "username": "me", "encrypted_password": secret}
    conf_yml.write(home / ".config/picas/conf.yml", values)


def test_a_path_is_made_absolute(home: Path) -> None:
    assert address(home, PICAS_POOL="x.db") == str(home / "x.db")
    assert address(home) == str(home / "picas.db")


def test_a_pool_in_memory_is_none_for_jobs(home: Path) -> None:
    with pytest.raises(UsageError, match="a pool in memory"):
        address(home, PICAS_POOL="memory:")


def test_a_user_goes_with_the_address(home: Path) -> None:
    assert address(home, PICAS_POOL="couchdb://h/db") == "couchdb://h/db"
    assert address(home, PICAS_POOL="couchdb://a%40b@h:1/db?ca=x") == "couchdb://a%40b@h:1/db?ca=x"


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"PICAS_POOL": f"couchdb://me:{HUSH}@h/db"}, "PICAS_POOL"),
        ({"PICAS_POOL": "couchdb://me@h/db", "PICAS_PASSWORD": HUSH}, "PICAS_PASSWORD"),
        (
            {"PICAS_HOST_URL": "http://h", "PICAS_DATABASE": "db", "PICAS_USERNAME": "me", "PICAS_PASSWORD": HUSH},
            "PICAS_PASSWORD",
        ),
        ({"PICAS_POOL": f"postgresql://me:{HUSH}@h/db"}, "PICAS_POOL"),
        ({"PICAS_POOL": "postgresql://me@h/db", "PGPASSWORD": HUSH}, "PGPASSWORD"),
    ],
)
def test_a_password_that_jobs_would_not_find_is_said_in_one_line(
    home: Path, environ: dict[str, str], where: str
) -> None:
    with pytest.raises(ConfigError, match=f"it is in {where} alone") as caught:
        address(home, **environ)
    assert HUSH not in caught.value.message + caught.value.hint
    assert "picas init" in caught.value.hint or ".pgpass" in caught.value.hint


def test_a_password_in_the_configuration_file_is_found_by_jobs(home: Path) -> None:
    keep_password(home, "http://h:5984")
    assert address(home) == "http://me@h:5984/db"
    assert address(home, PICAS_PASSWORD=HUSH) == "http://me@h:5984/db"
    with pytest.raises(ConfigError, match="PICAS_PASSWORD"):
        address(home, PICAS_PASSWORD="another")
    with pytest.raises(ConfigError, match="PICAS_POOL"):
        address(home, PICAS_POOL=f"http://me:{HUSH}@elsewhere:5984/db")


def test_a_password_in_pgpass_is_found_by_jobs(home: Path) -> None:
    (home / ".pgpass").write_text("x")
    assert address(home, PICAS_POOL=f"postgresql://me:{HUSH}@h/db") == "postgresql://me@h/db"


@pytest.mark.parametrize("scheme", ["couchdb", "postgresql"])
def test_an_address_with_its_password_in_a_private_file(home: Path, scheme: str) -> None:
    file = home / "picas.toml"
    file.write_text(f'pool = "{scheme}://me:{HUSH}@h/db"')
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        address(home)
    file.chmod(0o600)
    assert address(home) is None, "the job reads the file itself"


def test_the_variables_of_a_job(home: Path) -> None:
    environ = {"HOME": str(home), "PATH": "/usr/bin", "PICAS_PASSWORD": HUSH, "PYTHONPATH": "/lib/mine", "X": "1"}
    made = environment_for_jobs(find_pool(None, environ, home), environ, home)
    assert made["PICAS_POOL"] == str(home / "picas.db")
    assert made["PATH"].endswith(":/usr/bin")
    assert made["PYTHONPATH"] == "/lib/mine"
    assert HUSH not in made.values()
    assert "X" not in made


def test_the_pilot_ends_when_it_would_be_warned(home: Path) -> None:
    def asked(**values: float) -> list[str]:
        return list(PilotJob(environment={}, folder=home, output=home, **values).spec("picas-1").argv)  # type: ignore[arg-type]

    assert asked(time=3600.0)[-2:] == ["--max-time", "3480s"]
    assert asked(time=200.0)[-2:] == ["--max-time", "150s"]
    assert asked(time=3600.0, warning=600.0)[-2:] == ["--max-time", "3000s"]
    assert asked(cores=2, memory=3 << 30, gpus=1)[-6:] == ["--cores", "2", "--memory", "3072MiB", "--gpus", "1"]
    with pytest.raises(UsageError, match="a job of 60 s that is warned 60 s before its end has no time to work"):
        asked(time=60.0, warning=60.0)


def test_a_job_knows_its_name(home: Path) -> None:
    spec = PilotJob(environment={"A": "1"}, folder=home, output=home).spec("picas-1")
    assert spec.environment == {"A": "1", "PICAS_JOB": "picas-1"}
