"""What a document may hold, and what its fields mean."""

from __future__ import annotations

import json
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from picas import plain_json, tokens
from picas.errors import InvalidToken
from picas.testing.samples import shown
from picas.testing.values import BAD_DOCUMENTS, BAD_IDS, IDS, JSON, TEXTS, VALUES, exact
from picas.tokens import Requirements

GIB = 2**30


@pytest.fixture(autouse=True, scope="module", params=[orjson, plain_json], ids=["orjson", "plain"])
def reader(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here, with orjson and with what stands in for it in bundles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "orjson", request.param)
        patch.setattr(tokens, "parse", request.param.loads)
        yield


class TestId:
    @pytest.mark.parametrize("token_id", IDS, ids=shown)
    def test_allowed(self, token_id):
        assert tokens.check_id(token_id) == token_id

    @pytest.mark.parametrize("token_id", BAD_IDS, ids=shown)
    def test_refused(self, token_id):
        with pytest.raises(InvalidToken, match="id"):
            tokens.check_id(token_id)

    def test_the_limit_is_in_bytes(self):
        assert tokens.check_id("é" * 127)
        with pytest.raises(InvalidToken, match="255 bytes"):
            tokens.check_id("é" * 128)


class TestCheck:
    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("type", ["token", "note"], [1, None]),
            ("lock", [0, 1.5, -1], ["0", None, True]),
            ("done", [0, 5], ["", False]),
            ("command", ["ls", ["ls", "-l"], ["ls", ""]], ["", " ", [], [""], ["ls", 1], {}, 1, None]),
            ("priority", [0, -5, 10**12], [1.5, "1", True, None]),
            ("after", [[], ["a"]], ["a", [1], {}, None]),
            ("not_before", [0, 1.5], ["now", None, True]),
            ("max_scrub", [0, 3], [-1, 1.0, "1", True]),
            ("scrub_count", [0, 3], [-1, None]),
            ("tags", [{}, {"a": 1}], [[], "a", None]),
            ("requires", [{}, {"cores": 4}, {"memory": "8 GiB"}], [{"cores": "many"}, [1], "4", {"cores": -1}]),
            (
                "retry_on",
                ["75:delay=5m", {"75": "never", "memory": "memory*2:max=8GiB"}],
                ["", {}, "75", "75:soon", {"75": 1}, ["75:never"], 75, None, True, "9\x1b:never"],
            ),
            ("quiet_limit", [60, 0.5, "30m"], [0, -1, "soon", "", True, None, [], 10**400, "9" * 400]),
        ],
    )
    def test_the_types_of_our_fields(self, name, good, bad):
        for value in good:
            assert tokens.check({"_id": "t", name: value}) == "t"
        for value in bad:
            with pytest.raises(InvalidToken, match=rf"token t: .*{name}"):
                tokens.check({"_id": "t", name: value})

    def test_fields_of_others_are_theirs(self):
        assert tokens.check({"_id": "t", "input": object, "whatever": 1}) == "t"

    def test_without_an_id(self):
        with pytest.raises(InvalidToken, match="id None"):
            tokens.check({})


class TestEncode:
    @pytest.mark.parametrize("value", [*VALUES.values(), *TEXTS.values()], ids=[*VALUES, *TEXTS])
    def test_what_is_kept_exactly(self, value):
        doc = {"_id": "t", "input": value}
        assert exact(tokens.loads(tokens.encode(doc))) == exact(doc)

    @pytest.mark.parametrize("fields", BAD_DOCUMENTS.values(), ids=list(BAD_DOCUMENTS))
    def test_what_is_refused(self, fields):
        with pytest.raises(InvalidToken, match="token t"):
            tokens.encode({"_id": "t", **fields})

    @pytest.mark.parametrize(
        ("doc", "path"),
        [
            ({"a": {"b": [0, {"c": float("nan")}]}}, r"a\.b\[1\]\.c"),
            ({"a": [2**53]}, r"a\[0\]"),
            ({"a": {"b": "\x00"}}, r"a\.b"),
            ({"\x00": 1}, "the document"),
        ],
    )
    def test_the_message_says_where(self, doc, path):
        with pytest.raises(InvalidToken, match=path):
            tokens.encode({"_id": "t", **doc})

    @pytest.mark.parametrize("letter", ["x", "é", "👩"])
    def test_the_limit_of_size_is_exact_and_in_bytes(self, letter):
        empty = len(tokens.encode({"_id": "t", "n": ""}).encode())
        count, rest = divmod(tokens.MAX_BYTES - empty, len(letter.encode()))
        text = letter * count + "x" * rest
        assert len(tokens.encode({"_id": "t", "n": text}).encode()) == tokens.MAX_BYTES
        with pytest.raises(InvalidToken, match="8,000,000"):
            tokens.encode({"_id": "t", "n": text + "x"})

    def test_the_limits_of_depth_and_of_fields_are_exact(self):
        def nested(depth):
            return {"_id": "t", "n": json.loads("[" * (depth - 1) + "]" * (depth - 1))}

        assert tokens.encode(nested(tokens.MAX_DEPTH))
        assert tokens.encode({"_id": "t", **{f"f{n}": n for n in range(tokens.MAX_KEYS - 1)}})
        with pytest.raises(InvalidToken, match="deeper"):
            tokens.encode(nested(tokens.MAX_DEPTH + 1))
        with pytest.raises(InvalidToken, match="10,000"):
            tokens.encode({"_id": "t", **{f"f{n}": n for n in range(tokens.MAX_KEYS)}})

    def test_a_bottomless_document_is_refused_quickly(self):
        bottomless: dict = {"_id": "t"}
        inner = bottomless
        for _ in range(100_000):
            inner["n"] = {}
            inner = inner["n"]
        with pytest.raises(InvalidToken, match="deeper"):
            tokens.encode(bottomless)

    @given(value=JSON)
    @settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_any_value_is_kept_exactly_or_refused(self, value):
        doc = {"_id": "t", "input": value}
        try:
            text = tokens.encode(doc)
        except InvalidToken:
            return
        assert exact(tokens.loads(text)) == exact(doc)
        assert exact(tokens.loads(text.encode())) == exact(doc)


