"""CSV whose cells stay the text they are."""

from __future__ import annotations

import csv
import io

import pytest

from picas.sheets import csv_line


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x")'])
def test_s19_text_that_begins_like_a_formula_begins_with_a_quote(text: str) -> None:
    assert read(csv_line(["a", text])) == [["a", f"'{text}"]]


@pytest.mark.parametrize("text", ["a\r=1", "a\n=1", "a\r\n=1", 'a","=1', "a,=1", "ö", ""])
def test_s19_no_text_begins_a_cell_or_a_line_of_its_own(text: str) -> None:
    assert read(csv_line(["a", text]) + csv_line(["b"])) == [["a", text], ["b"]]


def test_numbers_stay_numbers() -> None:
    assert csv_line([-1, 2.5, None, True]) == "-1,2.5,,True\n"


def read(text: str) -> list[list[str]]:
    """What a reader of CSV has of it."""
    return list(csv.reader(io.StringIO(text, newline="")))
