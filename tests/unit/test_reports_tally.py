"""What tokens come to: fates, core time, failures, and documents of other programs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas import lifecycle
from picas.lifecycle import Claimant, Doc, Outcome, Reason
from picas.pool import Pool
from picas.reports import tally as module
from picas.reports.story import story
from picas.reports.summary import Summary, figures, summarise
from picas.reports.tally import Tally
from picas.stores.base import PilotRecord

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do much else meanwhile."""

T0 = 1.79e9
P = Claimant(pilot="p1", hostname="n1", cores=4)


def claimed(token_id: str, at: float, who: Claimant = P, **fields: Any) -> Doc:
    return lifecycle.claim(lifecycle.put({"_id": token_id, **fields}), who, at)


def ran(doc: Doc, start: float, runtime: float, who: Claimant = P, **outcome: Any) -> Doc:
    attempt = {"fence": doc["fence"], "pilot": who.pilot, "hostname": who.hostname, "start": start}
    attempt |= {"end": start + runtime, "runtime": runtime, "max_rss": 1000, "pilot_cores": who.cores}
    return lifecycle.settle(doc, Outcome(attempt=attempt, **outcome), start + runtime)


def again(doc: Doc, at: float, who: Claimant = P) -> Doc:
    return lifecycle.claim(doc, who, at)


def summary(docs: list[Doc], *, now: float = T0 + 1000, spans: int = 100, **options: Any) -> Summary:
    tally = Tally(now=now, spans=spans)
    tally.add_all(docs)
    return summarise(tally, **options)


def told(docs: list[Doc], **options: Any) -> dict[str, Any]:
    return figures(summary(docs, **options))


def test_a_pilot_of_four_cores_half_of_them_busy() -> None:
    docs = [ran(claimed(f"t{number}", T0), T0, 100) for number in range(2)]
    docs.append(ran(claimed("w", T0, requires={"cores": 4}), T0 + 100, 100, exit_code=3))
    report = told(docs)
    assert report["tokens"] == {"held": 0, "todo": 0, "locked": 0, "done": 2, "error": 1, "total": 3}
    assert (report["busy"], report["efficiency"], report["wall_time"]) == (0.75, 0.25, 200)
    hours = report["core_hours"]
    assert hours["offered"] == pytest.approx(800 / 3600, abs=1e-6)
    assert hours["useful"] == pytest.approx(200 / 3600, abs=1e-6)
    assert hours["wasted_by"]["failed"] == hours["wasted"] == pytest.approx(400 / 3600, abs=1e-6)
    (pilot,) = report["pilots"]
    assert (pilot["id"], pilot["cores"], pilot["cores_known_from"], pilot["busy"]) == ("p1", 4, "pilot", 0.75)
    (failure,) = report["failures"]
    assert failure == {
        "reason": "exit",
        "exit_code": "3",
        "hostname": "n1",
        "attempts": 1,
        "tokens_in_error": 1,
        "examples": ["w"],
    }
    assert report["runtime"]["median"] == report["runtime"]["max"] == 100
    assert sum(one["done"] for one in report["throughput"]["series"]) == 2
    assert sum(one["busy_cores"] for one in report["throughput"]["series"]) == pytest.approx(
        600 / report["throughput"]["series"][1]["start"] * report["throughput"]["series"][1]["start"]
        / (report["throughput"]["series"][1]["start"] - report["throughput"]["series"][0]["start"]),
        rel=0.01,
    )  # fmt: skip


def test_each_way_to_end_has_its_fate() -> None:
    first = ran(claimed("twice", T0), T0, 10)
    docs = [
        ran(again(lifecycle.reset(first), T0 + 10), T0 + 10, 10),
        ran(claimed("stopped", T0), T0, 5, reason=Reason.STOPPED, give_back=True),
        ran(claimed("cancelled", T0), T0, 5, reason=Reason.CANCELLED, exit_code=""),
        lifecycle.lose(claimed("lost", T0), T0 + 60),
        claimed("running", T0 + 900),
        ran(claimed("retried", T0), T0, 5, exit_code=1, max_scrub=2),
        lifecycle.cancel(lifecycle.put({"_id": "never"}), T0 + 5),
    ]
    attempts = told(docs)["attempts"]
    assert attempts == {
        "done": 1,
        "superseded": 1,
        "released": 1,
        "cancelled": 1,
        "lost": 1,
        "running": 1,
        "failed": 1,
        "without_times": 0,
    }


