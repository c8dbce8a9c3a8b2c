"""Templates: what is replaced, what is left alone, and that no value is ever run."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from picas.errors import UsageError
from picas.templates import expand


@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        (["echo", "{x}"], {"x": "a b;c"}, ["echo", "a b;c"]),
        (["echo", "pre{x}post", "{x}{x}"], {"x": 3}, ["echo", "pre3post", "33"]),
        (["echo {x}"], {"x": "it's"}, "echo " + shlex.quote("it's")),
        (["true"], {}, ["true"]),
        (["a\tb"], {}, "a\tb"),
        (["{t.site.n}"], {"t": {"site": {"n": 7}}}, ["7"]),
        (["{t.site}"], {"t.site": "flat", "t": {"site": "deep"}}, ["flat"]),
        (["{x}", "{y}", "{z}"], {"x": True, "y": None, "z": [1.5]}, ["true", "null", "[1.5]"]),
        (["{{x}}", "${{x}}"], {"x": 1}, ["{x}", "${x}"]),
        (["awk", "{print $1}", "{1..5}", "{a..z}", "{a,b}", "{}", "{ x }"], {}, None),
        (["{x}"], {"x": "{y}", "y": 1}, ["{y}"]),
        (["echo {x} # done"], {"x": "a b"}, "echo 'a b' # done"),
        (["{x} a#{x}"], {"x": "a b"}, "'a b' a#'a b'"),
        (["echo \"{x}\" '{x}'"], {"x": "plain-1.5"}, "echo \"plain-1.5\" 'plain-1.5'"),
        (["echo $(( {i} * 2 ))"], {"i": 21}, "echo $(( 21 * 2 ))"),
    ],
)
def test_expand(words: list[str], fields: dict[str, object], expected: list[str] | str | None) -> None:
    assert expand(words, fields) == (words if expected is None else expected)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no field 'size'") as caught:
        expand(["echo", "{size}"], {"name": 1, "a": 2})
    assert "a, name" in caught.value.hint
    with pytest.raises(UsageError):
        expand(["{x.y}"], {"x": 1})


@pytest.mark.parametrize(
    "script",
    [
        'echo "{x}"',
        "echo '{x}'",
        "echo $'a\\' {x}'",
        "echo `echo {x}`",
        "echo $(( {x} ))",
        'echo "$(echo "{x}")"',
        'echo "${v:-"{x}"}"',
        "cat <<END\n{x}\nEND",
        "true # {x}",
        "echo 'a'\"{x}\"",
        "echo \\{x} b",
    ],
)
def test_no_value_is_put_where_quoting_would_not_hold(script: str) -> None:
    with pytest.raises(UsageError, match="within quotes"):
        expand([script], {"x": "$(id)"})


@pytest.mark.parametrize("value", ["$(echo run)", "`echo run`", "; echo run", "a'b\"c", "-n", "", "\\", "a\nb", "*"])
@pytest.mark.parametrize("script", ["printf %s {x}", "printf '%s' \"a\"{x}", 'v=$(printf %s {x}); printf %s "$v"'])
def test_bash_sees_the_very_value(value: str, script: str) -> None:
    command = expand([script], {"x": value})
    assert isinstance(command, str)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.removeprefix("a" if '"a"' in script else "") == value
