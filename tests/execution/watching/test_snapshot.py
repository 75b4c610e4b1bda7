"""What there is to see of a run from its rows: in every phase, from any process, with the time passed in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator import lease
from migrator.campaign import Campaign
from migrator.core.estimate import EtaState
from migrator.core.lifecycle import AT_WORK, RunState, StopReason
from migrator.core.run_limits import RunLimits
from migrator.database import tables
from migrator.execution import runs, shards, status
from migrator.execution.runs import Run
from migrator.execution.watching import samples, snapshot
from migrator.execution.watching.situation import STAGES
from migrator.execution.watching.snapshot import PHASES, Watched
from migrator.planning import stored
from tests.execution.bench import Bench
from tests.execution.inline import StopAfter

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two conversations of fifty messages, each a unit of its own."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 50, "max_failures": "100%", "max_rate": "5000/s"})
    for owner in ("alice", "bob"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(50))
        made.keys(owner, [name])
    return made


@contextmanager
def at_work(bench: Bench) -> Iterator[tuple[Campaign, Run]]:
    """A run that this process holds the lease for, with its shards cut and nothing done."""
    plan = bench.plan().plan_id
    with bench.open() as campaign, lease.hold(campaign, purpose="execute"):
        run = runs.begin(campaign, stored.load(campaign, plan), limits=RunLimits(max_rate="5000/s"))
        shards.cut(campaign, run, 1)
        yield campaign, run


def seen(campaign: Campaign, run: Run, now: datetime = NOW) -> Watched:
    """What there is to see."""
    return snapshot.watch(campaign, status.summary(campaign, run.run_id), now=now)


def moved(bench: Bench, run: Run, *, ago: float, messages: int, number: int = 1) -> None:
    """So many messages were done by then: in a sample, and in the shard's own row."""
    at = NOW - timedelta(seconds=ago)
    with bench.database() as connection:
        samples.take(connection, run.run_id, run.generation, number, messages=messages, held_seconds=0.0, at=at)
        connection.execute(
            tables.shard.update()
            .where(tables.shard.c.shard_no == 1)
            .values(messages=messages, committed_at=at.isoformat().replace("+00:00", ".000000Z"))
        )


def test_a_run_at_work(bench: Bench) -> None:
    """Progress, rate, time left, lease, last commit, limits, what comes next."""
    with at_work(bench) as (campaign, run):
        early = seen(campaign, run)
        assert (early.phase, early.advance.done, early.advance.total) == ("working", 0, 100)
        assert early.eta.state is EtaState.NOT_AVAILABLE
        moved(bench, run, ago=100, messages=0, number=0)
        moved(bench, run, ago=0, messages=20)
        found = seen(campaign, run)
    assert found.at_work
    assert found.rate is not None
    assert found.rate.per_second == 0.2
    assert (found.eta.state, found.eta.seconds) == (EtaState.VALUE, 400.0)
    assert found.advance.fraction == 0.2
    assert found.lease is not None
    assert (found.lease.alive, found.lease.purpose) == (True, "execute")
    assert found.checkpoint.committed_at == NOW
    assert found.limits == {"max_rate": "5000/s"}
    assert [step.kind for step in found.next] == ["wait"]


def test_a_coordinator_that_is_stuck_has_no_rate(bench: Bench) -> None:
    """Its last sample is old: what it was then is not told as what it is."""
    with at_work(bench) as (campaign, run):
        moved(bench, run, ago=1000, messages=0, number=0)
        moved(bench, run, ago=900, messages=20)
        assert seen(campaign, run).rate is None


def test_more_than_was_expected(bench: Bench) -> None:
    """Never over the whole; due."""
    with at_work(bench) as (campaign, run):
        moved(bench, run, ago=0, messages=120)
        found = seen(campaign, run)
    assert (found.advance.exceeds, found.advance.fraction, found.eta.state) == (True, 1.0, EtaState.DUE)


