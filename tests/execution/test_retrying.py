"""Runs of a part: cohorts, limits, what failed in another run. Each conversation has its outcome, all counts agree."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import left_out
from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import ExitStatus, GateError, PlanError, UsageError
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import runs, status
from migrator.execution.assignment import Retry
from migrator.execution.coordinator import RunOptions
from migrator.execution.options import limits_of
from migrator.execution.runs import Run, RunSummary
from migrator.execution.session import Session
from migrator.execution.watching.observer import Observer
from migrator.planning.making import PlanSummary, make_plan
from migrator.reporting.numbers import summary
from migrator.rollback import rollback
from migrator.stores import labyrinth_tables as labyrinth
from migrator.verification import verify
from tests.execution.bench import NOW, Bench
from tests.execution.inline import InlineEngine, NoStop, StopAfter
from tests.execution.ready import Ready
from tests.support.key_services import switch

LEFT = "skipped:out_of_cohort"
OWNERS = ("alice", "bob", "carol", "dave")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Four conversations of five messages, each a unit of its own, one that is refused; Bob's and Carol's fail."""
    made = Bench(
        tmp_path / "campaign",
        execution={"page_size": 5, "max_failures": "100%", "max_gap_fraction": 0.5},
        cohorts={"half": "50%"},
    )
    for owner in OWNERS:
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(5))
        made.keys(owner, [name])
    made.account("nobody", answer="refuse")
    made.messages(made.thread("nobody", "x"), range(3))
    return made


def broken(bench: Bench, *owners: str) -> None:
    """The source's rows of some mailboxes are not what they should be."""
    for owner in owners:
        bench.source(f"UPDATE message SET message_id = CAST(message_id AS BLOB) WHERE inbox_id = 'in-{owner}'")


def mended(bench: Bench) -> None:
    """The platform's people have repaired them."""
    bench.source("UPDATE message SET message_id = CAST(message_id AS TEXT)")


def proved(bench: Bench, done: RunSummary) -> dict[str, str]:
    """G6: plan, outcomes, events, report and verification of a run agree. Outcome by conversation."""
    found = bench.outcomes(done.run_id)
    counted = Counter(outcome for outcome, *_ in found.values())
    assert counted == {outcome: count.conversations for outcome, count in done.counts.items()}
    assert len(found) == sum(row["plan_id"] == done.plan_id for row in bench.all(tables.plan_item))
    assert (done.state, done.pending) == (RunState.COMPLETED, 0)
    events: Counter[str] = Counter()
    for row in bench.all(tables.outbox):
        if row["run_id"] == done.run_id and row["type"] == "conversation.rewrapped":
            events[json.loads(row["data"])["outcome"]] += 1
        elif row["run_id"] == done.run_id and row["type"] == "conversation.skipped":
            events.update(json.loads(row["data"])["counts"])
    assert events == counted
    with bench.open() as campaign:
        assert summary(campaign, done.run_id)["reconciles"]
        verified = verify(campaign, done.run_id, sample=None, progress=NoProgress())
    assert verified.ok, verified.mismatches
    assert verified.checked["conversations"] == len(found)
    return {name: outcome for name, (outcome, *_) in found.items()}


def run(bench: Bench, plan: PlanSummary | None = None, **options: Any) -> RunSummary:
    """Execute a plan, by default a new one."""
    return bench.run(None if plan is None else plan.plan_id, **options)


def outcomes(**special: str) -> Mapping[str, str]:
    """Everybody out of the cohort, but for some; nobody's is refused, whatever the run is for."""
    rest = dict.fromkeys(OWNERS, LEFT)
    return {f"in-{owner}/x": outcome for owner, outcome in {**rest, "nobody": "skipped:refused", **special}.items()}


# --- cohorts and limits ---


def test_a_limited_run_and_then_the_rest(bench: Bench) -> None:
    """One first, then everything: what waited is migrated, what was migrated is already; both runs verify."""
    first = proved(bench, run(bench, bench.plan(limit="1")))
    assert Counter(first.values()) == {"rewrapped": 1, LEFT: 3, "skipped:refused": 1}
    second = proved(bench, run(bench))
    assert Counter(second.values()) == {"rewrapped": 3, "already_server": 1, "skipped:refused": 1}
    assert {name for name in first if first[name] == "rewrapped"} == {
        name for name in second if second[name] == "already_server"
    }


