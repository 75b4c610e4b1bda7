"""Pause and abort of runs at work, of killed ones, of those at rest, and of those that have ended."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import lease
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, UsageError
from migrator.core.lifecycle import Answer, RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import control, runs, status
from migrator.execution.runs import RunSummary
from migrator.planning import stored
from migrator.rollback import rollback
from tests.execution.bench import Bench, run_in

OWNERS = ("alice", "bob", "carol")
LONG = "in-alice/long"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations, each a unit of its own, and a long one of three pages."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 1000, "max_failures": "100%"})
    for owner in OWNERS:
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(20))
        made.keys(owner, [name])
    made.messages(made.thread("alice", "long"), range(2010))
    made.keys("alice", [LONG])
    return made


def at(moment: str, do: Callable[[], object], *, times: int = 1) -> Callable[[str, str], None]:
    """Does something after the n-th commit of a kind."""
    left = times

    def boundary(label: str, when: str) -> None:
        nonlocal left
        if (label, when) == (moment, "after"):
            left -= 1
            if left == 0:
                do()

    return boundary


def disturbed(bench: Bench, moment: str, do: Callable[[Campaign], object], *, times: int = 1) -> RunSummary:
    """A run in which another shell does something after the n-th commit of a kind."""
    plan = bench.plan().plan_id
    with bench.open() as other, bench.open() as campaign:
        campaign.database.boundary = at(moment, lambda: do(other), times=times)
        return run_in(campaign, plan)


def whole(bench: Bench) -> set[str]:
    """The conversations that readers see; nothing is there of any other."""
    found = {row["conversation_no"]: row for row in bench.all(tables.conversation)}
    shown = {number for number, row in found.items() if row["mode"] == "server"}
    for table in (tables.message, tables.data_key, tables.item):
        assert {row["conversation_no"] for row in bench.all(table)} == shown, table.name
    assert bench.all(tables.progress) == bench.all(tables.addition) == []
    return {found[number]["conversation_id"] for number in shown}


def finishes(bench: Bench) -> None:
    """Resumed it ends as a run that nobody stopped."""
    summary = bench.resume()
    assert (summary.state, summary.stop_reason, summary.exit_status) == (RunState.COMPLETED, None, ExitStatus.OK)
    assert whole(bench) == {LONG, *(f"in-{owner}/x" for owner in OWNERS)}


def killed(bench: Bench) -> str:
    """A run whose process was killed as it began."""
    with bench.open() as campaign:
        plan = stored.load(campaign, bench.plan().plan_id)
        with lease.hold(campaign, purpose="execute") as held:
            run = runs.begin(campaign, plan, lease_token=held.token)
    with bench.database() as connection:
        values = {"holder": dead(), "purpose": "execute"}
        connection.execute(tables.lease.update().values(**values))
    return run.run_id


def dead() -> str:
    """A process of this machine that lives no more."""
    return lease._this_process().rpartition("/")[0] + "/1"


# --- at work ---


def test_a_pause_is_seen_at_the_next_commit(bench: Bench) -> None:
    """Status 22, nothing more is committed, what is half done waits, and the run goes on from there."""
    answers: list[control.Stopping] = []
    summary = disturbed(bench, "page", lambda other: answers.append(control.pause(other, None)))
    (told,) = answers
    assert (told.answer, told.state) == (Answer.ASKED, RunState.PAUSING)
    assert told.holder == lease._this_process()
    assert (summary.state, summary.stop_reason) == (RunState.STOPPED, StopReason.PAUSED)
    assert summary.exit_status is ExitStatus.STOPPED_BY_OPERATOR
    assert len(bench.all(tables.progress)) == 1
    assert [event["reason"] for event in bench.events("run.paused")] == ["paused"]
    (asked,) = bench.events("run.stop_requested")
    assert asked == {"request": "pause", "state": "running", "by": "operator"}
    finishes(bench)


def test_an_abort_leaves_whole_conversations_only(bench: Bench) -> None:
    """Status 22; the pages of the long conversation are gone, with their key and its event; resumed it begins anew."""
    summary = disturbed(bench, "page", lambda other: control.abort(other, None, confirm="bench"), times=2)
    assert (summary.state, summary.stop_reason) == (RunState.STOPPED, StopReason.ABORTED)
    assert summary.exit_status is ExitStatus.STOPPED_BY_OPERATOR
    assert LONG not in whole(bench)
    assert [event["reason"] for event in bench.events("run.aborted")] == ["aborted"]
    created, destroyed = bench.events("key.created"), bench.events("key.destroyed")
    assert len(destroyed) == 1
    assert destroyed[0]["ref"] in {event["ref"] for event in created}
    finishes(bench)


def test_a_pause_grows_into_an_abort_and_never_back(bench: Bench) -> None:
    """Asked twice while the workers leave: the abort counts, and a later pause is part of it."""
    answers: list[control.Stopping] = []

    def ask(other: Campaign) -> None:
        answers.append(control.pause(other, None))
        answers.append(control.pause(other, None))
        answers.append(control.abort(other, None, confirm="bench"))
        answers.append(control.pause(other, None))

    summary = disturbed(bench, "page", ask)
    assert [a.answer for a in answers] == [Answer.ASKED, Answer.ALREADY, Answer.ASKED, Answer.ALREADY]
    assert [a.state for a in answers] == [RunState.PAUSING, RunState.PAUSING, RunState.ABORTING, RunState.ABORTING]
    assert summary.stop_reason is StopReason.ABORTED
    assert [event["request"] for event in bench.events("run.stop_requested")] == ["pause", "abort"]
    whole(bench)


def test_an_abort_between_the_last_look_and_the_rest(bench: Bench) -> None:
    """A run that is just coming to rest is aborted all the same: nothing half done is left."""
    plan = bench.plan().plan_id
    with bench.open() as other, bench.open() as campaign:

        def boundary(label: str, when: str) -> None:
            if (label, when) == ("page", "after") and not bench.events("run.stop_requested"):
                control.pause(other, None)
            if (label, when) == ("run-stop-request", "after"):
                control.abort(other, None, confirm="bench")

        campaign.database.boundary = boundary
        summary = run_in(campaign, plan)
    assert summary.stop_reason is StopReason.ABORTED
    whole(bench)


def test_what_is_complete_can_not_be_stopped_any_more(bench: Bench) -> None:
    """Paused after the last outcome: the run is complete, because nothing was left."""
    summary = disturbed(bench, "shard-finished", lambda other: control.pause(other, None), times=4)
    assert (summary.state, summary.exit_status) == (RunState.COMPLETED, ExitStatus.OK)


# --- nobody at work ---


def test_a_killed_run_is_put_to_rest_at_once(bench: Bench) -> None:
    """No process lives that would do it; asked again it is paused already."""
    run_id = killed(bench)
    with bench.open() as campaign:
        assert status.summary(campaign, None).stuck_since is not None
        paused = control.pause(campaign, None)
        assert (paused.answer, paused.state, paused.reason) == (Answer.AT_REST, RunState.STOPPED, StopReason.PAUSED)
        again = control.pause(campaign, run_id)
        assert (again.answer, again.reason) == (Answer.ALREADY, StopReason.PAUSED)
        assert status.summary(campaign, None).exit_status is ExitStatus.STOPPED_BY_OPERATOR
        assert "paused by an operator" in status.why_it_waits(campaign, status.summary(campaign, None))
    assert len(bench.events("run.stop_requested")) == len(bench.events("run.paused")) == 1
    finishes(bench)


def test_a_paused_run_is_aborted(bench: Bench) -> None:
    """From rest to rest: what the pause had kept goes."""
    disturbed(bench, "page", lambda other: control.pause(other, None))
    with bench.open() as campaign:
        done = control.abort(campaign, None, confirm="bench")
        assert (done.answer, done.state, done.reason) == (Answer.AT_REST, RunState.STOPPED, StopReason.ABORTED)
        whole(bench)
        again = control.abort(campaign, None, confirm="bench")
        assert (again.answer, again.reason) == (Answer.ALREADY, StopReason.ABORTED)
        assert control.pause(campaign, None).answer is Answer.ALREADY
    finishes(bench)


def test_an_abort_that_was_killed_is_finished_by_the_next(bench: Bench) -> None:
    """It shows as stuck; a pause finishes it as well, and so does resuming."""
    disturbed(bench, "page", lambda other: control.pause(other, None), times=2)

    class KilledError(Exception):
        pass

    def die() -> None:
        raise KilledError

    with bench.open() as campaign:
        campaign.database.boundary = at("abort-taken", die)
        with pytest.raises(KilledError):
            control.abort(campaign, None, confirm="bench")
    assert bench.all(tables.run)[0]["state"] == "aborting"
    with bench.open() as campaign:
        found = status.summary(campaign, None)
        assert found.stuck_since is not None
        assert "migrator abort" in status.why_it_waits(campaign, found)
        assert control.pause(campaign, None).reason is StopReason.ABORTED
    whole(bench)
    finishes(bench)


def test_a_run_that_another_run_works_beside_is_nobodys(bench: Bench) -> None:
    """The lease is held for something else: the killed run is put to rest all the same."""
    first = killed(bench)
    with bench.open() as campaign, lease.hold(campaign, purpose="rollback"), bench.open() as other:
        assert control.pause(other, first).answer is Answer.AT_REST


def test_who_was_taken_for_dead_and_comes_back_changes_nothing(bench: Bench) -> None:
    """Out of reach for too long, put to rest from elsewhere: its session ends with 11, and the run rests as paused."""
    plan = bench.plan().plan_id

    def out_of_reach(other: Campaign) -> None:
        with bench.database() as connection:
            old = {"holder": "other/boot/1/1", "heartbeat_at": format_time(datetime(2020, 1, 1, tzinfo=UTC))}
            connection.execute(sa.update(tables.lease).values(**old))
        assert control.pause(other, None).answer is Answer.AT_REST

    with bench.open() as other, bench.open() as campaign:
        campaign.database.boundary = at("page", lambda: out_of_reach(other))
        with pytest.raises(LeaseHeldError):
            run_in(campaign, plan)
    assert [event["reason"] for event in bench.events("run.paused")] == ["paused"]
    with bench.open() as campaign:
        assert status.summary(campaign, None).stop_reason is StopReason.PAUSED
    finishes(bench)


# --- what is refused ---


def test_what_has_ended_is_refused(bench: Bench) -> None:
    """Completed, rolled back: status 12, and not an event more."""
    run_id = bench.run().run_id
    with bench.open() as campaign:
        for word in ("completed", "rolled_back"):
            before = len(bench.all(tables.outbox))
            for ask in (control.pause, lambda *given: control.abort(*given, confirm="bench")):
                with pytest.raises(GateError, match=word) as caught:
                    ask(campaign, run_id)
                assert caught.value.exit_status is ExitStatus.GATE
            assert len(bench.all(tables.outbox)) == before
            rollback(campaign, run_id, NoProgress())


@pytest.mark.parametrize("name", [None, "", "Bench", "other"])
def test_an_abort_asks_for_the_campaigns_name(bench: Bench, name: str | None) -> None:
    """Any other, or none: status 12, and the run is as it was."""
    run_id = killed(bench)
    before = bench.all(tables.run), len(bench.all(tables.outbox))
    with bench.open() as campaign, pytest.raises(GateError, match="name"):
        control.abort(campaign, run_id, confirm=name)
    assert (bench.all(tables.run), len(bench.all(tables.outbox))) == before


def test_there_is_no_such_run(bench: Bench) -> None:
    """Said as what it is, whichever is asked, and whatever name was typed."""
    with bench.open() as campaign:
        for name in ("bench", "other"):
            with pytest.raises(UsageError, match="no run 'run-x'"):
                control.abort(campaign, "run-x", confirm=name)
        with pytest.raises(UsageError, match="no run yet"):
            control.pause(campaign, None)


def test_a_heartbeat_of_the_future_is_believed_of_another_host(bench: Bench) -> None:
    """A clock that was set back: a holder out of reach counts as living, so the run is asked, not taken."""
    killed(bench)
    with bench.database() as connection:
        values = {"holder": "other/boot/1/1", "heartbeat_at": format_time(datetime(2100, 1, 1, tzinfo=UTC))}
        connection.execute(sa.update(tables.lease).values(**values))
    with bench.open() as campaign:
        assert status.summary(campaign, None).stuck_since is None
        assert control.pause(campaign, None).answer is Answer.ASKED
