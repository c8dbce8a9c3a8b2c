"""The contract on values: what is stored comes back exactly, and what cannot be is refused (F70 to F74)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas import tokens
from picas.errors import InvalidToken
from picas.stores.base import TokenStore
from picas.testing.samples import all_pages, claim, found, ids, put, settle, shown

__all__ = ["BAD_DOCUMENTS", "BAD_IDS", "IDS", "JSON", "TEXTS", "VALUES", "TestIds", "TestValues"]

TEXTS = {
    "empty": "",
    "emoji": "👩‍🔬🧬",
    "line separators": "a\u2028b\u2029c",
    "byte order mark": "\ufeffx",
    "composed and combining": "é e\u0301",
    "right to left": "\u202eabc\u202c שלום",
    "control characters": "\r\n\t\x01\x1b[31m\x7f\x85",
    "quotes and backslashes": "'\"`\\\\ \\n \\u0041 %s %00 {}",
    "SQL": "'); DROP TABLE tokens; --",
    "the last characters": "\uffff\U0010ffff",
    "one long line": "x" * 100_000,
}

VALUES: dict[str, Any] = {
    "largest integers": [2**53 - 1, -(2**53) + 1],
    "zeros": [0, 0.0, -0.0],
    "floats": [0.1, 1e300, 2.2250738585072014e-308, 1.7976931348623157e308, 3.0],
    "truths": [True, False, None],
    "numbers in text": ["1", "1.0", "true", "null", "NaN"],
    "empty ones": [[], {}, [[]], [{}]],
    "depth": json.loads("[" * 99 + "]" * 99),
    "many fields": {f"f{n}": n for n in range(9_900)},
    "odd names": {"": 1, " ": 2, "$ref": 3, "a.b": 4, "a\\b": 5, "é": 6, "e\u0301": 7, "__proto__": 8, "\n": 9},
}

IDS = [
    "a b",
    " a ",
    "a%2Fb",
    "a/b",
    "%",
    "a'b\"c`d",
    "a\\b",
    "a?b#c&d=e",
    "-rf",
    "~",
    "a..b",
    "...",
    "CON",
    "é",
    "e\u0301",
    "👩‍🔬",
    "token",
    "Token",
    "TOKEN",
    "\u2028",
    "x" * 255,
    "1",
    "1.0",
    "01",
    "null",
]

BAD_IDS = ["", "_design/x", "_", "a\nb", "a\x00", "a\x7f", "a\x85", ".", "..", "\ud800", "x" * 256, "é" * 128, None, 1]

BAD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "NUL": {"n": "a\x00b"},
    "NUL in a name": {"a\x00b": 1},
    "lone surrogate": {"n": "\ud800"},
    "lone surrogate in a name": {"n": {"\udfff": 1}},
    "NaN": {"n": float("nan")},
    "Infinity": {"n": [float("-inf")]},
    "2**53": {"n": 2**53},
    "-2**53": {"n": {"m": -(2**53)}},
    "a float that some round to zero": {"n": 5e-324},
    "5,000 digits": {"n": 10**5000},
    "depth 101": {"n": json.loads("[" * 100 + "]" * 100)},
    "10,001 fields": {"n": {f"f{n}": n for n in range(10_001)}},
    "8,000,001 bytes": {"n": "x" * 8_000_000},
    "8 MB of two bytes each": {"n": "é" * 4_000_000},
    "reserved field": {"_x": 1},
    "bytes": {"n": b"x"},
    "a tuple": {"n": (1, 2)},
    "a set": {"n": {1}},
    "a number as a name": {"n": {1: 2}},
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["\x00", "\ud800", "\u2028", "e\u0301", "1", ""]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Any JSON value, and some that are none."""


def exact(value: Any) -> str:
    """A form in which 1, 1.0 and true differ, and the order of fields does not matter."""
    return json.dumps(value, sort_keys=True)


