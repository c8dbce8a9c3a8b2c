"""What is kept of a stream to be sent to who follows."""

from __future__ import annotations

from pathlib import Path

from picas.pilot.capture import INLINE_BYTES, TAIL_BYTES, Capture
from picas.pilot.windows import Stream, Window


def test_bytes_go_on_where_they_ended_and_nothing_new_is_no_news() -> None:
    stream = Stream()

    assert stream.take(0, b"one ", 0.0)
    assert stream.take(4, b"two", 1.0)
    assert not stream.take(7, b"", 2.0)
    assert (stream.at, stream.data, stream.end) == (0, b"one two", 7)


def test_after_a_gap_it_begins_anew() -> None:
    stream = Stream()
    stream.take(0, b"one", 0.0)

    assert stream.take(100, b"two", 1.0)
    assert (stream.at, stream.data) == (100, b"two")


def test_what_is_old_goes_but_for_a_rest() -> None:
    stream = Stream()
    stream.take(0, b"a" * 10_000, 0.0)
    assert len(stream.data) == 10_000
    stream.take(10_000, b"b" * 10, 20.0)
    assert (len(stream.data), stream.end) == (4096, 10_010)
    assert stream.data.endswith(b"ab" + b"b" * 9)


def test_it_is_never_larger_than_it_may_be() -> None:
    stream = Stream()
    for turn in range(10):
        stream.take(turn * TAIL_BYTES, bytes([turn]) * TAIL_BYTES, turn * 0.1)
    assert stream.data == bytes([9]) * TAIL_BYTES


def test_a_window_tells_of_one_attempt() -> None:
    window = Window("t1", 3)

    assert window.take(0, b"", 5, b"err", 0.0)
    tail = window.tail()
    assert (tail.id, tail.fence, tail.out, tail.out_at, tail.err, tail.err_at) == ("t1", 3, b"", 0, b"err", 5)


class _Fed(Capture):
    """A capture that is given bytes as they come from its pipe."""

    def feed(self, data: bytes) -> None:
        self._keep(data)


def test_the_end_of_a_stream_can_be_had_while_it_is_captured(tmp_path: Path) -> None:
    """In memory, on disk, and after the middle was dropped: always the last bytes, never across the gap."""
    capture, whole = _Fed(tmp_path / "out"), b""
    capture.begin(4 * INLINE_BYTES)
    for turn in range(60):
        data = turn.to_bytes(2, "big") * 20_000
        capture.feed(data)
        whole += data
        for most in (1, 1000, TAIL_BYTES):
            assert capture.recent(0, most) == (len(whole) - most, whole[-most:])
        assert capture.recent(len(whole) - 5, 1000) == (len(whole) - 5, whole[-5:])
    assert capture.recent(len(whole), 1000) == (len(whole), b"")
    size = capture.size
    at, data = capture.recent(0, size)
    assert 0 < at < size
    assert whole[at:] == data
    assert Path(str(capture.result())).stat().st_size < size