def test_a_cohort_run_leaves_the_rest_and_a_dry_run_says_the_same(bench: Bench) -> None:
    """What is outside is counted, not opened, even where it would fail; the counts of the rehearsal are the run's."""
    plan = bench.plan(cohort="half")
    inside = {row["conversation_no"] for row in bench.all(tables.plan_item) if row["decision"] == "rewrap"}
    dry = run(bench, plan, dry_run=True)
    done = run(bench, plan)
    assert {o: c.to_json() for o, c in dry.counts.items()} == {o: c.to_json() for o, c in done.counts.items()}
    proved(bench, done)
    assert {row["conversation_no"] for row in bench.all(tables.conversation) if row["mode"] == "server"} == inside


def test_faults_outside_the_cohort_are_none_of_its(bench: Bench) -> None:
    """A canary does not end with 30 for what it does not touch."""
    bench.source("INSERT INTO thread VALUES ('in-alice', 'odd', 'neither')")
    bench.rows("in-alice/odd", [(1, "m1", b"", "e")])
    bench.account("staff")
    bench.spec = with_cohorts(bench, europe="region:XX")
    done = run(bench, bench.plan(cohort="europe"))
    assert done.exit_status is ExitStatus.OK
    assert set(proved(bench, done).values()) == {LEFT}


def with_cohorts(bench: Bench, **rules: str) -> Any:
    """The campaign with other cohorts."""
    settings = bench.spec.settings.model_copy(update={"cohorts": rules})
    return replace(bench.spec, settings=settings)


def test_the_error_budget_is_of_what_the_run_is_for(tmp_path: Path) -> None:
    """Half of a canary's conversations, not half of everybody's; of a retry, half of what failed."""
    bench = Bench(tmp_path / "campaign", execution={"max_failures": "50%"})
    owners = [f"owner-{number:02}" for number in range(48)]
    for owner in owners:
        bench.source("INSERT INTO account (account_id, age_band, status) VALUES (?, 'adult', 'active')", [(owner,)])
        bench.source("INSERT INTO inbox VALUES (?, ?)", [(f"in-{owner}", owner)])
        bench.rows(bench.thread(owner, "x"), [(1, "m1", b"", "e")])
    bench.source("INSERT INTO thread VALUES ('in-owner-00', 'odd', 'neither')")
    whole = run(bench)
    with bench.database() as connection:
        connection.execute(tables.plan_item.update().values(decision="rewrap"))
        connection.execute(
            tables.item.update().where(tables.item.c.conversation_no <= 30).values(outcome="failed:source")
        )
    retry = Retry(run_id=whole.run_id, outcomes=("failed:source",))
    with bench.open() as campaign:
        with campaign.database.read() as connection:
            found = runs.find(connection, whole.run_id)
        assert budget_of(campaign, found) == 24
        assert budget_of(campaign, replace(found, retry=retry)) == 15
        with bench.database() as connection:
            outside = tables.plan_item.update().where(tables.plan_item.c.conversation_no > 26)
            connection.execute(outside.values(decision=LEFT))
        assert budget_of(campaign, found) == 13


def budget_of(campaign: Campaign, run: Run) -> int:
    """What a session that works on the run would bear."""
    options = RunOptions(engine=InlineEngine(campaign))
    observer = Observer(campaign, options, NoProgress(), run.plan_id)
    limits = limits_of(campaign.settings)
    return Session(campaign, options, limits, NoProgress(), NoStop(), observer).budget(run)


# --- what failed ---


def test_what_failed_is_retried_alone(bench: Bench) -> None:
    """Of a new plan that would open three, only the two that failed; all counts agree, and so they do in the end."""
    broken(bench, "bob", "carol")
    first = run(bench)
    assert first.exit_status is ExitStatus.SOME_FAILED
    bench.account("late")
    name = bench.thread("late", "x")
    bench.messages(name, range(4))
    bench.keys("late", [name])
    mended(bench)
    plan = bench.plan()
    assert plan.counts.rewrap.conversations == 3
    dry = run(bench, plan, dry_run=True, retry_failed=first.run_id)
    done = run(bench, plan, retry_failed=first.run_id)
    assert {o: c.to_json() for o, c in dry.counts.items()} == {o: c.to_json() for o, c in done.counts.items()}
    found = proved(bench, done)
    already = dict.fromkeys(("alice", "dave"), "already_server")
    assert found == {**outcomes(bob="rewrapped", carol="rewrapped", **already), "in-late/x": LEFT}
    assert [e.get("retry_of") for e in bench.events("run.started")] == [None, first.run_id]
    rest = proved(bench, run(bench))
    assert rest["in-late/x"] == "rewrapped"
    proved(bench, first_again(bench, first))


