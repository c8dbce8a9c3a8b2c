from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import picas
from picas.errors import InvalidToken, TokenFailed, UsageError
from picas.functions import work
from picas.lifecycle import State
from picas.pilot import calls
from picas.pool import Pool, connect
from picas.testing.samples import claim, eventually, ids
from picas.tokens import Requirements
from support.functions import add, fails_once, square, unlucky, waits_for_a_process


def put(pool: Pool, name: str, *inputs: Any, **fields: Any) -> None:
    """Calls with ids c0, c1, ..."""
    pool.add({"_id": f"c{n}", **calls.token(name, (item,), {}), **fields} for n, item in enumerate(inputs))


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def test_calls_are_made_on_every_store(each_pool: Pool) -> None:
    put(each_pool, "square", *range(20))
    report = work(square, each_pool)
    assert (report.done, report.why) == (20, "no work is left")
    assert [each_pool.get(f"c{n}")["output"] for n in range(20)] == [n * n for n in range(20)]
    assert each_pool.pilots() == []


def test_a_map_on_every_store(each_pool: Pool) -> None:
    assert list(picas.map(square, range(30), pool=each_pool, workers=2)) == [n * n for n in range(30)]
    assert each_pool.pilots() == []


def test_what_a_function_raised_is_raised_where_its_result_is_read(each_pool: Pool) -> None:
    results = picas.map(unlucky, [12, 13, 14], pool=each_pool, workers=1)
    assert next(results) == 12
    with pytest.raises(ValueError, match="13 is unlucky") as caught:
        next(results)
    assert "raise ValueError" in str(caught.value.__cause__)


def test_an_executor_on_every_store(each_pool: Pool) -> None:
    with picas.Executor(each_pool, workers=1) as executor:
        futures = [executor.submit(add, n, 1, c=n) for n in range(10)]
        squares = executor.map(square, range(5))
        assert sum(future.result() for future in concurrent.futures.as_completed(futures)) == 100
        assert list(squares) == [0, 1, 4, 9, 16]
        assert isinstance(executor.submit(unlucky, 13).exception(), ValueError)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)
    assert each_pool.count()[State.TODO] == 0


def test_neither_kind_of_pilot_takes_what_is_for_the_other(each_pool: Pool) -> None:
    put(each_pool, "square", "touch trap")
    each_pool.add([{"_id": "command", "command": ["true"]}])
    offer = Requirements(cores=64, memory=1e12, gpus=8, time=1e9)
    assert ids(claim(each_pool.store, 10, offer=offer)) == ["command"]
    each_pool.add([{"_id": "second", "command": ["true"]}])
    report = work({"square": str.upper}, each_pool)
    assert (report.done, each_pool.get("c0")["output"]) == (1, "TOUCH TRAP")
    assert each_pool.count()[State.TODO] == 1


def test_a_name_in_a_token_is_not_imported(tmp_path: Path) -> None:
    with connect("memory:") as pool:
        put(pool, "os.getpid", None)
        report = work(square, pool)
        assert (report.done, report.why) == (0, "what is left needs more than this pilot offers")


def test_a_failed_call_is_tried_again_as_often_as_it_may(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "fails_once", str(tmp_path / "mark"))
        first = work(fails_once, pool, max_scrub=1, max_tasks=1)
        assert first.retried == 1
        pool.change(pool.store.get(["c0"]), lambda doc: {**doc, "not_before": 0})  # type: ignore[arg-type]
        assert work(fails_once, pool).done == 1
        assert [one["reason"] for one in pool.get("c0")["attempts"]] == ["exception", "exit"]  # type: ignore[index]


@pytest.mark.parametrize("function", [time.sleep, waits_for_a_process])
def test_a_call_is_ended_when_its_time_is_up(tmp_path: Path, function: Any) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        pool.add([{"_id": "c", **calls.token("f", (60,), {})}, {"_id": "d", **calls.token("f", (0,), {})}])
        begun = time.monotonic()
        report = work({"f": function}, pool, token_time=0.3)
        assert time.monotonic() - begun < 20
        assert (report.done, report.failed) == (1, 1)
        ended = pool.get("c")
        assert ended is not None
        assert (ended["reason"], ended["attempts"][0]["exception"]) == ("time", "TimeoutError")
        with pytest.raises(TokenFailed, match=r"\(time\) TimeoutError: it was ended after"):
            calls.result(ended, "c")


def test_a_signal_gives_back_what_is_held_and_was_begun(tmp_path: Path) -> None:
    def stop() -> None:
        with connect(str(tmp_path / "p.db")) as other:
            eventually(lambda: other.count()[State.LOCKED] > 0)
        os.kill(os.getpid(), signal.SIGTERM)

    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "sleep", 60, 60)
        begun = time.monotonic()
        with meanwhile(stop):
            report = work(time.sleep, pool)
        assert time.monotonic() - begun < 20
        assert (report.given_back, report.why) == (1, "told to stop by a signal")
        assert pool.count()[State.TODO] == 2
        assert pool.get("c0")["released"] == 1  # type: ignore[index]
        assert pool.pilots() == []


