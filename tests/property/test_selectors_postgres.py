"""Python and PostgreSQL give one answer for every selector and document, as far as PostgreSQL is said to tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picas.selectors import matches, parse, to_postgres
from support.postgres_server import PostgresServer
from support.selectors import DOCUMENTS, SELECTORS


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_server.address("postgres"), autocommit=True) as opened:
        yield opened


@settings(max_examples=300, deadline=None)
@given(SELECTORS, DOCUMENTS, st.booleans())
@example({"a": {"$not": {"$in": [1]}}}, {}, True)
@example({"a": {"$in": [None]}}, {}, True)
@example({"a": {"$in": [True, "x"]}}, {"a": [1, "x"]}, True)
@example({"a": {"$in": [1]}}, {"a": [True]}, True)
@example({"a": {"$not": {"$gt": 1}}}, {"a": "z"}, True)
@example({"a": {"$not": {"$gt": "b"}}}, {"a": None}, True)
@example({"a": 1}, {"a": True}, True)
@example({"a": 1}, {"a": 1.0}, True)
@example({"a": {"$gt": "b"}}, {"a": "\u00e9"}, True)
@example({"a.0": 1}, {"a": [1]}, True)
def test_python_and_postgres_agree(
    connection: psycopg.Connection[Any], source: dict[str, Any], doc: dict[str, Any], ascii_only: bool
) -> None:
    selector = parse(source)
    expression, values, is_exact = to_postgres(selector, "t.doc")
    query = f"WITH t (doc) AS (SELECT %s::json) SELECT {expression} FROM t"
    ((answer,),) = connection.execute(query.encode(), [json.dumps(doc, ensure_ascii=ascii_only), *values]).fetchall()
    assert answer is matches(selector, doc) if is_exact else answer or not matches(selector, doc)
