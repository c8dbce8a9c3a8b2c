"""F11 and F12: what was meant for an earlier claim, or an earlier run of a batch job, meets a later one."""

from __future__ import annotations

import signal

from picas import lifecycle
from picas.lifecycle import Claimant, State, state_of
from picas.stores.base import Claim
from picas.views import View
from support.checker import SIDE, check
from support.pilots import Site, until

TRIES = 100


def test_f11_a_cancel_of_one_claim_never_reaches_the_next(site: Site) -> None:
    """F11: tokens are cancelled as they were read, but run again by then. Of 100, none is ended."""
    store = site.pool.store
    site.add(*[["sh", "-c", "true"]] * TRIES)
    wish = Claim(view=View(State.TODO), count=TRIES, claimant=Claimant(pilot="first"))
    read = store.exchange([], wish).claimed
    site.pool.reset(read)
    again = store.exchange([], Claim(view=View(State.TODO), count=TRIES, claimant=Claimant(pilot="second"))).claimed
    assert {doc["fence"] for doc in again} == {2}

    report = site.pool.cancel(read)

    assert (report.changed, len(report.conflicts)) == ([], TRIES)
    assert not any("cancel" in doc for doc in store.get(site.ids) if doc)
    site.pool.reset(again)
    site.pilot(cores=2, lease=10.0).report()
    # All are done, by their third claim.
    assert check(site) == {State.DONE: TRIES}


def test_f11_a_request_of_an_earlier_claim_ends_no_command(site: Site) -> None:
    """F11: requests to cancel claim 1 stand in tokens whose claim 2 runs. Their commands run to the end."""
    site.add(*[["sh", "-c", f'echo started >> "$SIDE"; sleep 3; {SIDE}']] * 8)
    wish = Claim(view=View(State.TODO), count=8, claimant=Claimant(pilot="first"))
    site.pool.reset(site.pool.store.exchange([], wish).claimed)
    pilot = site.pilot(cores=8, lease=1.0)
    until("all run", lambda: site.lines().count("started") == 8)

    docs = [site.doc(token_id) for token_id in site.ids]
    assert site.pool.change(docs, lambda doc: {**doc, "cancel": 1}).changed == site.ids
    report = pilot.report()

    assert (report["done"], report["failed"]) == (8, 0)
    # Done with their results, though each was asked for three beats to be cancelled.
    assert check(site, side=True) == {State.DONE: 8}
    assert not any(lifecycle.is_cancelled(site.doc(token_id)) for token_id in site.ids)


def test_f12_a_requeued_job_and_its_earlier_run(site: Site) -> None:
    """F12: a batch job is requeued while its first run still works. They are two pilots, and one result is accepted."""
    slow_first = f'if [ "$PICAS_FENCE" = 1 ]; then echo started >> "$SIDE"; sleep 3; fi; {SIDE}'
    (token_id,) = site.add(["sh", "-c", slow_first])
    job = {"SLURM_JOB_ID": "4711", "SLURM_RESTART_COUNT": "0"}
    site.environ = {**site.environ, **job}
    first = site.pilot(cores=1, lease=1.5, grace=0.5, idle=30.0)
    until("it runs", lambda: "started" in site.lines())
    first.signal(signal.SIGSTOP)

    site.environ = {**site.environ, "SLURM_RESTART_COUNT": "1"}
    second = site.pilot(cores=1, lease=1.5, idle=30.0)
    until("the second has it", lambda: site.doc(token_id)["fence"] == 2)
    names = {pilot.id for pilot in site.pool.pilots()} | {site.doc(token_id)["attempts"][0]["pilot"]}
    assert len(names) == 2
    first.signal(signal.SIGCONT)
    until("it is done", lambda: state_of(site.doc(token_id)) is State.DONE)
    second.signal(signal.SIGTERM)
    assert second.report()["done"] == 1
    first.signal(signal.SIGTERM)
    assert first.report()["done"] == 0

    # The result is that of the second; what the first had is not taken for it.
    doc = site.doc(token_id)
    assert state_of(doc) is State.DONE
    assert [attempt["fence"] for attempt in doc["attempts"]] == [1, 2]
    assert doc["slurm_job_id"] == "4711"
    assert check(site, side=True) == {State.DONE: 1}
