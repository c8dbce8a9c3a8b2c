"""F23: the server commits, and its answer is lost, or the connection breaks before it can. Each result counts once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from picas.errors import ClaimLost, Conflict, StoreUnavailable
from picas.lifecycle import Claimant, State, fence_of, state_of
from picas.stores.base import Claim
from picas.testing.samples import TODO, claim, put
from support import postgres_faults
from support.pilots import insist
from support.postgres_faults import Scene, nth_commit, one_line
from support.postgres_proxy import Fault, Rule, cut_before, cut_before_commit, lose_answer, refuse
from support.postgres_server import PostgresServer
from support.verbs import NAMES, PILOT, VERBS, assert_accepted_once, assert_known, result, wish

BREAKS: dict[str, Callable[[], Fault]] = {"lost": lose_answer, "never arrives": cut_before_commit}
WRITES = [name for name, verb in VERBS.items() if not verb.reads and name != "claim nothing"]


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer) -> Iterator[Scene]:
    with postgres_faults.scene(postgres_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene) -> Scene:
    return place.fresh()


def _commits_of(scene: Scene, name: str) -> int:
    """How many transactions it takes."""
    before, store = VERBS[name].before(scene), scene.open()
    seen = len(scene.proxy.seen)
    VERBS[name].act(store, before)
    number = sum(trip.commits for trip in scene.proxy.seen[seen:])
    scene.fresh()
    return number


def _away_after(fault: Fault, number: int) -> Rule:
    """The n-th commit meets the fault, and the server is out of reach from then on."""
    return nth_commit(refuse(fault), number)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", WRITES)
def test_a_commit_breaks_and_the_server_is_there(scene: Scene, name: str, how: str) -> None:
    verb = VERBS[name]
    commits = _commits_of(scene, name)
    for number in range(1, commits + 1):
        before, store = verb.before(scene), scene.open()
        scene.proxy.plan(nth_commit(BREAKS[how](), number))

        if name == "load" and (how, number) != ("lost", commits - 1):
            # What was copied is gone with the connection, and documents from an iterator do not come again: it is for
            # the caller to repeat. Not so when all were added, in the last transaction but that which cleans up.
            answer, failures = insist(lambda: verb.act(store, before), scene.heal)  # noqa: B023 - called at once
        else:
            answer, failures = verb.act(store, before), []

        # It was found out what became of the transaction: the answer is that of one write, as if nothing had been.
        assert any(trip.commits for trip in scene.proxy.seen)
        verb.check(scene, before, answer, bool(failures))
        scene.heal()
        scene.assert_sound()
        scene.fresh()


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", WRITES)
def test_a_commit_breaks_and_the_server_is_away(scene: Scene, name: str, how: str) -> None:
    verb = VERBS[name]
    for number in range(1, _commits_of(scene, name) + 1):
        before, store = verb.before(scene), scene.open()
        scene.proxy.plan(_away_after(BREAKS[how](), number))

        answer, failures = insist(lambda: verb.act(store, before), scene.heal, heal_after=2)  # noqa: B023 - as above

        # The same call, repeated, ends as if it had been made once.
        for error in failures:
            one_line(error, scene)
        verb.check(scene, before, answer, bool(failures))
        scene.heal()
        scene.assert_sound()
        scene.fresh()


def test_a_claim_whose_answer_was_lost_goes_on_where_it_ended(scene: Scene) -> None:
    put(scene.direct, *NAMES)
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([], wish(2))
    locked = scene.held_by(PILOT)
    scene.heal()

    answer = store.exchange([], wish(3))

    assert len(locked) == 2
    assert locked < {doc["_id"] for doc in answer.claimed}
    # The claims of both are the pilot's, once each.
    assert len(answer.claimed) == 3
    assert_known(scene, answer.claimed)
    assert {fence_of(doc) for doc in answer.claimed} == {1}


@pytest.mark.parametrize("count", [0, 1])
def test_claims_beyond_the_next_wish_are_given_back(scene: Scene, count: int) -> None:
    put(scene.direct, *NAMES)
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([], wish(3))
    scene.heal()

    answer = store.exchange([], wish(count) if count else None)

    # What the pilot has no use for waits again, unspent.
    assert len(answer.claimed) == count
    assert_known(scene, answer.claimed)
    others = [doc for doc in scene.docs() if state_of(doc) is State.TODO]
    assert len(others) == 4 - count
    assert all(not doc.get("scrub_count") and not doc.get("lost") for doc in others)
    scene.assert_sound()


def test_a_pilot_that_signs_off_leaves_nothing_claimed(scene: Scene) -> None:
    put(scene.direct, *NAMES)
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([], wish(3))
    scene.heal()

    store.forget(PILOT)

    # Nobody would have missed a pilot without a record.
    assert scene.held_by(PILOT) == set()
    assert [state_of(doc) for doc in scene.docs()] == [State.TODO] * 4


def test_a_claim_that_somebody_else_recovered_meanwhile_is_not_told_as_ours(scene: Scene) -> None:
    put(scene.direct, "a")
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([], wish(1))
    (doc,) = scene.docs()
    scene.direct.update([{**doc, "lock": 0, "done": 0, "claim": None}])
    (other,) = claim(scene.direct, 1, pilot="p2")
    scene.heal()

    answer = store.exchange([], wish(1))

    assert answer.claimed == []
    # It is the other's.
    assert scene.doc("a")["claim"]["pilot"] == "p2" == other["claim"]["pilot"]


def test_results_of_a_lost_answer_are_told_as_accepted_with_others(scene: Scene) -> None:
    """The repetition brings another result, too."""
    put(scene.direct, *NAMES)
    docs = claim(scene.direct, 3, pilot=PILOT)
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc) for doc in docs[:2]], wish(1))
    scene.heal()

    answer = store.exchange([result(doc) for doc in reversed(docs)], wish(1))

    assert [doc["_id"] for doc in answer.settled] == [doc["_id"] for doc in reversed(docs)]
    for doc in docs:
        assert_accepted_once(scene, doc["_id"])
    # One token was left, and it is held once.
    assert_known(scene, answer.claimed)
    assert len(answer.claimed) == 1
    scene.assert_sound()


def test_a_result_is_accepted_once_however_often_it_is_sent(scene: Scene) -> None:
    put(scene.direct, "a")
    (doc,) = claim(scene.direct, 1, pilot=PILOT)
    store = scene.open()
    scene.proxy.plan(_away_after(lose_answer(), 1))
    with pytest.raises(StoreUnavailable):
        store.exchange([result(doc)])
    scene.heal()

    first = store.exchange([result(doc)]).settled[0]
    second = store.exchange([result(doc)]).settled[0]

    assert isinstance(first, dict)
    assert isinstance(second, ClaimLost)
    assert_accepted_once(scene, "a")


def test_answers_lost_again_and_again(scene: Scene) -> None:
    """Each repetition loses its answer as well: what was accepted and claimed on the way adds up."""
    put(scene.direct, *[f"t{number}" for number in range(20)])
    docs = claim(scene.direct, 4, pilot=PILOT)
    store = scene.open()
    answers = []
    for count in (2, 4, 6):
        scene.proxy.plan(_away_after(lose_answer(), 1))
        with pytest.raises(StoreUnavailable):
            answers.append(store.exchange([result(doc) for doc in docs], wish(count)))
        scene.heal()

    last = store.exchange([result(doc) for doc in docs], wish(6))

    assert [doc["_id"] for doc in last.settled] == [doc["_id"] for doc in docs]
    for doc in docs:
        assert_accepted_once(scene, doc["_id"])
    assert len(last.claimed) == 6
    assert_known(scene, last.claimed)
    scene.assert_sound()


def test_an_exchange_that_cannot_be_asked_about_twice(scene: Scene) -> None:
    """The answer is lost, the question for what became of it fails as well, and the next call finds it out."""
    put(scene.direct, *NAMES)
    docs = claim(scene.direct, 2, pilot=PILOT)
    store = scene.open()
    scene.proxy.plan(nth_commit(lose_answer(), 1, behind=cut_before()))

    answer, failures = insist(lambda: store.exchange([result(doc) for doc in docs], wish(1)), scene.heal, heal_after=3)

    assert len(failures) == 3
    for doc in docs:
        assert_accepted_once(scene, doc["_id"])
    assert [state_of(doc) for doc in answer.settled] == [State.DONE] * 2
    assert_known(scene, answer.claimed)
    assert len(answer.claimed) == 1


def test_a_commit_that_the_server_is_still_busy_with_is_ended_and_done_again(scene: Scene) -> None:
    """The connection breaks while the server commits, which takes it longer than the pilot waits."""
    name = scene.database
    scene.server.run("CREATE SEQUENCE times", name)
    scene.server.run(
        """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN IF nextval('public.times') = 1 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END$$""",
        name,
    )
    trigger = "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON picas.tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    scene.server.run(f"{trigger} EXECUTE FUNCTION public.slow()", name)

    def send_and_cut(link: Any, trip: Any) -> None:
        link.server.sendall(trip.data)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COMMIT%' AND wait_event = 'PgSleep'"
        while not scene.server.run(waiting, rows=True):
            pass
        cut_before()(link, trip)

    store = scene.open()
    scene.proxy.plan(nth_commit(send_and_cut))
    try:
        answer = store.put([{"_id": "a", "input": "a"}])
    finally:
        scene.server.run("DROP TRIGGER slow ON picas.tokens", name)

    # It was added once, by the second try.
    assert answer == [scene.doc("a")["_rev"]]
    assert not scene.server.run("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", rows=True)
    scene.assert_sound()


# Many at once


def _work_through(scene: Scene, pilot: str, out: list[Any]) -> None:
    store = scene.open()
    mine = Claim(view=TODO, count=3, claimant=Claimant(pilot=pilot))
    held: list[Any] = []
    while True:
        results = [result(doc) for doc in held]
        answer, _ = insist(lambda: store.exchange(results, mine), lambda: None, 50)  # noqa: B023 - called at once
        for one in answer.settled:
            assert not isinstance(one, Conflict), one
        out += [doc["_id"] for doc in held]
        held = answer.claimed
        if not held:
            return


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_one_answer_in_ten_is_lost(scene: Scene, number: int) -> None:
    ids = [f"t{n:05}" for n in range(number)]
    scene.proxy.plan(lambda trip: lose_answer() if trip.commits and trip.number % 10 == 0 else None)
    loader = scene.open()
    added = []
    for start in range(0, number, 100):
        added += loader.put([{"_id": name} for name in ids[start : start + 100]])
    done: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=_work_through, args=(scene, f"p{place}", out)) for place, out in enumerate(done)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scene.heal()

    # Every token was added once, and done once, by the pilot that was told so.
    assert not [one for one in added if isinstance(one, Conflict)]
    assert sorted(name for out in done for name in out) == ids
    states = {(state_of(doc), len(doc["attempts"]), doc["fence"]) for doc in scene.docs()}
    assert states == {(State.DONE, 1, 1)}
    scene.assert_sound()