def test_a_signal_ends_a_pilot_that_has_nothing_to_do_at_once(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool, meanwhile(lambda: _signal_soon(0.5)):
        report = work(square, pool, idle=60)
        assert report.seconds < 10


def _signal_soon(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def test_while_a_call_is_long_others_results_are_stored_and_what_waits_goes_to_others(tmp_path: Path) -> None:
    seen: list[dict[State, int]] = []
    begun = threading.Event()

    def call(seconds: float) -> float:
        if seconds:
            begun.set()
        time.sleep(seconds)
        return seconds

    def look() -> None:
        begun.wait(20)
        with connect(str(tmp_path / "p.db")) as other:
            eventually(lambda: (other.count()[State.DONE], other.count()[State.LOCKED]) == (5, 1))
            seen.append(other.count())

    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "call", 0, 0, 0, 0, 0, 4, *[0] * 20)
        with meanwhile(look):
            report = work({"call": call}, pool)
        assert seen[0][State.TODO] == 20
        assert report.done == 26
        assert report.given_back > 0


def test_a_lease_is_kept_while_a_call_is_long(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "sleep", 4)
        with meanwhile(lambda: _recover_for(tmp_path, 4)):
            report = work(time.sleep, pool, lease=1.0)
        assert (report.done, report.superseded) == (1, 0)


def _recover_for(tmp_path: Path, seconds: float) -> None:
    with connect(str(tmp_path / "p.db")) as other:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert other.recover() == []
            time.sleep(0.1)


def test_a_call_that_is_cancelled_is_ended(tmp_path: Path) -> None:
    def cancel() -> None:
        with connect(str(tmp_path / "p.db")) as other:
            eventually(lambda: other.count()[State.LOCKED] > 0)
            other.cancel(doc for doc in other.store.get(["c0"]) if doc)

    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "sleep", 60)
        with meanwhile(cancel):
            report = work(time.sleep, pool, lease=1.0)
        assert (report.failed, pool.get("c0")["reason"]) == (1, "cancelled")  # type: ignore[index]


def test_a_call_whose_claim_is_lost_is_ended_and_left_alone(tmp_path: Path) -> None:
    def take_away() -> None:
        with connect(str(tmp_path / "p.db")) as other:
            eventually(lambda: other.count()[State.LOCKED] > 0)
            time.sleep(0.6)
            other.reset(doc for doc in other.store.get(["c0"]) if doc)
            other.hold(doc for doc in other.store.get(["c0"]) if doc)

    with connect(str(tmp_path / "p.db"), create=True) as pool:
        put(pool, "sleep", 60)
        with meanwhile(take_away):
            report = work(time.sleep, pool, lease=1.0)
        assert (report.done, report.failed) == (0, 0)
        assert pool.count()[State.HELD] == 1


def test_inputs_that_are_no_json_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        with pytest.raises(InvalidToken, match=r"input\[1\] is a set, which JSON does not have"):
            picas.map(square, [1, [2, {3}]], pool=pool, workers=1)
        with picas.Executor(pool, workers=1) as executor, pytest.raises(InvalidToken, match=r"args\[1\] is a bytes"):
            executor.submit(add, 1, b"2")
        assert sum(pool.count().values()) == 0


def test_a_function_that_no_other_process_can_import_is_refused(tmp_path: Path) -> None:
    def local(x: int) -> int:
        return x

    with connect(str(tmp_path / "p.db"), create=True) as pool, pytest.raises(UsageError, match="another process"):
        picas.map(local, [1], pool=pool)


def test_the_same_map_again_makes_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        inputs = [str(tmp_path / name) for name in "abab"]
        first = picas.map(fails_once, inputs, pool=pool, workers=1, key="k")
        with pytest.raises(OSError, match="not yet"):
            list(first)
        eventually(lambda: pool.count()[State.LOCKED] == 0)
        work(fails_once, pool)
        assert pool.count()[State.ERROR] == 2
        assert list(picas.map(fails_once, inputs, pool=pool, workers=1, key="k")) == ["at last"] * 4
        revisions = [doc["_rev"] for doc in pool.documents()]
        assert list(picas.map(fails_once, inputs, pool=pool, workers=0, key="k")) == ["at last"] * 4
        assert [doc["_rev"] for doc in pool.documents()] == revisions


def test_a_key_that_leads_to_the_token_of_something_else_is_told(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        pool.add([{"_id": "square-one", "command": "true"}])
        with pytest.raises(UsageError, match="square-one is no call of square"):
            picas.map(square, [1], pool=pool, workers=0, key=lambda _: "one")


def test_a_future_can_be_cancelled(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool, picas.Executor(pool, workers=0) as executor:
        future = executor.submit(square, 1)
        eventually(lambda: pool.count()[State.TODO] == 1)
        assert future.cancel()
        assert future.cancelled()
        eventually(lambda: pool.count()[State.ERROR] == 1)


def test_a_shutdown_may_cancel_what_is_left(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        executor = picas.Executor(pool, workers=0)
        futures = [executor.submit(square, n) for n in range(5)]
        executor.shutdown(cancel_futures=True)
        assert all(future.cancelled() for future in futures)
        assert pool.count()[State.TODO] == 0


def test_a_result_that_was_deleted_is_told(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        results = picas.map(square, [1], pool=pool, workers=0)
        pool.delete(pool.documents())
        with pytest.raises(TokenFailed, match="was deleted"):
            next(results)
