"""Retry rules: which ends of an attempt lead to another try, when, and with what changed. Pure.

    rules  ::=  rule ("," rule)*                    75:delay=5m,memory:memory*2:max=64GiB,64:never
    rule   ::=  cause (":" act)+
    cause  ::=  a reason | an exit code | code "-" code | a signal's name | "*"
    act    ::=  "never" | "retries=" N | "delay=" TIME | "memory*" F | "time*" F | "max=" AMOUNT

Of several rules that fit the narrowest counts: a code before a range, a range before the reason ``exit``, a signal
before the reason ``signal``, and ``*`` last. The order in which they stand says nothing, so that an object, whose names
have no order in a database, means the same as a text.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from picas import amounts
from picas.errors import UsageError

__all__ = ["DEFAULT_RETRIES", "REASONS", "Growth", "Rule", "Rules", "Verdict", "decide", "find", "parse", "text"]

REASONS = ("exit", "signal", "time", "memory", "disk", "quiet", "start-failed", "exception")
"""Reasons for which there can be a rule: those that are a failure of the token's own."""

DEFAULT_RETRIES = 3
"""How often a rule that does not say tries again."""

_NOT_FAILURES = {
    "cancelled": "what a person cancelled stays so",
    "stopped": "it costs no try, and goes back by itself",
    "lost": "it costs no try, and goes back by itself",
    "crash-limit": "only a person should try that again",
}
_SIGNALS = {number.name: int(number) for number in signal.Signals}
_CODE = re.compile(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?", re.ASCII)
_GROWTH = re.compile(r"([a-z]+)\s*\*\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)", re.ASCII)
_SETTING = re.compile(r"([a-z]+)\s*=\s*(.*)", re.ASCII | re.DOTALL)
_UNITS = {"memory": amounts.BYTES, "time": amounts.SECONDS}
_ACTS = "never, retries=N, delay=TIME, memory*FACTOR, time*FACTOR or max=AMOUNT"
_MOST_RETRIES = 1000
_MOST_FACTOR = 1000.0
_MOST_AMOUNT = 2.0**53


@dataclass(frozen=True, kw_only=True)
class Growth:
    """So many times as much of something for the next try, but at most ``most``."""

    name: str
    factor: float
    most: float | None = None

    def __str__(self) -> str:
        grown = f"{self.name}*{amounts.plain(self.factor)}"
        if self.most is None:
            return grown
        most = amounts.seconds_text(self.most) if self.name == "time" else _exact_bytes(self.most)
        return f"{grown}:max={most}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One cause, and what is done then. ``codes`` are the exit codes from the first to the last, both in."""

    cause: str
    codes: tuple[int, int] | None = None
    never: bool = False
    retries: int | None = None
    delay: float | None = None
    growths: tuple[Growth, ...] = ()

    def __str__(self) -> str:
        acts = ["never"] if self.never else []
        acts += [] if self.retries is None else [f"retries={self.retries}"]
        acts += [] if self.delay is None else [f"delay={amounts.seconds_text(self.delay)}"]
        return ":".join([self.cause, *acts, *map(str, self.growths)])

    @property
    def most(self) -> int:
        """How often it tries again."""
        return 0 if self.never else DEFAULT_RETRIES if self.retries is None else self.retries


Rules = tuple[Rule, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says of one failure: tries that it allows in all, what the next one requires, and that in words."""

    most: int
    requires: Mapping[str, float]
    words: str


def parse(value: object) -> Rules:
    """Rules from a text, or from an object with causes as names. UsageError with the place of what is wrong."""
    if isinstance(value, str):
        found = tuple(_rule(words, f"at character {place + 1}") for place, words in _split(value, ","))
    elif isinstance(value, Mapping):
        found = tuple(_from_object(cause, acts) for cause, acts in value.items())
    else:
        _refuse(f"rules are a text or an object, not {value!r:.40}", _EXAMPLE)
    if not found:
        _refuse("there is no rule in it", _EXAMPLE)
    _check_apart(found)
    return found


def text(rules: Rules) -> str:
    """The rules as a text that `parse` reads again."""
    return ",".join(map(str, rules))


def find(rules: Rules, *, reason: str, code: object = None, signal_name: object = None) -> Rule | None:
    """The narrowest rule for an attempt that ended so; None when there is none."""
    number = code if type(code) is int else None
    fitting = [rule for rule in rules if _fits(rule, reason, number, signal_name)]
    return min(fitting, key=_width, default=None)


def decide(rule: Rule, *, retried: int, pause: float, needs: Mapping[str, float], used: Mapping[str, float]) -> Verdict:
    """What a rule says, ``retried`` times after it was first followed.

    ``needs`` is what the token requires; where it names nothing, ``used``, what was measured of the attempt, grows.
    A growth that has reached its end ends the tries: the same again would fail again.
    """
    if rule.never:
        return Verdict(most=0, requires={}, words="not tried again")
    if retried >= rule.most:
        return Verdict(most=rule.most, requires={}, words=f"not tried again: {rule.most} tries are spent")
    grown, notes = {}, []
    for growth in rule.growths:
        had = needs.get(growth.name) or used.get(growth.name) or 0.0
        more = _rounded(growth, had)
        if had and more <= had:
            told = _said(growth.name, had)
            return Verdict(most=0, requires={}, words=f"not tried again: {told} is the most that it may have")
        if had:
            grown[growth.name] = more
            notes.append(_said(growth.name, more))
    words = f"tried again in {pause:.0f} s" + (f" with {' and '.join(notes)}" if notes else "")
    return Verdict(most=rule.most, requires=grown, words=words)


_EXAMPLE = "such as 'memory:memory*2,75:delay=5m,64:never'"


def _rounded(growth: Growth, had: float) -> float:
    more = min(had * growth.factor, _MOST_AMOUNT if growth.most is None else growth.most)
    return round(more) if growth.name == "memory" or more.is_integer() else round(more, 3)


def _said(name: str, value: float) -> str:
    return f"{name} {amounts.bytes_text(value) if name == 'memory' else f'{amounts.plain(value)} s'}"


def _fits(rule: Rule, reason: str, code: int | None, signal_name: object) -> bool:
    if rule.codes is not None:
        return reason == "exit" and code is not None and rule.codes[0] <= code <= rule.codes[1]
    if rule.cause in _SIGNALS:
        return reason == "signal" and signal_name == rule.cause
    if rule.cause == "*":
        # A command that cannot be started on one node seldom can on another: that must be asked for by name.
        return reason in REASONS and reason != "start-failed"
    return rule.cause == reason


def _width(rule: Rule) -> int:
    """How many ends a rule fits; among those that fit one end, the less the better."""
    if rule.codes is not None:
        return rule.codes[1] - rule.codes[0]
    return {"*": 1000, "exit": 500, "signal": 500}.get(rule.cause, 0)


def _split(whole: str, mark: str) -> Iterator[tuple[int, str]]:
    """Pieces between marks, without blanks around them, each with its place."""
    place = 0
    for piece in whole.split(mark):
        yield place + len(piece) - len(piece.lstrip()), piece.strip()
        place += len(piece) + 1


def _rule(words: str, where: str) -> Rule:
    cause, colon, acts = words.partition(":")
    if not colon:
        _refuse(f"{where}, {words!r:.60}: a rule is CAUSE:ACT", _EXAMPLE)
    return _with_acts(_cause(cause.strip(), where), acts, where)


def _from_object(cause: object, acts: object) -> Rule:
    if not isinstance(cause, str) or not isinstance(acts, str):
        _refuse(f"in {cause!r:.60}: what is done is a text, not {acts!r:.40}", "such as 'memory*2:max=64GiB'")
    return _with_acts(_cause(cause.strip(), "in the object"), acts, f"in {cause!r:.60}")


def _with_acts(cause: tuple[str, tuple[int, int] | None], acts: str, where: str) -> Rule:
    found = _Acts(where)
    for _, act in _split(acts, ":"):
        found.take(act)
    return found.rule(*cause)


def _cause(words: str, where: str) -> tuple[str, tuple[int, int] | None]:
    if words == "*" or words in REASONS:
        return words, None
    if words.upper() in _SIGNALS:
        return words.upper(), None
    if words in _NOT_FAILURES:
        _refuse(f"{where}, {words!r}: there is no rule for that: {_NOT_FAILURES[words]}")
    found = _CODE.fullmatch(words)
    if not found:
        _refuse(
            f"{where}, {words!r:.60}: no cause of that name",
            f"a cause is {', '.join(REASONS)}, an exit code, two with - between, a signal such as SIGKILL, or *",
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 255:
        _refuse(f"{where}, {words!r}: exit codes of failures are 1 to 255, the smaller one first")
    return (str(first) if first == last else f"{first}-{last}"), (first, last)


class _Acts:
    """The acts of one rule, as they are read."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._never = False
        self._retries: int | None = None
        self._delay: float | None = None
        self._growths: list[Growth] = []

    def take(self, act: str) -> None:
        """Read one more."""
        if act == "never":
            self._never = True
        elif found := _GROWTH.fullmatch(act):
            self._grow(act, found[1], float(found[2]))
        elif (found := _SETTING.fullmatch(act)) and found[1] in ("retries", "delay", "max"):
            {"retries": self._count, "delay": self._pause, "max": self._limit}[found[1]](act, found[2])
        else:
            self._bad(act, "no act of that name", f"an act is {_ACTS}")

    def rule(self, cause: str, codes: tuple[int, int] | None) -> Rule:
        """The rule that they make."""
        if self._never and (self._retries is not None or self._delay is not None or self._growths):
            self._bad("never", "goes with no other act")
        return Rule(
            cause=cause,
            codes=codes,
            never=self._never,
            retries=self._retries,
            delay=self._delay,
            growths=tuple(self._growths),
        )

    def _grow(self, act: str, name: str, factor: float) -> None:
        if name not in _UNITS:
            self._bad(act, f"{name} cannot grow", "memory and time can")
        if not 1 < factor <= _MOST_FACTOR:
            self._bad(act, f"a factor is more than 1 and at most {_MOST_FACTOR:.0f}")
        if any(growth.name == name for growth in self._growths):
            self._bad(act, f"{name} grows twice")
        self._growths.append(Growth(name=name, factor=factor))

    def _count(self, act: str, words: str) -> None:
        if not (words.isascii() and words.isdigit() and len(words) <= 4 and int(words) <= _MOST_RETRIES):
            self._bad(act, f"retries are a number up to {_MOST_RETRIES}")
        self._only_once(act, self._retries)
        self._retries = int(words)

    def _pause(self, act: str, words: str) -> None:
        self._only_once(act, self._delay)
        self._delay = self._amount(act, words, "time")

    def _limit(self, act: str, words: str) -> None:
        if not self._growths or self._growths[-1].most is not None:
            self._bad(act, "max goes after what it limits", "such as memory*2:max=64GiB")
        last = self._growths[-1]
        self._growths[-1] = Growth(name=last.name, factor=last.factor, most=self._amount(act, words, last.name))

    def _amount(self, act: str, words: str, kind: str) -> float:
        value = amounts.amount(words, _UNITS[kind])
        if value is None or value > _MOST_AMOUNT:
            self._bad(act, f"{words!r:.40} is no amount", "a time such as 5m, or a size such as 64GiB")
        return float(round(value)) if kind == "memory" else round(value, 6)

    def _only_once(self, act: str, before: object) -> None:
        if before is not None:
            self._bad(act, "stands twice in one rule")

    def _bad(self, act: str, problem: str, hint: str = "") -> NoReturn:
        _refuse(f"{self._where}, {act!r:.60}: {problem}", hint)


def _check_apart(rules: Rules) -> None:
    """No two rules may both be the narrowest for one end."""
    ranges = [rule for rule in rules if rule.codes is not None]
    for place, rule in enumerate(rules):
        if any(other.cause == rule.cause for other in rules[:place]):
            _refuse(f"there are two rules for {rule.cause}")
    for place, one in enumerate(ranges):
        for other in ranges[:place]:
            (a, b), (c, d) = one.codes or (0, 0), other.codes or (0, 0)
            nested = (a <= c and d <= b) or (c <= a and b <= d)
            if not (b < c or d < a or nested):
                _refuse(f"{other.cause} and {one.cause} overlap", "ranges must be apart, or one within the other")


def _exact_bytes(value: float) -> str:
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        size = amounts.BYTES[unit.lower()]
        if value and value % size == 0:
            return f"{amounts.plain(value / size)}{unit}"
    return amounts.plain(value)


def _refuse(problem: str, hint: str = "") -> NoReturn:
    raise UsageError(problem, hint=hint)
