"""The lease given back for the dead, taken from the living, and what two coordinators can do to each other."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator import lease
from migrator.attachments import strays
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, MigratorError, UsageError
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.execution import control, runs, status
from migrator.planning import stored
from tests.execution.bench import Bench, run_in

OWNERS = ("alice", "bob", "carol")
ELSEWHERE = "other-host/other-boot/1/1"
DEAD = lease._this_process().rpartition("/")[0] + "/1"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations, each a unit of its own."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 5, "max_failures": "100%"})
    for owner in OWNERS:
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(5))
        made.keys(owner, [name])
    return made


def held(bench: Bench, age: timedelta, holder: str = ELSEWHERE) -> str:
    """A run of somebody else, who was last heard of so long ago."""
    with bench.open() as campaign:
        plan = stored.load(campaign, bench.plan().plan_id)
        with lease.hold(campaign, purpose="execute") as mine:
            run = runs.begin(campaign, plan, lease_token=mine.token)
    beat = format_time(datetime.now(UTC) - age)
    with bench.database() as connection:
        values = {"holder": holder, "purpose": "execute", "heartbeat_at": beat}
        connection.execute(tables.lease.update().values(**values))
    return run.run_id


def complete(bench: Bench) -> None:
    """The run has its end, once."""
    shown = {row["conversation_no"] for row in bench.all(tables.conversation) if row["mode"] == "server"}
    rows = [row["conversation_no"] for row in bench.all(tables.message)]
    assert len(shown) == len(OWNERS)
    assert {number: rows.count(number) for number in set(rows)} == dict.fromkeys(shown, 5)
    assert len(bench.events("conversation.rewrapped")) == len(bench.events("key.created")) == len(OWNERS)
    assert len(bench.events("run.completed")) == 1


@pytest.mark.parametrize(
    ("age", "holder"),
    [
        (lease.OVERDUE + timedelta(seconds=1), ELSEWHERE),
        (timedelta(0), DEAD),
    ],
    ids=["silent elsewhere", "dead here"],
)
def test_the_lease_of_the_dead_or_silent_is_given_back(bench: Bench, age: timedelta, holder: str) -> None:
    """With an event; its workers are fenced off, the run is resumed, and the lease is free already when asked again."""
    run_id = held(bench, age, holder)
    with bench.open() as campaign:
        summary = status.summary(campaign, None)
        assert summary.stuck_since is not None
        assert "stuck since" in status.why_it_waits(campaign, summary)
        found = control.unlock(campaign, run_id)
        assert (found.already, found.holder, found.purpose, found.forced) == (False, holder, "execute", False)
        assert control.unlock(campaign, run_id).already
        assert control.unlock(campaign, None).already
    (event,) = bench.events("lease.released")
    assert (event["holder"], event["purpose"]) == (holder, "execute")
    assert [row["generation"] for row in bench.all(tables.run)] == [2]
    assert bench.resume().state is RunState.COMPLETED
    complete(bench)


def test_who_is_heard_of_keeps_it(bench: Bench) -> None:
    """Status 11 with who it is; by force it takes the campaign's name, and is an override in the log."""
    held(bench, timedelta(0))
    before = bench.all(tables.lease), bench.all(tables.run), len(bench.all(tables.outbox))
    with bench.open() as campaign:
        assert status.summary(campaign, None).stuck_since is None
        with pytest.raises(LeaseHeldError, match="other-host") as refused:
            control.unlock(campaign, None)
        assert refused.value.exit_status is ExitStatus.LEASE_HELD
        for name in (None, "", "another"):
            with pytest.raises(GateError):
                control.unlock(campaign, None, force=True, confirm=name)
        assert (bench.all(tables.lease), bench.all(tables.run), len(bench.all(tables.outbox))) == before
        assert control.unlock(campaign, None, force=True, confirm="bench").forced
    (event,) = bench.events("override.used")
    assert (event["override"], event["holder"]) == ("lease", ELSEWHERE)
    assert bench.events("lease.released") == []


def test_a_heartbeat_of_the_future_takes_force(bench: Bench) -> None:
    """After a clock was set back nobody can tell whether the holder lives: it is believed, until somebody insists."""
    held(bench, -timedelta(days=1))
    with bench.open() as campaign:
        with pytest.raises(LeaseHeldError):
            control.unlock(campaign, None)
        assert control.unlock(campaign, None, force=True, confirm="bench").forced
    assert bench.resume().state is RunState.COMPLETED


