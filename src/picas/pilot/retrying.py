"""Retry rules at work: what the rules of a token, or else of its pilot, make of an outcome."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picas import retries
from picas.errors import InvalidToken, UsageError
from picas.lifecycle import Doc, Outcome, Reason, Retry, retries_by_cause
from picas.tokens import requirements

__all__ = ["Retrying"]

log = logging.getLogger("picas.pilot")

_SPREAD = 0.1
"""The part of a rule's delay that is added at random, lest all that failed together come back together."""


class Retrying:
    """The rules of one pilot. UsageError when they cannot be read.

    With ``dry_run`` none is followed; what it would have done is written into the attempt.
    """

    def __init__(self, rules: str, *, dry_run: bool, chance: random.Random) -> None:
        try:
            self._rules = retries.parse(rules) if rules else ()
        except UsageError as error:
            raise UsageError(f"--retry-on: {error.message}", hint=error.hint) from error
        self._dry_run = dry_run
        self._chance = chance
        self._has_none = not self._rules

    def judged(self, doc: Doc, outcome: Outcome) -> Outcome:
        """The outcome as the narrowest rule has it; a rule of the token's own goes before all of the pilot's."""
        if self._has_none and "retry_on" not in doc:
            return outcome
        if outcome.give_back or (outcome.reason is Reason.EXIT and outcome.exit_code == 0):
            return outcome
        rule = self._find(doc, outcome)
        return outcome if rule is None else self._follow(rule, doc, outcome)

    def _find(self, doc: Doc, outcome: Outcome) -> retries.Rule | None:
        ended: dict[str, Any] = {"reason": str(outcome.reason), "code": outcome.exit_code}
        ended["signal_name"] = (outcome.attempt or {}).get("signal")
        return retries.find(_rules_of(doc), **ended) or retries.find(self._rules, **ended)

    def _follow(self, rule: retries.Rule, doc: Doc, outcome: Outcome) -> Outcome:
        pause = outcome.retry_delay
        if rule.delay is not None:
            pause = rule.delay * (1 + _SPREAD * self._chance.random())
        attempt = dict(outcome.attempt or {})
        verdict = retries.decide(
            rule,
            retried=retries_by_cause(doc).get(rule.cause, 0),
            pause=pause,
            needs=_needs(doc),
            used={"memory": attempt.get("max_rss") or 0, "time": attempt.get("runtime") or 0},
        )
        if self._dry_run:
            return replace(outcome, attempt={**attempt, "rule": str(rule), "would": verdict.words})
        changes = {"requires": {**_requires(doc), **verdict.requires}} if verdict.requires else {}
        retry = Retry(cause=rule.cause, most=verdict.most, changes=changes)
        told = {**attempt, "rule": str(rule), "then": verdict.words}
        return replace(outcome, attempt=told, retry=retry, retry_delay=pause)


def _rules_of(doc: Doc) -> retries.Rules:
    if "retry_on" not in doc:
        return ()
    try:
        return retries.parse(doc["retry_on"])
    except UsageError as error:
        # Nothing that picas has added: it is as if there were none.
        log.warning("token %s: retry_on: %s", doc["_id"], error.message)
        return ()


def _needs(doc: Mapping[str, Any]) -> dict[str, float]:
    try:
        needs = requirements(doc)
    except InvalidToken:
        return {"memory": 0.0, "time": 0.0}
    return {"memory": needs.memory, "time": needs.time}


def _requires(doc: Mapping[str, Any]) -> dict[str, Any]:
    requires = doc.get("requires")
    return dict(requires) if isinstance(requires, Mapping) else {}
