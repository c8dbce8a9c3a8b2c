"""CSV that spreadsheets open: cells stay the text they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

__all__ = ["csv_line"]

_FORMULAS = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet takes for the begin of a formula, where it is the first character of a cell."""


def csv_line(values: Sequence[object]) -> str:
    """A line of CSV whose cells no spreadsheet takes for formulas; text that looks like one begins with a quote."""
    buffer = io.StringIO()
    # A cell with a carriage return is quoted by it only where lines end in one; unquoted it would begin a line.
    csv.writer(buffer, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