def test_a_lease_that_is_held_for_something_else(bench: Bench) -> None:
    """With a run's id it is left alone; an unknown run is said to be unknown."""
    run_id = held(bench, timedelta(days=1))
    with bench.database() as connection:
        connection.execute(tables.lease.update().values(token=99, purpose="rollback"))
    with bench.open() as campaign:
        with pytest.raises(GateError, match="rollback"):
            control.unlock(campaign, run_id)
        with pytest.raises(UsageError, match="run-x"):
            control.unlock(campaign, "run-x")
        assert control.unlock(campaign, None).purpose == "rollback"
    assert [row["generation"] for row in bench.all(tables.run)] == [1]


@pytest.mark.parametrize("moment", ["shards", "shard-finished", "unit"])
def test_who_lost_the_lease_by_force_commits_nothing_more(bench: Bench, moment: str) -> None:
    """Its session ends with 11 at its next look; the run is resumed by another, and the end is as if undisturbed."""
    plan = bench.plan().plan_id
    with bench.open() as other, bench.open() as campaign:
        campaign.database.boundary = once(moment, lambda: control.unlock(other, None, force=True, confirm="bench"))
        with pytest.raises(MigratorError) as ended:
            run_in(campaign, plan)
    assert ended.value.exit_status is ExitStatus.LEASE_HELD
    assert bench.events("run.completed") == bench.events("run.paused") == []
    with bench.open() as campaign:
        assert status.summary(campaign, None).stuck_since is not None
    assert bench.resume().state is RunState.COMPLETED
    complete(bench)


def once(label: str, do: Callable[[], object]) -> Callable[[str, str], None]:
    """Does something after the first commit of a kind."""
    left = 1

    def boundary(found: str, moment: str) -> None:
        nonlocal left
        if (found, moment) == (label, "after") and left:
            left = 0
            do()

    return boundary


def test_two_coordinators_fight_for_a_run(bench: Bench) -> None:
    """Both resume a killed run at the same instant: one has it, the other is told with 11; nothing is there twice."""
    held(bench, timedelta(0), DEAD)
    barrier, ended, lost = threading.Barrier(2), list[RunState](), list[LeaseHeldError]()
    before = len(bench.events("run.resumed"))

    def fight() -> None:
        barrier.wait()
        try:
            ended.append(bench.resume().state)
        except LeaseHeldError as error:
            lost.append(error)

    fighters = [threading.Thread(target=fight) for _ in range(2)]
    for fighter in fighters:
        fighter.start()
    for fighter in fighters:
        fighter.join(60)
    assert len(ended) + len(lost) == 2
    assert set(ended) == {RunState.COMPLETED}
    assert len(bench.events("run.resumed")) - before == 1
    assert len(lost) <= 1, "whoever came when it was complete is told so"
    complete(bench)


def test_who_has_been_overtaken_finds_out(bench: Bench) -> None:
    """Taken away and resumed by another while the first still lives: the first ends, and changes nothing of it."""
    plan = bench.plan().plan_id

    def overtake(other: Campaign) -> None:
        control.unlock(other, None, force=True, confirm="bench")
        assert bench.resume().state is RunState.COMPLETED

    with bench.open() as other, bench.open() as campaign:
        campaign.database.boundary = once("unit", lambda: overtake(other))
        with pytest.raises(MigratorError) as ended:
            run_in(campaign, plan)
    assert ended.value.exit_status is ExitStatus.LEASE_HELD
    complete(bench)


def test_who_has_been_overtaken_leaves_blobs_alone(bench: Bench) -> None:
    """What is noted may be what the other's workers are writing: it is theirs to take away."""
    plan = bench.plan().plan_id

    def overtake(other: Campaign) -> None:
        control.unlock(other, None, force=True, confirm="bench")
        run_id = bench.all(tables.run)[0]["run_id"]
        with other.database.write("test") as connection:
            strays.note(connection, other, run_id, ["00" * 16])

    with bench.open() as other, bench.open() as campaign:
        campaign.database.boundary = once("unit", lambda: overtake(other))
        with pytest.raises(LeaseHeldError):
            run_in(campaign, plan)
    assert [row["doomed"] for row in bench.all(tables.stray_blob)] == [False]