def test_tokens_of_picas_programs_count_by_their_lock() -> None:
    docs = [
        {"_id": "ok", "type": "token", "lock": T0, "done": T0 + 60, "exit_code": 0, "hostname": "wn1"},
        {"_id": "bad", "type": "token", "lock": T0 + 60, "done": T0 + 90, "exit_code": 1, "hostname": "wn1"},
        {"_id": "said", "type": "token", "lock": 99, "done": 99, "exit_code": 99, "hostname": "wn1"},
        {"_id": "held by one", "type": "token", "lock": T0 + 95, "done": 0, "exit_code": "", "hostname": "wn1"},
    ]
    report = told(docs, now=T0 + 100)
    assert report["attempts"]["done"] == 1
    assert (report["attempts"]["failed"], report["attempts"]["without_times"]) == (2, 1)
    (pilot,) = report["pilots"]
    assert (pilot["id"], pilot["hostname"], pilot["cores"], pilot["busy"]) == (None, "wn1", 1, 0.95)


def test_a_token_that_a_picas_program_did_after_us_is_done_once() -> None:
    doc = ran(claimed("t", T0), T0, 10)
    theirs = {**lifecycle.reset(doc), "lock": int(T0 + 100), "done": int(T0 + 150), "exit_code": 0}
    attempts = told([theirs])["attempts"]
    assert (attempts["done"], attempts["superseded"]) == (1, 1)


def test_claims_that_were_lost_take_no_more_than_what_was_free() -> None:
    docs = [ran(claimed("a", T0), T0, 50)]
    docs += [lifecycle.lose(claimed(f"l{number}", T0), T0 + 100) for number in range(40)]
    report = told(docs)
    assert report["core_hours"]["wasted_by"]["lost"] * 3600 == pytest.approx(350, rel=0.02)
    assert report["pilots"][0]["busy"] == 0.25


def test_cores_that_no_attempt_tells_come_from_the_record_the_option_or_from_use() -> None:
    docs = [ran(claimed("a", T0), T0, 50), ran(claimed("b", T0), T0, 50)]
    for doc in docs:
        del doc["attempts"][0]["pilot_cores"]
    record = PilotRecord(id="p1", hostname="n1", pid=1, started_at=T0, lease=60, cores=8)
    known = [told(docs, **options)["pilots"][0] for options in ({}, {"cores": 5.0}, {"records": [record]})]
    assert [(one["cores"], one["cores_known_from"]) for one in known] == [(2, "use"), (5, "option"), (8, "pilot")]


def test_beyond_their_limits_pilots_hosts_and_failures_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MOST_PILOTS", "_MOST_HOSTS", "_MOST_FAILURES"):
        monkeypatch.setattr(module, name, 3)
    docs = []
    for number in range(10):
        who = Claimant(pilot=f"p{number}", hostname=f"h{number}", cores=2)
        docs.append(ran(claimed(f"t{number}", T0, who), T0 + number, 10, who, exit_code=number + 1))
    report = told(docs)
    assert [len(report[name]) for name in ("pilots", "hosts", "failures")] == [4, 4, 4]
    assert sum(one["failed"] for one in report["pilots"]) == 10
    assert report["failures"][0]["attempts"] == 7


def test_attempts_are_kept_one_by_one_up_to_a_limit() -> None:
    docs = [ran(claimed(f"t{number}", T0), T0, 10) for number in range(9)]
    assert sum(len(share.work.spans) for share in summary(docs, spans=10).shares) == 9
    over = summary(docs, spans=5)
    assert not over.tally.has_spans
    assert not any(share.work.spans for share in over.shares)


_ODD = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers() | st.lists(st.none(), max_size=2)
_RECORD = st.dictionaries(
    st.sampled_from(
        ["fence", "pilot", "hostname", "start", "end", "runtime", "reason", "exit_code", "max_rss", "pilot_cores"]
    ),
    _ODD | st.floats(T0, T0 + 100) | st.sampled_from([*map(str, Reason), "exit"]),
)


@BUSY
@given(
    st.lists(
        st.fixed_dictionaries(
            {"_id": st.text(max_size=5), "lock": st.integers(-1, 2 * 10**9), "done": st.integers(0, 2 * 10**9)},
            optional={"attempts": st.lists(_RECORD | _ODD, max_size=3) | _ODD, "requires": _ODD, "claim": _ODD,
                      "hostname": _ODD, "reason": _ODD, "fence": _ODD, "exit_code": _ODD},
        ).map(lambda doc: {**doc, "type": "token"}),
        max_size=5,
    )
)  # fmt: skip
def test_whatever_other_programs_wrote_there_is_a_report(docs: list[Doc]) -> None:
    report = told(docs)
    assert report["busy"] is None or 0 <= report["busy"] <= 1
    assert "\n" not in "".join(story({"pool": "x", **report}))


def test_on_every_store(each_pool: Pool) -> None:
    each_pool.add([{"_id": f"t{number}"} for number in range(3)])
    tally = Tally(now=each_pool.store.now())
    tally.add_all(each_pool.documents())
    assert figures(summarise(tally, each_pool.pilots()))["tokens"]["todo"] == 3
