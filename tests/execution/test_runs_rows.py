"""A run's row, its states, and what status tells from rows alone."""

from pathlib import Path

import pytest

from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, PlanError, UsageError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.outcomes import OUTCOMES
from migrator.database import tables
from migrator.execution import runs, status
from migrator.execution.assignment import OutcomeCount, ShardResult
from migrator.execution.runs import RunSummary
from migrator.planning import stored
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with one conversation and no plan."""
    made = Bench(tmp_path / "campaign")
    made.account("alice")
    made.messages(made.thread("alice", "bob"), range(2))
    return made


def begun(bench: Bench) -> runs.Run:
    """A run that has begun."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        return runs.begin(campaign, stored.load(campaign, plan))


def test_found_by_id_or_the_latest(bench: Bench) -> None:
    """Without one there is none, which is said."""
    with bench.open() as campaign, campaign.database.read() as connection:
        with pytest.raises(UsageError, match="no run yet"):
            runs.find(connection, None)
        with pytest.raises(UsageError, match="'run-x'"):
            runs.find(connection, "run-x")
    first, second = begun(bench), begun(bench)
    with bench.open() as campaign, campaign.database.read() as connection:
        assert runs.find(connection, None) == second
        assert runs.find(connection, first.run_id) == first


def test_a_plan_belongs_to_the_run_that_was_first(bench: Bench) -> None:
    """Two that begin at once: one has it, the other changes nothing."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        found = stored.load(campaign, plan)
        runs.begin(campaign, found)
        with pytest.raises(PlanError, match="at this moment"):
            runs.begin(campaign, found)
    assert len(bench.all(tables.run)) == len(bench.events("run.started")) == 1


def test_stopped_taken_up_and_completed(bench: Bench) -> None:
    """Each step with its event; the generation rises, the stop reason goes, worked time adds up."""
    run = begun(bench)
    with bench.open() as campaign:
        runs.stop(campaign, run, StopReason.MAX_DURATION, runs.Worked(seconds=1.5))
        stopped = status.summary(campaign, None)
        assert (stopped.state, stopped.stop_reason, stopped.elapsed_seconds) == (
            RunState.STOPPED, StopReason.MAX_DURATION, 1.5,
        )  # fmt: skip
        again = runs.take_up(campaign, run.run_id)
        assert (again.generation, again.state, again.stop_reason) == (2, RunState.RUNNING, None)
        runs.complete(campaign, again, {"rewrapped": OutcomeCount(1, 2, 0)}, runs.Worked(seconds=2.0))
        assert status.summary(campaign, None).elapsed_seconds == 3.5
        with pytest.raises(GateError):
            runs.take_up(campaign, run.run_id)
    kinds = ("run.started", "run.paused", "run.resumed", "run.completed")
    assert [len(bench.events(kind)) for kind in kinds] == [1, 1, 1, 1]
    assert bench.events("run.completed") == [{"counts": {"rewrapped": 1}}]


def test_a_session_that_was_overtaken_changes_nothing(bench: Bench) -> None:
    """Its run was resumed by somebody else: it can neither stop nor complete it, and no event says so."""
    run = begun(bench)
    with bench.open() as campaign:
        runs.take_up(campaign, run.run_id)
        before = bench.all(tables.run), bench.all(tables.outbox)
        runs.request_stop(campaign, run, StopReason.INTERRUPTED)
        with pytest.raises(LeaseHeldError):
            runs.stop(campaign, run, StopReason.INTERRUPTED, runs.Worked(seconds=1.0))
        with pytest.raises(LeaseHeldError):
            runs.complete(campaign, run, {}, runs.Worked(seconds=1.0))
    assert (bench.all(tables.run), bench.all(tables.outbox)) == before


def test_what_was_staged_by_the_killed_is_forgotten(bench: Bench) -> None:
    """Additions of conversations without an outcome go; those that a rollback needs stay."""
    run = begun(bench)
    with bench.database() as connection:
        for number in (1, 2):
            connection.execute(
                tables.addition.insert().values(run_id=run.run_id, conversation_no=number, sent_at=1, message_id="m")
            )
        connection.execute(
            tables.item.insert().values(
                run_id=run.run_id, conversation_no=2, outcome="rewrapped", messages=1, gaps=0, finished_at="x"
            )
        )
    with bench.open() as campaign:
        runs.take_up(campaign, run.run_id)
    assert [row["conversation_no"] for row in bench.all(tables.addition)] == [2]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [(StopReason.INTERRUPTED, 130), (StopReason.TERMINATED, 143), (StopReason.MAX_DURATION, 20),
     (StopReason.ERROR_BUDGET, 21), (StopReason.SERVICE_DOWN, 24), (StopReason.AUDIT_LOG, 41)],
)  # fmt: skip
def test_the_exit_status_of_each_stop(reason: StopReason, expected: int) -> None:
    """As the contract lists them."""
    summary = RunSummary(
        run_id="r", plan_id="p", state=RunState.STOPPED, dry_run=False, counts={}, messages_per_second=0.0,
        elapsed_seconds=0.0, stop_reason=reason,
    )  # fmt: skip
    assert summary.exit_status == expected


def test_failures_end_with_thirty() -> None:
    """Whatever failed; skips and holds are no failures."""
    for outcome in OUTCOMES:
        counts = {outcome: OutcomeCount(1, 1, 0)}
        summary = RunSummary(
            run_id="r", plan_id="p", state=RunState.COMPLETED, dry_run=False, counts=counts, messages_per_second=0.0,
            elapsed_seconds=0.0,
        )  # fmt: skip
        assert summary.exit_status is (ExitStatus.SOME_FAILED if outcome.startswith("failed:") else ExitStatus.OK)


def test_status_says_why_it_waits(bench: Bench) -> None:
    """In every state one sentence, and a killed run is told from one at work."""
    run = begun(bench)
    sentences = {}
    with bench.open() as campaign:
        for state in RunState:
            for reason in (None, *StopReason):
                with bench.database() as connection:
                    values = {"state": state.value, "stop_reason": reason.value if reason else None}
                    connection.execute(tables.run.update().values(values))
                sentences[state, reason] = status.why_it_waits(campaign, status.summary(campaign, run.run_id))
    assert "killed" in sentences[RunState.RUNNING, None]
    assert all(sentences.values())
    assert len({sentences[RunState.STOPPED, reason] for reason in StopReason}) == len(StopReason)


def test_pending_is_what_has_no_outcome(bench: Bench) -> None:
    """Counted from the plan and the items, not from shards."""
    run = begun(bench)
    with bench.open() as campaign:
        assert status.summary(campaign, run.run_id).pending == 1
    summary = bench.resume()
    assert (summary.pending, summary.counts["skipped:no_export"].to_json()) == (
        0, {"conversations": 1, "messages": 2, "gaps": 0},
    )  # fmt: skip


def test_counts_add_up() -> None:
    """What shards report of a dry run is merged without losing any."""
    result = ShardResult(shard_no=1, finished=True)
    result.add("rewrapped", 3, 0)
    result.add("rewrapped", 4, 1)
    total = OutcomeCount()
    total.merge(result.counts["rewrapped"])
    total.merge(OutcomeCount(1, 1, 1))
    assert total.to_json() == {"conversations": 3, "messages": 8, "gaps": 2}
