"""What commands write for terminals, as pieces of text with classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picas.web.ansi import Piece, pieces

ESC = "\x1b"


def shown(text: str) -> list[tuple[str, str]]:
    return [(piece.text, piece.classes) for piece in pieces(text)]


def test_plain_text_is_one_piece() -> None:
    assert shown("a\tb\nc\n") == [("a\tb\nc\n", "")]
    assert shown("") == []


def test_colours_and_weight_become_classes() -> None:
    assert shown(f"{ESC}[1;31mbad{ESC}[0m ok {ESC}[92;4mgood{ESC}[39mplain{ESC}[24m.") == [
        ("bad", "ansi-bold ansi-red"),
        (" ok ", ""),
        ("good", "ansi-underline ansi-bright-green"),
        ("plain", "ansi-underline"),
        (".", ""),
    ]


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("38;5;196", "ansi-bright-red"),
        ("38;5;1", "ansi-red"),
        ("38;5;9", "ansi-bright-red"),
        ("48;5;244", "ansi-on-white"),
        ("38;2;0;0;255", "ansi-bright-blue"),
        ("38:2:0:120:0", "ansi-green"),
        ("38;5;232", "ansi-black"),
        ("38;5", ""),
        ("38", ""),
        ("41", "ansi-on-red"),
        ("107", "ansi-on-bright-white"),
        ("999999999999", ""),
        ("", ""),
    ],
)
def test_colours_of_256_and_of_all_are_the_nearest_of_sixteen(codes: str, classes: str) -> None:
    assert shown(f"{ESC}[{codes}mx") == [("x", classes)]


def test_a_progress_bar_is_shown_as_it_ended() -> None:
    assert shown("start\n 10 %\r 50 %\r100 %\nend") == [("start\n100 %\nend", "")]
    assert shown("windows\r\nlines\r\n") == [("windows\nlines\n", "")]
    assert shown("cut off\r") == []


def test_a_backspace_takes_a_letter_back() -> None:
    assert shown("ab\bc\b\b\bd") == [("d", "")]


@pytest.mark.parametrize(
    "sequence",
    [
        f"{ESC}[2J",
        f"{ESC}[10;20H",
        f"{ESC}[?25l",
        f"{ESC}]0;title\x07",
        f"{ESC}]52;c;aGVsbG8=\x07",
        f"{ESC}]8;;https://evil.example{ESC}\\",
        f"{ESC}P1$r0m{ESC}\\",
        f"{ESC}_x{ESC}\\",
        f"{ESC}c",
        f"{ESC}(B",
        "\x9b2J",
        "\x9d0;x\x9c",
    ],
)
def test_what_a_terminal_would_obey_is_left_out(sequence: str) -> None:
    assert shown(f"a{sequence}b") == [("ab", "")]


def test_what_cannot_be_seen_is_shown() -> None:
    assert shown("a\x00\x07\u202eb\ufeff") == [("a\\x00\\x07\\u202eb\\ufeff", "")]


def test_very_many_colours_end_with_a_remark() -> None:
    found = pieces(f"{ESC}[31ma{ESC}[32mb\n" * 30_000)

    assert len(found) < 50_000
    assert "the file has the rest" in found[-1].text


@given(st.text(alphabet=st.sampled_from("\x1b[]m0123;:Pab\r\n\b\t\x07\\\x9b\x9d é")))
def test_no_text_is_too_odd(text: str) -> None:
    for piece in pieces(text):
        assert isinstance(piece, Piece)
        assert not set(piece.text) & set("\x1b\r\b\x07\x9b\x9d")
        assert set(piece.classes) <= set("abcdefghijklmnopqrstuvwxyz- ")
