"""A token's life, event by event, and under any sequence of events."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picas import lifecycle
from picas.lifecycle import ATTEMPTS_KEPT, CRASH_LIMIT, Claimant, Edit, Outcome, Reason, State

NOW = 1_700_000_000.75
AT = 1_700_000_000
P1 = Claimant(pilot="p1", hostname="node1", job={"slurm_job_id": "7_1"})
STOPPED = Outcome(reason=Reason.STOPPED, give_back=True)
FAILED = Outcome(exit_code=1)


def todo(**fields):
    return lifecycle.put({"_id": "t", **fields})


def locked(**fields):
    return lifecycle.claim(todo(**fields), P1, NOW)


def cancelled(**fields):
    return lifecycle.cancel(locked(**fields), NOW)


def done(**fields):
    return lifecycle.settle(locked(**fields), Outcome(), NOW)


def failed(**fields):
    return lifecycle.settle(locked(**fields), FAILED, NOW)


class TestState:
    @pytest.mark.parametrize(
        ("lock", "done", "exit_code", "expected"),
        [
            (0, 0, "", State.TODO),
            (0.0, 0, 0, State.TODO),
            (5, 0, "", State.LOCKED),
            (5, 0, 0, State.LOCKED),
            (5, 6, 0, State.DONE),
            (5, 6, "0", State.DONE),
            (5, 6, " 0", State.DONE),
            (5, 6, "0 ok", State.DONE),
            (5, 6, "-0", State.DONE),
            (5, 6, 0.5, State.DONE),
            (5, 6, 1, State.ERROR),
            (5, 6, "1", State.ERROR),
            (5, 6, -9, State.ERROR),
            (5, 6, "", State.ERROR),
            (5, 6, None, State.ERROR),
            (5, 6, False, State.ERROR),
            (5, 6, [], State.ERROR),
            (99, 99, "", State.ERROR),
            (-1, 0, "", State.HELD),
            (-1, 5, 0, State.HELD),
            (0, 5, 0, None),
            (5, -1, 0, None),
            ("0", 0, "", None),
            (0, None, "", None),
            (True, 0, "", None),
            (0, False, "", None),
        ],
    )
    def test_lock_done_and_exit_code_decide(self, lock, done, exit_code, expected):
        doc = {"type": "token", "lock": lock, "done": done, "exit_code": exit_code}
        assert lifecycle.state_of(doc) is expected

    @pytest.mark.parametrize(
        "doc", [{}, {"type": "token"}, {"lock": 0, "done": 0}, {"type": "x", "lock": 0, "done": 0}]
    )
    def test_what_is_no_token_has_none(self, doc):
        assert lifecycle.state_of(doc) is None

    def test_a_word_for_each(self):
        assert [str(state) for state in State] == ["held", "todo", "locked", "done", "error"]
        assert f"{Reason.CRASH_LIMIT}" == "crash-limit"

    def test_a_hexadecimal_exit_code_is_an_error_as_in_javascript(self):
        assert lifecycle.state_of({"type": "token", "lock": 5, "done": 6, "exit_code": "0x1F"}) is State.ERROR

    def test_an_exit_code_of_many_digits_is_an_error(self):
        assert lifecycle.state_of({"type": "token", "lock": 5, "done": 6, "exit_code": "9" * 5000}) is State.ERROR

    @given(
        st.dictionaries(
            st.sampled_from(["type", "lock", "done", "exit_code"]),
            st.sampled_from(["token", 0, 1, -1, 0.5, "", "0", "x", None, True, [], {}]),
        )
    )
    def test_any_document_has_one_or_none(self, doc):
        assert lifecycle.state_of(doc) in {None, *State}


class TestPut:
    def test_what_every_token_has(self):
        assert todo() == {
            "_id": "t",
            "type": "token",
            "lock": 0,
            "done": 0,
            "exit_code": "",
            "hostname": "",
            "scrub_count": 0,
        }

    def test_what_was_given_stays(self):
        doc = {"_id": "t", "type": "note", "lock": 3, "input": [1]}
        assert lifecycle.put(doc).items() >= doc.items()

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"after": ["a"]}, State.HELD),
            ({"after": []}, State.TODO),
            ({"after": ["a"], "lock": 5}, State.LOCKED),
            ({"after": ["a"], "lock": 5, "done": 6, "exit_code": 0}, State.DONE),
            ({"lock": -1}, State.HELD),
        ],
    )
    def test_one_that_waits_for_others_is_held(self, fields, expected):
        assert lifecycle.state_of(todo(**fields)) is expected


class TestClaim:
    def test_it_bears_the_claim(self):
        doc = locked(not_before=5, priority=2)
        assert lifecycle.state_of(doc) is State.LOCKED
        assert doc["claim"] == {"fence": 1, "pilot": "p1", "at": AT}
        assert (doc["lock"], doc["fence"], doc["hostname"], doc["slurm_job_id"]) == (AT, 1, "node1", "7_1")
        assert "not_before" not in doc

    def test_the_fence_rises(self):
        doc = todo()
        for fence in range(1, 5):
            doc = lifecycle.claim(lifecycle.reset(doc), P1, NOW)
            assert lifecycle.fence_of(doc) == fence

    @pytest.mark.parametrize("fence", ["many", None, 1.5, [], {}])
    def test_an_odd_fence_counts_as_none(self, fence):
        assert lifecycle.claim(todo(fence=fence), P1, NOW)["fence"] == 1

    def test_a_clock_at_nought_still_locks(self):
        assert lifecycle.state_of(lifecycle.claim(todo(), P1, 0.0)) is State.LOCKED

    @pytest.mark.parametrize(
        ("doc", "fence", "expected"),
        [
            (locked(), 1, True),
            (locked(), 2, False),
            (locked(), 0, False),
            (cancelled(), 1, True),
            ({**locked(), "lock": AT + 1}, 1, False),
            ({**locked(), "claim": "mine"}, 1, False),
            ({**locked(), "claim": {}}, 0, False),
            (todo(), 0, False),
            (done(), 1, False),
            (lifecycle.reset(locked()), 1, False),
            ({}, 0, False),
        ],
    )
    def test_who_holds_it(self, doc, fence, expected):
        assert lifecycle.holds(doc, fence) is expected


class TestSettle:
    @pytest.mark.parametrize(
        ("fields", "outcome", "state", "scrubs"),
        [
            ({}, Outcome(), State.DONE, 0),
            ({}, Outcome(exit_code="0"), State.DONE, 0),
            ({}, FAILED, State.ERROR, 0),
            ({"max_scrub": 1}, FAILED, State.TODO, 1),
            ({"max_scrub": 1, "scrub_count": 1}, FAILED, State.ERROR, 1),
            ({"max_scrub": 2, "scrub_count": 1}, FAILED, State.TODO, 2),
            ({}, Outcome(exit_code=1, max_scrub=1), State.TODO, 1),
            ({"max_scrub": 3, "scrub_count": 1}, Outcome(exit_code=1, max_scrub=1), State.TODO, 2),
            ({"max_scrub": 1}, Outcome(), State.DONE, 0),
            ({"max_scrub": 1}, Outcome(reason=Reason.SIGNAL, exit_code=-9), State.TODO, 1),
            ({"max_scrub": 1}, Outcome(reason=Reason.TIME, exit_code=0), State.TODO, 1),
            ({"max_scrub": 1}, Outcome(reason=Reason.MEMORY, exit_code=137), State.TODO, 1),
            ({"max_scrub": 1}, Outcome(reason=Reason.EXCEPTION, exit_code=""), State.TODO, 1),
            ({"max_scrub": 1}, Outcome(reason=Reason.START_FAILED, exit_code=127), State.ERROR, 0),
            ({"max_scrub": 1}, Outcome(reason=Reason.CANCELLED, exit_code=""), State.ERROR, 0),
            ({"max_scrub": 1}, STOPPED, State.TODO, 0),
        ],
    )
    def test_the_state_and_what_it_costs(self, fields, outcome, state, scrubs):
        doc = lifecycle.settle(locked(**fields), outcome, NOW)
        assert lifecycle.state_of(doc) is state
        assert doc["scrub_count"] == scrubs
        assert doc["reason"] == str(outcome.reason)
        assert "claim" not in doc
        assert doc["fence"] == 1

    def test_what_ended_keeps_when_and_where_it_ran(self):
        doc = lifecycle.settle(locked(), Outcome(exit_code=3), NOW + 10)
        assert (doc["lock"], doc["done"], doc["exit_code"]) == (AT, AT + 10, 3)
        assert (doc["hostname"], doc["slurm_job_id"]) == ("node1", "7_1")

    @pytest.mark.parametrize(
        ("fields", "reason", "most", "state"),
        [
            ({}, Reason.EXIT, 1, State.TODO),
            ({}, Reason.EXIT, 0, State.ERROR),
            ({"max_scrub": 5}, Reason.EXIT, 0, State.ERROR),
            ({"retried": {"c": 1}}, Reason.EXIT, 1, State.ERROR),
            ({"retried": {"c": 1}}, Reason.EXIT, 2, State.TODO),
            ({"retried": {"d": 9}, "scrub_count": 9}, Reason.EXIT, 1, State.TODO),
            ({"retried": "often"}, Reason.EXIT, 1, State.TODO),
            ({"retried": {"c": "often"}}, Reason.EXIT, 1, State.TODO),
            ({}, Reason.START_FAILED, 1, State.TODO),
            ({}, Reason.CANCELLED, 1, State.ERROR),
        ],
    )
    def test_a_rule_decides_instead_of_max_scrub(self, fields, reason, most, state):
        retry = {"cause": "c", "most": most, "changes": {"requires": {"memory": 5}, "fence": 9, "lock": 7}}
        doc = lifecycle.settle(locked(**fields), Outcome(reason=reason, exit_code=1, retry=retry), NOW)
        assert lifecycle.state_of(doc) is state
        assert ("requires" in doc) is (state is State.TODO)
        assert doc["fence"] == 1

    def test_what_rules_have_tried_again_leaves_max_scrub_whole(self):
        doc = lifecycle.settle(locked(max_scrub=1, scrub_count=3, retried={"75": 3}), FAILED, NOW)
        assert (lifecycle.state_of(doc), doc["scrub_count"]) == (State.TODO, 4)
        assert lifecycle.reset(doc)["scrub_count"] == 0
        assert "retried" not in lifecycle.reset(doc)

    def test_a_rule_does_not_free_what_is_cancelled(self):
        doc = lifecycle.cancel(locked(), NOW)
        retry = {"cause": "c", "most": 1, "changes": {}}
        ended = lifecycle.settle(doc, Outcome(exit_code=1, retry=retry), NOW)
        assert (lifecycle.state_of(ended), ended["reason"]) == (State.ERROR, "cancelled")

    def test_what_goes_back_forgets_the_job_and_the_exit_code(self):
        doc = lifecycle.settle(locked(max_scrub=1), FAILED, NOW)
        assert (doc["lock"], doc["done"], doc["exit_code"]) == (0, 0, "")
        assert "slurm_job_id" not in doc

    def test_give_backs_are_counted(self):
        doc = lifecycle.settle(lifecycle.claim(lifecycle.settle(locked(), STOPPED, NOW), P1, NOW), STOPPED, NOW)
        assert (doc["released"], doc["scrub_count"]) == (2, 0)

    def test_a_retry_waits_for_its_delay(self):
        outcome = Outcome(exit_code=1, max_scrub=1, retry_delay=2.5)
        assert lifecycle.settle(locked(), outcome, NOW)["not_before"] == NOW + 2.5
        assert "not_before" not in lifecycle.settle(locked(max_scrub=1), FAILED, NOW)

    def test_what_the_task_wrote_is_kept(self):
        doc = lifecycle.settle(locked(input=1), Outcome(changes={"output": [1], "input": 2}), NOW)
        assert (doc["output"], doc["input"]) == ([1], 2)

    def test_the_last_attempts_are_kept(self):
        doc = todo(max_scrub=100)
        for number in range(ATTEMPTS_KEPT + 5):
            doc = lifecycle.settle(lifecycle.claim(doc, P1, NOW), Outcome(exit_code=1, attempt={"n": number}), NOW)
        assert [attempt["n"] for attempt in doc["attempts"]] == list(range(5, ATTEMPTS_KEPT + 5))
        assert doc["attempts"][-1] == {"n": ATTEMPTS_KEPT + 4, "exit_code": 1, "reason": "exit"}

    @pytest.mark.parametrize(
        "outcome",
        [STOPPED, Outcome(exit_code=1, max_scrub=1)],
        ids=["given back", "retried"],
    )
    def test_what_was_cancelled_does_not_go_back_to_todo(self, outcome):
        assert lifecycle.state_of(lifecycle.settle(cancelled(), outcome, NOW)) is State.ERROR

    @pytest.mark.parametrize("name", ["released", "scrub_count", "max_scrub", "lost", "attempts"])
    @pytest.mark.parametrize("odd", ["x", None, {}, 1.5], ids=repr)
    @pytest.mark.parametrize("outcome", [STOPPED, Outcome(exit_code=1, max_scrub=1, attempt={})], ids=["back", "retry"])
    def test_an_odd_field_of_another_program_is_no_hindrance(self, name, odd, outcome):
        doc = locked(**{name: odd})
        assert lifecycle.state_of(lifecycle.settle(doc, outcome, NOW)) in (State.TODO, State.ERROR)


class TestEdit:
    def test_fields_are_set_and_removed(self):
        doc = lifecycle.settle(locked(a=1, b=2), Edit(changes={"a": 3, "c": 4}, removed=frozenset({"b"})), NOW)
        assert (doc["a"], doc["c"], "b" in doc) == (3, 4, False)
        assert lifecycle.holds(doc, 1)

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({"done": AT, "exit_code": 0}, State.DONE),
            ({"lock": 99, "done": 99}, State.ERROR),
            ({"lock": 0, "done": 0}, State.ERROR),
            ({"lock": -1}, State.HELD),
        ],
    )
    def test_a_program_that_ends_it_gives_up_the_claim(self, changes, state):
        doc = lifecycle.settle(cancelled(), Edit(changes=changes), NOW)
        assert lifecycle.state_of(doc) is state
        assert {"claim", "cancel"}.isdisjoint(doc)

    def test_a_program_that_sets_lock_anew_still_holds_the_token(self):
        assert lifecycle.holds(lifecycle.settle(locked(), Edit(changes={"lock": AT + 60}), NOW), 1)


class TestLose:
    def test_back_to_todo_and_counted(self):
        doc = lifecycle.lose(locked(), NOW + 60)
        assert lifecycle.state_of(doc) is State.TODO
        assert (doc["lost"], doc["reason"], doc["scrub_count"]) == (1, "lost", 0)
        attempt = {"fence": 1, "pilot": "p1", "hostname": "node1", "start": AT, "end": NOW + 60, "reason": "lost"}
        assert doc["attempts"] == [attempt]

    def test_too_often_is_an_error(self):
        doc, states = todo(), []
        for _ in range(CRASH_LIMIT):
            doc = lifecycle.lose(lifecycle.claim(doc, P1, NOW), NOW)
            states.append(lifecycle.state_of(doc))
        assert states == [State.TODO] * 4 + [State.ERROR]
        assert doc["reason"] == "crash-limit"
        assert len(doc["attempts"]) == CRASH_LIMIT

    def test_a_reset_forgets_the_losses(self):
        doc = todo(lost=CRASH_LIMIT - 1)
        doc = lifecycle.lose(lifecycle.claim(lifecycle.reset(doc), P1, NOW), NOW)
        assert (lifecycle.state_of(doc), doc["lost"]) == (State.TODO, 1)

    def test_one_that_was_cancelled_stays_cancelled(self):
        doc = lifecycle.lose(cancelled(), NOW)
        assert (lifecycle.state_of(doc), doc["reason"], doc["exit_code"]) == (State.ERROR, "cancelled", "")
        assert {"claim", "cancel"}.isdisjoint(doc)

    def test_a_lock_of_a_picas_program_can_be_lost_too(self):
        assert lifecycle.state_of(lifecycle.lose(todo(lock=5), NOW)) is State.TODO


class TestReset:
    @pytest.mark.parametrize(
        "doc",
        [todo(), todo(after=["a"]), locked(), cancelled(), done(), failed(), lifecycle.cancel(todo(), NOW)],
    )
    def test_from_anywhere_to_todo(self, doc):
        new = lifecycle.reset({**doc, "scrub_count": 3, "lost": 4, "not_before": 5, "reason": "exit", "attempts": [{}]})
        assert lifecycle.state_of(new) is State.TODO
        assert (new["scrub_count"], new["exit_code"], new["attempts"]) == (0, "", [{}])
        assert {"lost", "not_before", "reason", "claim", "cancel", "slurm_job_id"}.isdisjoint(new)
        assert lifecycle.fence_of(new) == lifecycle.fence_of(doc)

    def test_what_was_given_stays(self):
        assert (
            lifecycle.reset(done(input=1, output=2, priority=3)).items()
            >= {"input": 1, "output": 2, "priority": 3}.items()
        )


class TestHoldAndCancel:
    def test_held_and_ready_again(self):
        held = lifecycle.hold(todo())
        assert lifecycle.state_of(held) is State.HELD
        assert lifecycle.ready(held) == todo()

    @pytest.mark.parametrize("doc", [todo(), todo(after=["a"]), todo(lock=5)], ids=["todo", "held", "locked by PiCaS"])
    def test_at_once_when_no_pilot_of_ours_holds_it(self, doc):
        new = lifecycle.cancel(doc, NOW)
        assert (lifecycle.state_of(new), new["reason"], new["done"]) == (State.ERROR, "cancelled", AT)
        assert not lifecycle.is_cancelled(new)

    def test_by_a_request_when_one_does(self):
        doc = cancelled()
        assert lifecycle.state_of(doc) is State.LOCKED
        assert lifecycle.is_cancelled(doc)
        ended = lifecycle.settle(doc, Outcome(reason=Reason.CANCELLED, exit_code="", max_scrub=5), NOW)
        assert (lifecycle.state_of(ended), ended["reason"]) == (State.ERROR, "cancelled")

    def test_a_request_counts_for_one_claim_alone(self):
        again = lifecycle.claim(lifecycle.reset(cancelled()), P1, NOW)
        assert not lifecycle.is_cancelled(again)
        assert not lifecycle.is_cancelled({**again, "cancel": 1})


class TestBackoff:
    @pytest.mark.parametrize(
        ("failures", "jitter", "seconds"),
        [(0, 0.5, 5), (1, 0.5, 10), (3, 0.25, 20), (9, 0.5, 1800), (10**6, 0.5, 1800), (5, 0.0, 0)],
    )
    def test_full_jitter_below_a_rising_limit(self, failures, jitter, seconds):
        assert lifecycle.backoff({"scrub_count": failures}, jitter) == seconds

    @given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
    def test_never_more_than_an_hour(self, failures, jitter):
        assert 0 <= lifecycle.backoff({"scrub_count": failures}, jitter) <= 3600


OUTCOMES = st.builds(
    Outcome,
    reason=st.sampled_from(Reason),
    exit_code=st.integers(-15, 2) | st.sampled_from(["", "0", "x"]),
    give_back=st.booleans(),
    changes=st.dictionaries(st.sampled_from(["input", "output", "priority"]), st.integers(), max_size=2),
    attempt=st.none() | st.just({"runtime": 1}),
    max_scrub=st.integers(0, 2),
    retry_delay=st.floats(0, 100),
)

EVENTS = {
    "claim": lambda doc, outcome, now: lifecycle.claim(doc, P1, now) if is_in(doc, State.TODO) else doc,
    "settle": lambda doc, outcome, now: lifecycle.settle(doc, outcome, now) if is_in(doc, State.LOCKED) else doc,
    "lose": lambda doc, outcome, now: lifecycle.lose(doc, now) if is_in(doc, State.LOCKED) else doc,
    "reset": lambda doc, outcome, now: lifecycle.reset(doc),
    "hold": lambda doc, outcome, now: lifecycle.hold(doc) if is_in(doc, State.TODO) else doc,
    "ready": lambda doc, outcome, now: lifecycle.ready(doc) if is_in(doc, State.HELD) else doc,
    "cancel": lambda doc, outcome, now: lifecycle.cancel(doc, now),
}

TRANSITIONS = {
    "claim": {(State.TODO, State.LOCKED)},
    "settle": {(State.LOCKED, state) for state in (State.TODO, State.DONE, State.ERROR)},
    "lose": {(State.LOCKED, State.TODO), (State.LOCKED, State.ERROR)},
    "reset": {(state, State.TODO) for state in State},
    "hold": {(State.TODO, State.HELD)},
    "ready": {(State.HELD, State.TODO)},
    "cancel": {(state, State.ERROR) for state in State},
}


def is_in(doc, state):
    return lifecycle.state_of(doc) is state


@given(
    st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), OUTCOMES, st.floats(0, 2e9)), max_size=30),
    st.fixed_dictionaries({}, optional={"after": st.just(["a"]), "max_scrub": st.integers(0, 3)}),
)
def test_whatever_happens_to_a_token(events, fields):
    doc = todo(**fields)
    for name, outcome, now in events:
        before, fence, was = copy.deepcopy(doc), lifecycle.fence_of(doc), lifecycle.state_of(doc)
        new = EVENTS[name](doc, outcome, now)
        assert doc == before, f"{name} changed its argument"
        state = lifecycle.state_of(new)
        assert state is was or (was, state) in TRANSITIONS[name]
        assert lifecycle.fence_of(new) == fence + (was is State.TODO and name == "claim")
        assert ("claim" in new) == (state is State.LOCKED) == lifecycle.holds(new, lifecycle.fence_of(new))
        assert len(new.get("attempts", [])) <= ATTEMPTS_KEPT
        assert new["_id"] == "t"
        assert math.isfinite(new["lock"])
        doc = new


@pytest.mark.parametrize("name", ["claim", "lock", "done", "exit_code"])
def test_what_a_task_writes_does_not_decide_about_its_state(name):
    new = lifecycle.settle(locked(), Outcome(changes={name: 0}), NOW)
    assert lifecycle.state_of(new) is State.DONE
    assert "claim" not in new


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(changes={"fence": 0}),
        Outcome(changes={"_id": "other"}),
        Edit(changes={"fence": 0}),
        Edit(changes={"_id": "other"}),
        Edit(changes={}, removed=frozenset({"fence"})),
    ],
    ids=repr,
)
def test_what_a_task_writes_touches_neither_the_fence_nor_the_id(outcome):
    new = lifecycle.settle(locked(), outcome, NOW)
    assert (lifecycle.fence_of(new), new["_id"]) == (1, "t")