class TestLoads:
    @pytest.mark.parametrize(
        "text",
        [
            '{"a":NaN}',
            "[Infinity]",
            "-Infinity",
            '{"a":1,"a":2}',
            '{"a":{"b":1,"b":1}}',
            "[" * 100_000,
            "{",
            "",
            "[1]x",
        ],
        ids=shown,
    )
    def test_what_is_refused(self, text):
        with pytest.raises(ValueError, match=r".+"):
            tokens.loads(text)

    def test_the_message_names_the_field(self):
        with pytest.raises(ValueError, match="'b' stands twice"):
            tokens.loads('{"a": {"b": 1, "c": 2, "b": 3}}')

    @pytest.mark.parametrize("text", ["[1e400]", "1" * 5000])
    def test_a_number_that_python_reads_otherwise_is_refused_at_last(self, text):
        with pytest.raises(ValueError, match=r".+"):
            tokens.encode({"_id": "t", "n": tokens.loads(text)})


class TestAttachmentName:
    @pytest.mark.parametrize(
        "name", ["a", "a/b", "a b", "é", "...", "a..b", "-x", "x" * tokens.MAX_NAME_BYTES], ids=shown
    )
    def test_allowed(self, name):
        assert tokens.check_attachment_name(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "_x",
            ".",
            "..",
            "./x",
            "../x",
            "a/../b",
            "a/..",
            "a\n",
            "\x00",
            "\ud800",
            "x" * (tokens.MAX_NAME_BYTES + 1),
        ],
        ids=shown,
    )
    def test_refused(self, name):
        with pytest.raises(InvalidToken, match="attachment name"):
            tokens.check_attachment_name(name)

    @pytest.mark.parametrize("token_id", IDS, ids=shown)
    def test_the_logs_of_every_token_have_allowed_names(self, token_id):
        out, err = tokens.log_names(token_id)
        assert out != err
        assert tokens.check_attachment_name(out)
        assert tokens.check_attachment_name(err)


class TestRequirements:
    @pytest.mark.parametrize(
        ("requires", "expected"),
        [
            (None, Requirements(cores=1)),
            ({}, Requirements(cores=1)),
            ({"cores": 4}, Requirements(cores=4)),
            ({"cores": 0.5}, Requirements(cores=0.5)),
            ({"cores": "2"}, Requirements(cores=2)),
            ({"gpus": 1}, Requirements(cores=1, gpus=1)),
            ({"memory": 1000}, Requirements(cores=1, memory=1000)),
            ({"memory": "8 GiB"}, Requirements(cores=1, memory=8 * GIB)),
            ({"memory": "8Gi"}, Requirements(cores=1, memory=8 * GIB)),
            ({"memory": "8 gb"}, Requirements(cores=1, memory=8e9)),
            ({"memory": "8G"}, Requirements(cores=1, memory=8e9)),
            ({"memory": " 1.5 MiB "}, Requirements(cores=1, memory=1.5 * 2**20)),
            ({"memory": "2 TiB"}, Requirements(cores=1, memory=2 * 2**40)),
            ({"memory": "5 kb"}, Requirements(cores=1, memory=5000)),
            ({"memory": "5 B"}, Requirements(cores=1, memory=5)),
            ({"time": 90}, Requirements(cores=1, time=90)),
            ({"time": "90 s"}, Requirements(cores=1, time=90)),
            ({"time": "2 h"}, Requirements(cores=1, time=7200)),
            ({"time": "30m"}, Requirements(cores=1, time=1800)),
            ({"time": "1 day"}, Requirements(cores=1, time=86400)),
            ({"licence": 2, "disk": "1 GB"}, Requirements(cores=1, other={"licence": 2, "disk": 1e9})),
        ],
    )
    def test_amounts(self, requires, expected):
        assert tokens.requirements({"_id": "t", **({} if requires is None else {"requires": requires})}) == expected

    @pytest.mark.parametrize(
        "requires",
        [
            "8 GiB",
            [1],
            5,
            {"cores": -1},
            {"cores": True},
            {"cores": None},
            {"memory": "much"},
            {"memory": "8 h"},
            {"memory": "-8"},
            {"memory": "1e9"},
            {"time": "2 GiB"},
            {"time": "1:30"},
            {"x": [1]},
        ],
        ids=repr,
    )
    def test_what_cannot_be_read_is_refused(self, requires):
        with pytest.raises(InvalidToken, match="token t: requires"):
            tokens.requirements({"_id": "t", "requires": requires})

    @pytest.mark.parametrize(
        ("need", "offer", "lacking"),
        [
            (Requirements(), Requirements(), []),
            (Requirements(cores=2), Requirements(cores=2), []),
            (Requirements(cores=2), Requirements(cores=1.5), ["cores"]),
            (Requirements(memory=2, gpus=1, time=9), Requirements(memory=1, time=8), ["memory", "gpus", "time"]),
            (Requirements(other={"licence": 1}), Requirements(), ["licence"]),
            (Requirements(other={"licence": 0}), Requirements(), []),
            (Requirements(other={"licence": 1}), Requirements(other={"licence": 3, "x": 1}), []),
        ],
    )
    def test_what_an_offer_lacks(self, need, offer, lacking):
        assert need.lacking(offer) == lacking
        assert need.within(offer) == (not lacking)