def told(store: TokenStore, value: Any) -> str:
    """The same as exactly as the store tells numbers apart."""
    return exact(value if store.capabilities.exact_numbers else _floats(value))


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _floats(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return float(value) + 0.0 if type(value) in (int, float) else value


class TestValues:
    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_text_comes_back_exactly(self, store: TokenStore, text: str) -> None:
        put(store, "a", input=text, tags={"x": text}, **{f"f{text[:50]}": 1})
        doc = found(store, "a")
        assert (doc["input"], doc["tags"], doc[f"f{text[:50]}"]) == (text, {"x": text}, 1)

    @pytest.mark.parametrize("value", VALUES.values(), ids=list(VALUES))
    def test_values_come_back_exactly(self, store: TokenStore, value: Any) -> None:
        put(store, "a", input=value)
        assert told(store, found(store, "a")["input"]) == told(store, value)

    @pytest.mark.parametrize("value", VALUES.values(), ids=list(VALUES))
    def test_also_after_a_claim_and_a_settlement(self, store: TokenStore, value: Any) -> None:
        put(store, "a", input=value)
        (doc,) = claim(store)
        assert told(store, doc["input"]) == told(store, value)
        assert told(store, settle(store, doc)["input"]) == told(store, value)
        assert told(store, found(store, "a")["input"]) == told(store, value)

    @pytest.mark.parametrize("fields", BAD_DOCUMENTS.values(), ids=list(BAD_DOCUMENTS))
    def test_what_cannot_be_kept_is_refused_when_it_is_added(self, store: TokenStore, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidToken, match="token a"):
            store.put([{"_id": "a", **fields}])
        with pytest.raises(InvalidToken, match="token a"):
            store.load([{"_id": "a", **fields}])
        assert store.get(["a"]) == [None]

    def test_a_token_as_large_as_allowed_can_be_claimed_and_given_back(self, store: TokenStore) -> None:
        put(store, "a", input="x" * (tokens.MAX_BYTES - 200))
        (doc,) = claim(store)
        assert len(doc["input"]) == tokens.MAX_BYTES - 200

    def test_any_value_comes_back_exactly_or_is_refused(self, store: TokenStore) -> None:
        @given(value=JSON)
        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def check(value: Any) -> None:
            try:
                store.put([{"_id": "a", "input": value}])
            except InvalidToken:
                assert store.get(["a"]) == [None]
            else:
                doc = found(store, "a")
                store.delete([doc])
                assert told(store, doc["input"]) == told(store, value)

        check()


class TestIds:
    @pytest.mark.parametrize("token_id", IDS, ids=shown)
    def test_an_id_comes_back_exactly(self, store: TokenStore, token_id: str) -> None:
        put(store, token_id, n=1)
        (doc,) = claim(store)
        assert doc["_id"] == token_id
        assert settle(store, doc)["_id"] == token_id
        assert ids(all_pages(store, None)) == [token_id]
        assert store.delete([found(store, token_id)]) == [True]
        assert store.get([token_id]) == [None]

    def test_no_two_of_them_are_one(self, store: TokenStore) -> None:
        answers = store.put([{"_id": token_id, "n": token_id} for token_id in IDS])
        assert all(isinstance(answer, str) for answer in answers)
        assert [found(store, token_id)["n"] for token_id in IDS] == IDS
        assert sorted(ids(all_pages(store, None, limit=3))) == sorted(IDS)

    @pytest.mark.parametrize("token_id", BAD_IDS, ids=shown)
    def test_others_are_refused(self, store: TokenStore, token_id: Any) -> None:
        with pytest.raises(InvalidToken):
            store.put([{"_id": token_id}])
        with pytest.raises(InvalidToken):
            store.load([{"_id": token_id}])
        assert all_pages(store, None) == []

    def test_a_dependent_finds_odd_ids_too(self, store: TokenStore) -> None:
        put(store, *IDS)
        put(store, "last", after=IDS)
        for doc in claim(store, 100):
            settle(store, doc)
        assert ids(claim(store, 100)) == ["last"]
