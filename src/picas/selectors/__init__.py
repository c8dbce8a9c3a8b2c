"""Conditions on tokens, in a subset of CouchDB's Mango selector language.

A selector is written as Mango, ``{"cores": {"$gte": 4}}`` (`parse`), or in shorthand, ``cores>=4`` (`parse_where`).
It is evaluated in Python (`matches`) and compiled to SQL (`to_sql` of SQLite, `to_postgres`) and JavaScript
(`to_javascript`); every form gives the same answer:

- Operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $regex $and $or $not``. A bare value is ``$eq``, several
  fields or operators side by side are ``$and``, and an empty selector holds for every token.
- A field is a path through objects, ``tags.site`` or ``{"tags": {"site": ...}}``; ``\\.`` is a dot within a name and
  ``\\\\`` a backslash. Elements of an array have no path.
- A field without a value, at whatever level it ends, is *missing*. Only ``{"$exists": false}`` holds for it: neither
  ``$ne`` nor ``$nin`` does, nor the ``$not`` of any test. A field that is ``null`` is not missing.
- ``$not`` moves inwards, as in CouchDB: over ``$and`` and ``$or`` by De Morgan's laws, turning ``$exists`` round; of
  any other test it holds where the field is there and the test fails.
- Values of two types are never equal: ``true`` is not ``1``, ``"1"`` is not ``1``; but ``1`` is ``1.0``.
- ``$gt $gte $lt $lte`` take a number or a string and hold only for values of that type (CouchDB also orders the types
  among themselves, by which the ``""`` of an unset field is more than any number). Strings go by code point.
- ``$in`` on an array holds if one of its elements is listed, as in CouchDB.
- ``$regex`` holds for strings in which Python's `re.search` finds the pattern; `to_javascript` refuses some patterns.
- Operands are scalars: two arrays or objects are not compared. Numbers lie within ±(2**53 - 1), beyond which
  JavaScript and SQLite round what Python does not.
"""

from __future__ import annotations

from picas.selectors.evaluate import matches, regexp
from picas.selectors.javascript import to_javascript
from picas.selectors.postgres import to_postgres
from picas.selectors.sqlite import to_sql
from picas.selectors.tree import Selector, both, parse
from picas.selectors.where import parse_where

__all__ = [
    "Selector",
    "both",
    "matches",
    "parse",
    "parse_where",
    "regexp",
    "to_javascript",
    "to_postgres",
    "to_sql",
]