def first_again(bench: Bench, first: RunSummary) -> RunSummary:
    """The first run as it stands now."""
    with bench.open() as campaign:
        return status.summary(campaign, first.run_id)


@pytest.mark.usefixtures("switched")
def test_only_what_failed_so(bench: Bench) -> None:
    """One key that the service refused, out of it and a mailbox that can't be read."""
    keys = bench.spec.settings.keys.model_copy(
        update={"regions": {"EU": "local:keys#migrator", "US": "switched:keys#migrator"}}
    )
    bench.spec = replace(bench.spec, settings=bench.spec.settings.model_copy(update={"keys": keys}))
    bench.source("UPDATE account SET region = 'US' WHERE account_id = 'bob'")
    broken(bench, "carol")
    switch(bench.folder / "keys", "refuse", calls=1)
    first = run(bench)
    assert {o for o in first.counts if o.startswith("failed:")} == {"failed:source", "failed:key_service"}
    mended(bench)
    done = run(bench, retry_failed=first.run_id, only=("failed:key_service",))
    already = dict.fromkeys(("alice", "dave"), "already_server")
    assert proved(bench, done) == outcomes(bob="rewrapped", **already)
    assert run(bench, retry_failed=first.run_id, only=("failed:source",)).counts["rewrapped"].conversations == 1


def test_a_retry_that_stopped_goes_on_as_one(bench: Bench) -> None:
    """Resumed, it still opens what failed and nothing else."""
    broken(bench, "bob", "carol")
    first = run(bench)
    bench.account("late")
    name = bench.thread("late", "x")
    bench.messages(name, range(4))
    bench.keys("late", [name])
    mended(bench)
    stopped = run(bench, retry_failed=first.run_id, stop=StopAfter(0))
    assert stopped.pending
    done = bench.resume()
    assert proved(bench, done)["in-late/x"] == LEFT
    assert done.counts["rewrapped"].conversations == 2


def test_a_withdrawal_counts_in_a_retry(bench: Bench) -> None:
    """G1: what failed is decided again like everything else."""
    broken(bench, "bob")
    first = run(bench)
    mended(bench)
    plan = bench.plan()
    bench.answer("bob", "withdraw", decided_at=NOW)
    done = run(bench, plan, retry_failed=first.run_id)
    assert proved(bench, done)["in-bob/x"] == "skipped:withdrawn"


def test_what_cant_be_retried_consumes_no_plan(bench: Bench) -> None:
    """No such run, none of these failures, a run that was rolled back, the plan of before, and words that are none."""
    broken(bench, "bob")
    first = run(bench)
    mended(bench)
    plan = bench.plan()
    for options, error, message in (
        ({"retry_failed": "run-x"}, UsageError, "there is no run 'run-x'"),
        (
            {"retry_failed": first.run_id, "only": ("failed:database",)},
            UsageError,
            "nothing that plan .* opens ended as",
        ),
        ({"retry_failed": first.run_id, "only": ("skipped:refused",)}, UsageError, "no way to fail"),
        ({"only": ("failed:source",)}, UsageError, "--only says what of a run"),
    ):
        for dry_run in (False, True):
            with pytest.raises(error, match=message):
                run(bench, plan, dry_run=dry_run, **options)
    with pytest.raises(PlanError, match="was executed by run"):
        bench.run(bench.all(tables.plan)[0]["plan_id"], retry_failed=first.run_id)
    assert len(bench.all(tables.run)) == 1
    with bench.open() as campaign:
        rollback(campaign, first.run_id, NoProgress())
    with pytest.raises(GateError, match="was rolled back"):
        run(bench, retry_failed=first.run_id)


def test_production_retries_what_two_have_approved(tmp_path: Path) -> None:
    """There is no run without an approved plan, and a retry is a run: 12, and the plan is not consumed."""
    bench = Bench(
        tmp_path / "campaign",
        campaign={"name": "bench", "environment": "production", "cutover_at": NOW - timedelta(days=1)},
        keys={"allow_local_keys": True},
    )
    bench.account("alice")
    bench.messages(bench.thread("alice", "x"), range(5))
    bench.keys("alice", ["in-alice/x"])
    plan = bench.plan()
    with pytest.raises(GateError, match="approvals of 2 different operators"):
        run(bench, plan, confirm="bench", retry_failed="run-x")
    assert bench.all(tables.run) == []


