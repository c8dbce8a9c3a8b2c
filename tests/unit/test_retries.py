"""The language of retry rules: what is read, what is refused and where, which rule counts, and what it decides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picas import retries
from picas.errors import UsageError
from picas.lifecycle import Reason
from picas.retries import REASONS, Growth, Rule

GIB = 2**30


def only(text: object) -> Rule:
    (rule,) = retries.parse(text)
    return rule


class TestParse:
    def test_the_example_of_the_docs(self):
        memory, code, never = retries.parse("memory:memory*2,75:delay=5m,64:never")
        assert memory == Rule(cause="memory", growths=(Growth(name="memory", factor=2.0),))
        assert code == Rule(cause="75", codes=(75, 75), delay=300.0)
        assert never == Rule(cause="64", codes=(64, 64), never=True)

    def test_blanks_and_small_letters(self):
        rule = only(" sigkill : memory * 1.5 : max = 64 GiB : retries=2 ")
        assert rule == Rule(cause="SIGKILL", retries=2, growths=(Growth(name="memory", factor=1.5, most=64 * GIB),))

    def test_an_object_means_the_same_in_any_order(self):
        acts = {"64-78": "never", "75": "delay=5m", "*": "retries=1"}
        forwards, backwards = retries.parse(acts), retries.parse(dict(reversed(acts.items())))
        for code in (1, 64, 75, 78):
            found = [retries.find(rules, reason="exit", code=code) for rules in (forwards, backwards)]
            assert found[0] == found[1]

    def test_each_growth_has_its_own_end(self):
        rule = only("time:memory*2:max=1GiB:time*1.5:max=2d")
        assert [growth.most for growth in rule.growths] == [GIB, 172_800.0]

    @pytest.mark.parametrize(
        ("text", "place", "problem"),
        [
            ("", "character 1", "CAUSE:ACT"),
            ("75", "character 1", "CAUSE:ACT"),
            ("75:never,,64:never", "character 10", "CAUSE:ACT"),
            ("75:never, sometimes:never", "character 11", "no cause of that name"),
            ("75:", "''", "no act"),
            ("75:later", "'later'", "no act"),
            ("75:never:delay=5m", "'never'", "goes with no other act"),
            ("75:retries=-1", "'retries=-1'", "number"),
            ("75:retries=1001", "'retries=1001'", "up to 1000"),
            ("75:retries=1:retries=2", "'retries=2'", "twice"),
            ("75:delay=soon", "'delay=soon'", "no amount"),
            ("75:delay=5GiB", "'delay=5GiB'", "no amount"),
            ("75:memory*1", "'memory*1'", "more than 1"),
            ("75:memory*1001", "'memory*1001'", "at most 1000"),
            ("75:cores*2", "'cores*2'", "cannot grow"),
            ("75:memory*2:memory*3", "'memory*3'", "grows twice"),
            ("75:max=1GiB", "'max=1GiB'", "after what it limits"),
            ("75:memory*2:max=1h", "'max=1h'", "no amount"),
            ("0:never", "'0'", "1 to 255"),
            ("9-3:never", "'9-3'", "1 to 255"),
            ("256:never", "'256'", "1 to 255"),
            ("lost:retries=9", "'lost'", "no rule for that"),
            ("crash-limit:retries=9", "'crash-limit'", "no rule for that"),
            ("75:never,75:never", "", "two rules for 75"),
            ("60-70:never,65-75:never", "", "overlap"),
            ({"75": "nix"}, "'75'", "no act"),
            ({"75": 5}, "'75'", "a text"),
            ({}, "", "no rule"),
            (5, "", "not 5"),
        ],
    )
    def test_refused_with_the_place(self, text, place, problem):
        with pytest.raises(UsageError) as error:
            retries.parse(text)
        assert place in error.value.message
        assert problem in error.value.message

    def test_every_failure_of_a_token_has_a_name(self):
        assert set(REASONS) == {str(reason) for reason in Reason} - {"cancelled", "stopped", "lost", "crash-limit"}


class TestFind:
    RULES = retries.parse("*:retries=9,exit:retries=8,64-78:retries=7,75:retries=6,signal:retries=5,SIGSEGV:never")

    @pytest.mark.parametrize(
        ("reason", "code", "signal_name", "cause"),
        [
            ("exit", 75, None, "75"),
            ("exit", 76, None, "64-78"),
            ("exit", 1, None, "exit"),
            ("signal", -11, "SIGSEGV", "SIGSEGV"),
            ("signal", -9, "SIGKILL", "signal"),
            ("time", 75, None, "*"),
            ("time", -11, "SIGSEGV", "*"),
            ("exception", "", None, "*"),
            ("quiet", -15, "SIGTERM", "*"),
        ],
    )
    def test_the_narrowest_counts(self, reason, code, signal_name, cause):
        rule = retries.find(self.RULES, reason=reason, code=code, signal_name=signal_name)
        assert rule is not None
        assert rule.cause == cause

    def test_what_cannot_be_started_must_be_named(self):
        assert retries.find(self.RULES, reason="start-failed", code=127) is None
        named = retries.parse("start-failed:retries=1,127:never")
        assert retries.find(named, reason="start-failed", code=127) == named[0]

    @pytest.mark.parametrize("reason", ["stopped", "lost", "cancelled", "crash-limit"])
    def test_no_rule_for_what_is_no_failure(self, reason):
        assert retries.find(self.RULES, reason=reason) is None


class TestDecide:
    def verdict(self, text: str, retried: int = 0, **known: Any) -> retries.Verdict:
        needs, used = known.get("needs", {}), known.get("used", {})
        return retries.decide(only(text), retried=retried, pause=12.4, needs=needs, used=used)

    def test_memory_grows_from_what_is_required(self):
        verdict = self.verdict("memory:memory*2", needs={"memory": 8 * GIB}, used={"memory": 1})
        assert verdict.requires == {"memory": 16 * GIB}
        assert verdict.words == "tried again in 12 s with memory 16 GiB"
        assert verdict.most == retries.DEFAULT_RETRIES

    def test_or_else_from_what_was_measured(self):
        assert self.verdict("SIGKILL:memory*2", used={"memory": GIB}).requires == {"memory": 2 * GIB}
        assert self.verdict("SIGKILL:memory*2").requires == {}

    def test_it_grows_to_its_end_and_no_try_is_wasted_there(self):
        rule = "memory:memory*2:max=10GiB:retries=9"
        assert self.verdict(rule, needs={"memory": 8 * GIB}).requires == {"memory": 10 * GIB}
        ended = self.verdict(rule, needs={"memory": 10 * GIB})
        assert (ended.most, ended.requires) == (0, {})
        assert "the most that it may have" in ended.words

    def test_time_grows(self):
        verdict = self.verdict("time:time*1.5:max=1h", needs={"time": 60})
        assert verdict.requires == {"time": 90}
        assert verdict.words.endswith("with time 90 s")

    def test_tries_end(self):
        assert self.verdict("75:retries=2", retried=1).words == "tried again in 12 s"
        assert self.verdict("75:retries=2", retried=2).words == "not tried again: 2 tries are spent"
        assert (self.verdict("75:never").most, self.verdict("75:never").words) == (0, "not tried again")


CODES = st.tuples(st.integers(1, 255), st.integers(1, 255)).map(lambda pair: "{}-{}".format(*sorted(pair)))
CAUSES = st.one_of(st.sampled_from([*REASONS, "*", "SIGKILL", "sigsegv"]), st.integers(1, 255).map(str), CODES)
NUMBERS = st.decimals(0, 10**6, places=3).map(str)
GROWTHS = st.tuples(
    st.decimals("1.001", 1000, places=3), st.none() | st.tuples(NUMBERS, st.sampled_from(["", "k", "GiB", "TB"]))
).map(lambda it: f"memory*{it[0]}" + (f":max={it[1][0]}{it[1][1]}" if it[1] else ""))
DELAYS = st.tuples(NUMBERS, st.sampled_from(["", "s", "m", "h", "d"])).map(lambda it: f"delay={it[0]}{it[1]}")
RETRIES = st.integers(0, 1000).map(lambda count: f"retries={count}")
ACTS = st.just("never") | st.lists(st.one_of(GROWTHS, DELAYS, RETRIES), min_size=1, max_size=3).map(":".join)
TEXTS = st.lists(st.tuples(CAUSES, ACTS).map(":".join), min_size=1, max_size=4).map(",".join)
PIECES = ["memory", "*", "2", ":", ",", "=", "-", "never", "max", "delay", "5m", "75", " ", "\0", "é", "٣"]


def read(value: object) -> tuple[retries.Rules | None, str]:
    """The rules, or the message with which they are refused."""
    try:
        return retries.parse(value), ""
    except UsageError as error:
        return None, error.message


@given(TEXTS | st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_refused_or_read_printed_and_read_again(text):
    rules, message = read(text)
    assert message.isprintable()
    if rules is not None:
        assert retries.parse(retries.text(rules)) == rules


@given(st.dictionaries(st.text() | CAUSES, st.one_of(st.none(), st.integers(), st.text(), ACTS)))
def test_any_object_is_read_or_refused(value):
    rules, message = read(value)
    assert message.isprintable()
    assert (rules is None) == bool(message)