def test_a_run_that_waits(bench: Bench) -> None:
    """For what; nobody knows how long."""
    with at_work(bench) as (campaign, run):
        moved(bench, run, ago=100, messages=0, number=0)
        moved(bench, run, ago=0, messages=20)
        runs.note(campaign, run, waiting="the key service throttles", sharing=1)
        found = seen(campaign, run)
    assert (found.phase, found.waiting) == ("waiting", "the key service throttles")
    assert found.eta.state is EtaState.NOT_AVAILABLE


def test_each_phase(bench: Bench) -> None:
    """All that a run may be busy with, and nothing else."""
    plan = bench.plan().plan_id
    phases = []
    with bench.open() as campaign:
        with lease.hold(campaign, purpose="execute"):
            run = runs.begin(campaign, stored.load(campaign, plan))
            phases.append(seen(campaign, run).phase)
            shards.cut(campaign, run, 1)
            phases.append(seen(campaign, run).phase)
            runs.request_stop(campaign, run, StopReason.INTERRUPTED)
            phases.append(seen(campaign, run).phase)
        phases.append(seen(campaign, run).phase)
        with lease.hold(campaign, purpose="erase"):
            phases.append(seen(campaign, run).phase)
        runs.stop(campaign, run, StopReason.INTERRUPTED, runs.Worked(seconds=1.0))
        phases.append(seen(campaign, run).phase)
    assert phases == ["starting", "working", "stopping", "killed", "killed", "stopped"]
    assert set(phases) < set(PHASES)


def test_every_state_has_a_phase_and_a_stage() -> None:
    """A state that is added has to be thought of here: what a run at rest in it is to be followed by."""
    assert set(RunState) - set(STAGES) == AT_WORK


def test_the_whole_road(bench: Bench) -> None:
    """Without a run, stopped, complete: what comes next in each."""
    with bench.open() as campaign:
        nothing = snapshot.before_any(campaign, now=NOW)
    assert nothing is not None
    assert (nothing.phase, [step.kind for step in nothing.next]) == ("not_begun", ["plan"])
    stopped = bench.run(stop=StopAfter(0))
    with bench.open() as campaign:
        assert snapshot.before_any(campaign, now=NOW) is None
        found = snapshot.watch(campaign, stopped, now=NOW)
        assert (found.phase, [step.kind for step in found.next]) == ("stopped", ["resume"])
        assert (found.rate, found.eta.state, found.at_work) == (None, EtaState.NONE, False)
    complete = bench.resume()
    with bench.open() as campaign:
        found = snapshot.watch(campaign, complete, now=NOW)
    assert (found.phase, found.advance.fraction) == ("completed", 1.0)
    assert [step.kind for step in found.next] == ["verify", "rollback_window", "finalize"]
    assert found.checkpoint.log_size == found.checkpoint.signed_size > 0
    assert found.checkpoint.signed_at is not None


def test_a_plan_that_waits_is_what_comes_next(bench: Bench) -> None:
    """Until somebody executes it; in production it says what it lacks."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        nothing = snapshot.before_any(campaign)
    assert nothing is not None
    assert [(step.kind, plan in step.text) for step in nothing.next] == [("execute", True)]


def test_a_killed_session_counts_what_it_worked(bench: Bench) -> None:
    """Up to its last sample: nobody wrote down when it died."""
    with at_work(bench) as (campaign, run):
        with bench.database() as connection:
            connection.execute(tables.run.update().values(session_at="2026-05-09T11:50:00.000000Z"))
        moved(bench, run, ago=600, messages=0, number=0)
        moved(bench, run, ago=0, messages=60)
        summary = status.summary(campaign, run.run_id)
    assert summary.elapsed_seconds == 600.0
    assert summary.messages_per_second == 0.1


def test_the_own_run_is_told_from_others(bench: Bench) -> None:
    """A process that does not hold the lease has none."""
    with at_work(bench) as (campaign, run):
        own = snapshot.own_summary(campaign)
        assert own is not None
        assert own.run_id == run.run_id
        with bench.database() as connection:
            connection.execute(tables.lease.update().values(holder="elsewhere/boot/1/1"))
        assert snapshot.own_summary(campaign) is None
    with bench.open() as campaign:
        assert snapshot.own_summary(campaign) is None