def test_limits_and_retries_on_both_databases(ready: Ready) -> None:
    """A limit, then everything, in which some vanish for the time, then these alone: nobody is left out in the end."""
    with open_campaign(ready.spec) as campaign:
        limited = make_plan(campaign, save=None, progress=NoProgress(), limit="6")
        first = ready.run_in(campaign, limited.plan_id)
        assert sum(c.conversations for o, c in first.counts.items() if o.startswith("rewrapped")) <= 6
        assert verify(campaign, first.run_id, sample=None, progress=NoProgress()).ok
        with campaign.database.read() as connection:
            assert left_out.count(connection) > 0
        whole = make_plan(campaign, save=None, progress=NoProgress())
        with campaign.database.read() as connection:
            query = sa.select(tables.conversation.c.conversation_id).join(
                tables.plan_item, tables.plan_item.c.conversation_no == tables.conversation.c.conversation_no
            )
            planned = tables.plan_item.c.plan_id == whole.plan_id, tables.plan_item.c.decision == "rewrap"
            gone = connection.scalars(query.where(*planned).limit(3)).all()
        taken = [(table, vanished(ready, table, gone)) for table in (labyrinth.thread, labyrinth.message)]
        failed = ready.run_in(campaign, whole.plan_id)
        assert failed.counts["failed:source"].conversations >= len(gone)
        with ready.source() as source:
            for table, rows in taken:
                source.execute(table.insert(), rows)
        again = make_plan(campaign, save=None, progress=NoProgress())
        done = ready.run_in(campaign, again.plan_id, retry_failed=failed.run_id)
        assert sum(c.conversations for o, c in done.counts.items() if o.startswith(("rewrapped", "held"))) == len(gone)
        assert verify(campaign, done.run_id, sample=None, progress=NoProgress()).ok
        with campaign.database.read() as connection:
            assert left_out.count(connection) == 0


def vanished(ready: Ready, table: sa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of some conversations, which are taken out of the source."""
    condition = sa.tuple_(table.c.inbox_id, table.c.thread_id).in_([tuple(name.split("/", 1)) for name in names])
    with ready.source() as source:
        rows = [dict(row) for row in source.execute(sa.select(table).where(condition)).mappings()]
        source.execute(table.delete().where(condition))
    return rows


# --- what came after the flip ---


def test_tails_and_late_keys_are_told_apart(bench: Bench) -> None:
    """The plan says how much of its work is of conversations that were migrated before, and what arrived since."""
    bench.messages("in-dave/x", range(5, 7), epoch="epoch-2", key=bytes(32))
    assert "extend" not in bench.plan().document
    proved(bench, run(bench))
    assert {e: bench.plan().document[e] for e in ("extend", "arrivals")} == {  # nothing came since
        "extend": {"conversations": 0, "messages": 0, "tails": {"conversations": 0, "messages": 0},
                   "late_keys": {"conversations": 0, "gaps": 0}},
        "arrivals": {"conversations": 0, "messages": 0},
    }  # fmt: skip
    bench.messages("in-alice/x", range(5, 8))
    bench.messages("in-bob/x", range(5, 6))
    bench.answer("bob", "withdraw", decided_at=NOW)
    bench.keys("dave", ["in-dave/x"], epoch="epoch-2", key=bytes(32))
    made = bench.plan()
    assert made.document["extend"] == {
        "conversations": 2, "messages": 15, "tails": {"conversations": 1, "messages": 3},
        "late_keys": {"conversations": 1, "gaps": 2},
    }  # fmt: skip
    assert made.document["arrivals"] == {"conversations": 2, "messages": 4}, "Bob's too, who withdrew"
    assert made.counts.rewrap.conversations == 2
    limited = bench.plan(limit="1").document["extend"]
    assert isinstance(limited, dict)
    assert limited["conversations"] == limited["tails"]["conversations"] + limited["late_keys"]["conversations"] == 1
    found = proved(bench, run(bench))
    assert (found["in-alice/x"], found["in-dave/x"], found["in-bob/x"]) == ("rewrapped", "rewrapped", "already_server")
    assert bench.plan().document["arrivals"] == {"conversations": 1, "messages": 1}


def test_a_tail_out_of_the_cohort_stays_as_readers_see_it(bench: Bench) -> None:
    """It counts as already migrated, and its tail as having arrived."""
    proved(bench, run(bench))
    bench.messages("in-alice/x", range(5, 8))
    bench.spec = with_cohorts(bench, nobody="region:XX")
    plan = bench.plan(cohort="nobody")
    assert plan.document["arrivals"] == {"conversations": 1, "messages": 3}
    assert plan.counts.rewrap.conversations == 0
    found = proved(bench, run(bench, plan))
    assert found["in-alice/x"] == "already_server"
    assert bench.run().counts["rewrapped"].conversations == 1
