"""When what a run needs fails: it stops, says so with status 24, leaves nothing half, and goes on afterwards."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import key_routing, lease
from migrator.campaign import Campaign
from migrator.core.errors import (
    RESUMABLE,
    DatabaseError,
    ExitStatus,
    GateError,
    KeyServiceUnavailableError,
    MigratorError,
    RunStoppedError,
)
from migrator.core.lifecycle import RunState, StopReason
from migrator.database import connect, tables
from migrator.execution import status
from tests.execution.bench import Bench, run_in
from tests.execution.inline import StopAfter
from tests.support.key_services import switch

OWNERS = ("alice", "bob", "carol")
DONE = {f"in-{owner}/x": ("rewrapped", 5, 0) for owner in OWNERS}


def bench_in(folder: Path, **sections: Any) -> Bench:
    """Three conversations of five messages, each a unit of its own."""
    bench = Bench(folder / "campaign", execution={"page_size": 5, "max_failures": "100%"}, **sections)
    for owner, region in zip(OWNERS, ("EU", "US", "EU"), strict=True):
        bench.account(owner, region=region)
        name = bench.thread(owner, "x")
        bench.messages(name, range(5))
        bench.keys(owner, [name])
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The same, in one region."""
    return bench_in(tmp_path)


def consistent(bench: Bench) -> int:
    """How many conversations are done; whatever is there of them is whole."""
    shown = {row["conversation_no"] for row in bench.all(tables.conversation) if row["mode"] == "server"}
    rows = [row["conversation_no"] for row in bench.all(tables.message)]
    assert {number: rows.count(number) for number in set(rows)} == dict.fromkeys(shown, 5)
    assert {row["conversation_no"] for row in bench.all(tables.data_key)} == shown
    assert {row["conversation_no"] for row in bench.all(tables.item)} == shown
    assert len(bench.events("conversation.rewrapped")) == len(bench.events("key.created")) == len(shown)
    return len(shown)


def the_process_has_ended(bench: Bench) -> None:
    """A lease that could not be released is that of a dead process, not of this test's."""
    table = tables.lease
    with bench.database() as connection:
        holder = connection.scalar(sa.select(table.c.holder))
        if holder is not None:
            connection.execute(table.update().values(holder=holder.rpartition("/")[0] + "/1"))


def finishes(bench: Bench) -> None:
    """Resumed, the run ends as one that nothing happened to."""
    the_process_has_ended(bench)
    summary = bench.resume()
    assert (summary.state, summary.exit_status) == (RunState.COMPLETED, ExitStatus.OK)
    assert bench.outcomes(summary.run_id) == DONE
    assert consistent(bench) == 3


def fails(bench: Bench, plan: str, error: type[MigratorError], prepare: Any = None) -> MigratorError:
    """A run that is stopped by an error with status 24 that says it is resumable."""
    with bench.open() as campaign:
        if prepare is not None:
            prepare(campaign)
        with pytest.raises(error) as caught:
            run_in(campaign, plan)
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
    assert caught.value.changed == RESUMABLE
    return caught.value


def after_first_unit(do: Callable[[Campaign], object]) -> Callable[[Campaign], None]:
    """Have something happen after the first conversation is shown."""

    def prepare(campaign: Campaign) -> None:
        left = 1

        def boundary(label: str, moment: str) -> None:
            nonlocal left
            if (label, moment) == ("unit", "after") and left:
                left = 0
                do(campaign)

        campaign.database.boundary = boundary

    return prepare


# --- key services ---


def serve_from(bench: Bench, **regions: str) -> None:
    """Give regions a key service of their own."""
    settings = bench.spec.settings
    keys = settings.keys.model_copy(update={"regions": {"EU": "local:keys#migrator", **regions}})
    bench.spec = replace(bench.spec, settings=settings.model_copy(update={"keys": keys}))


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("down", KeyServiceUnavailableError),
        ("throttled:3600", KeyServiceUnavailableError),
        ("disabled", RunStoppedError),
        ("denied", RunStoppedError),
        ("unknown", RunStoppedError),
        ("item-disabled", RunStoppedError),
    ],
)
def test_a_failing_key_service_stops_the_run(tmp_path: Path, behaviour: str, error: type[MigratorError]) -> None:
    """What was shown before stays; what needed the key has nothing, and no outcome; once mended, the run goes on."""
    bench = bench_in(tmp_path)
    serve_from(bench, US="switched:keys#migrator")
    plan = bench.plan().plan_id
    switch(bench.folder / "keys", behaviour)
    told = fails(bench, plan, error)
    (run,) = bench.all(tables.run)
    assert (run["state"], run["stop_reason"]) == ("stopped", StopReason.SERVICE_DOWN.value)
    assert run["stop_detail"] == told.message
    assert [event["reason"] for event in bench.events("run.paused")] == ["service_down"]
    with bench.open() as campaign:
        assert told.message in status.why_it_waits(campaign, status.summary(campaign, None))
    assert consistent(bench) == 1
    assert [row["outcome"] for row in bench.all(tables.item)] == ["rewrapped"]
    switch(bench.folder / "keys", "ok")
    finishes(bench)
    assert bench.all(tables.run)[0]["stop_detail"] is None


@pytest.mark.usefixtures("switched")
def test_a_refusal_costs_its_conversation_alone(tmp_path: Path) -> None:
    """`failed:key_service` for that one; the others are shown; the command ends with 30."""
    bench = bench_in(tmp_path)
    serve_from(bench, US="switched:keys#migrator")
    switch(bench.folder / "keys", "refuse", calls=1)
    summary = bench.run()
    assert bench.outcomes(summary.run_id) == {**DONE, "in-bob/x": ("failed:key_service", 5, 0)}
    assert summary.exit_status is ExitStatus.SOME_FAILED
    assert {row["key_service"] for row in bench.all(tables.data_key)} == {"local:keys#migrator"}


@pytest.mark.usefixtures("switched")
def test_a_short_outage_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttled twice, then there again: nobody notices."""
    bench = bench_in(tmp_path)
    serve_from(bench, US="switched:keys#migrator")
    monkeypatch.setattr(key_routing, "PATIENCE_SECONDS", 30.0)
    switch(bench.folder / "keys", "throttled", calls=2)
    summary = bench.run()
    assert bench.outcomes(summary.run_id) == DONE
    assert (bench.folder / "keys" / "switch").read_text() == "ok"


def test_a_local_key_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    """Its file was removed after the plan: put back, the run goes on."""
    bench = bench_in(tmp_path, keys={"regions": {"EU": "local:keys#migrator", "US": "local:us#migrator"}})
    plan = bench.plan().plan_id
    file = bench.folder / "us" / "migrator.json"
    kept = file.rename(file.with_suffix(".kept"))
    assert str(file) in fails(bench, plan, RunStoppedError).message
    kept.rename(file)
    finishes(bench)


# --- the migrator database ---


def test_a_locked_database(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the write lock for longer than anybody waits."""
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_SECONDS", 0.05)
    plan = bench.plan().plan_id
    other = sqlite3.connect(bench.folder / "migrator.db", isolation_level=None, check_same_thread=False)
    error = fails(bench, plan, DatabaseError, after_first_unit(lambda _: other.execute("BEGIN IMMEDIATE")))
    assert "locked" in error.message
    other.execute("ROLLBACK")
    other.close()
    assert consistent(bench) == 1
    finishes(bench)


def test_a_full_disk(bench: Bench) -> None:
    """The database can't grow: what does not fit is not there at all, and comes when there is room."""
    large = bench.thread("bob", "y")
    bench.messages(large, range(999))
    bench.keys("bob", [large])
    plan = bench.plan().plan_id

    def fill(campaign: Campaign) -> None:
        @sa.event.listens_for(campaign.database.engine, "begin")
        def _limit(connection: sa.Connection) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite takes it as: no more than there are

    error = fails(bench, plan, DatabaseError, after_first_unit(fill))
    assert "full" in error.message
    modes = {row["conversation_id"]: row["mode"] for row in bench.all(tables.conversation)}
    assert (modes["in-alice/x"], modes[large]) == ("server", "sealed")
    the_process_has_ended(bench)
    summary = bench.resume()
    assert bench.outcomes(summary.run_id) == {**DONE, large: ("rewrapped", 999, 0)}


def test_a_database_that_became_read_only(bench: Bench) -> None:
    """Whoever changed it: said plainly, and nothing half is there."""
    plan = bench.plan().plan_id

    def protect(campaign: Campaign) -> None:
        @sa.event.listens_for(campaign.database.engine, "begin")
        def _protect(connection: sa.Connection) -> None:
            connection.exec_driver_sql("PRAGMA query_only = ON")

    error = fails(bench, plan, DatabaseError, after_first_unit(protect))
    assert "read-only" in error.message
    assert consistent(bench) == 1
    finishes(bench)


# --- the source ---


def test_a_source_that_vanishes(bench: Bench) -> None:
    """Its tables are gone in the middle of a run: stopped, resumable once they are back, never a traceback."""
    plan = bench.plan().plan_id
    rename = "ALTER TABLE message RENAME TO {}"

    def vanish(_: Campaign) -> None:
        bench.source(rename.format("elsewhere"))

    error = fails(bench, plan, RunStoppedError, after_first_unit(vanish))
    assert error.hint
    assert consistent(bench) == 1
    bench.source("ALTER TABLE elsewhere RENAME TO message")
    finishes(bench)


def test_conversations_that_vanish(bench: Bench) -> None:
    """G6: one that was planned and is not there any more has failed, not disappeared."""
    plan = bench.plan().plan_id
    for table in ("message", "thread", "thread_member"):
        bench.source(f"DELETE FROM {table} WHERE inbox_id = 'in-bob'")
    summary = bench.run(plan)
    assert bench.outcomes(summary.run_id) == {**DONE, "in-bob/x": ("failed:source", 5, 0)}
    assert summary.pending == 0


def test_a_mailbox_with_another_owner_than_the_plan_saw(bench: Bench) -> None:
    """Even where the new owner granted and exported: it is not what was planned; the next plan looks again."""
    bench.account("dora")
    bench.keys("dora", ["in-bob/x"])
    plan = bench.plan().plan_id
    bench.source("UPDATE inbox SET account_id = 'dora' WHERE inbox_id = 'in-bob'")
    summary = bench.run(plan)
    assert bench.outcomes(summary.run_id) == {**DONE, "in-bob/x": ("failed:source", 5, 0)}
    again = bench.run()
    assert bench.outcomes(again.run_id)["in-bob/x"] == ("rewrapped", 5, 0)


def test_a_planned_skip_whose_mailbox_found_its_owner(bench: Bench) -> None:
    """An orphan that is none any more: its outcome is the plan's, and the run is not stopped by a missing reference."""
    bench.messages("in-lost/x", range(2))
    plan = bench.plan().plan_id
    bench.source("INSERT INTO inbox VALUES ('in-lost', 'dora')")
    bench.source("INSERT INTO thread VALUES ('in-lost', 'x', 'direct')")
    summary = bench.run(plan)
    assert bench.outcomes(summary.run_id) == {**DONE, "in-lost/x": ("skipped:unauthorized", 2, 0)}


# --- stops and limits ---


def test_no_time_at_all_still_ends_at_a_checkpoint(bench: Bench) -> None:
    """`--max-duration`: status 20; the work of before is kept, and resuming goes on."""
    stopped = bench.run(max_duration="0.001s")
    assert (stopped.stop_reason, stopped.exit_status) == (StopReason.MAX_DURATION, ExitStatus.LIMIT_REACHED)
    finishes(bench)


def test_a_budget_in_numbers_and_in_percent(bench: Bench) -> None:
    """More failures than the number stop the run; a percentage allows ten at least, so three of three do not."""
    bench.source("UPDATE message SET message_id = CAST(message_id AS BLOB)")
    assert bench.run(max_failures="1%").exit_status is ExitStatus.SOME_FAILED
    stopped = bench.run(max_failures="0")
    assert stopped.exit_status in (ExitStatus.ERROR_BUDGET, ExitStatus.SOME_FAILED)
    assert stopped.counts["failed:source"].conversations >= 1


def test_a_stopped_rehearsal_says_so(bench: Bench) -> None:
    """A dry run that was interrupted is not taken for a whole one."""
    plan = bench.plan().plan_id
    stopped = bench.run(plan, dry_run=True, stop=StopAfter(0))
    assert (stopped.state, stopped.exit_status) == (RunState.STOPPED, ExitStatus.INTERRUPTED)
    assert bench.all(tables.run) == []


def test_a_lost_lease_ends_the_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process took the lease: this one stops at its next look and writes nothing more."""
    monkeypatch.setattr(lease, "HEARTBEAT", timedelta(milliseconds=1))
    plan = bench.plan().plan_id
    held: list[lease.Lease] = []
    hold = lease.Lease

    def noted(token: int) -> lease.Lease:
        held.append(hold(token))
        return held[0]

    monkeypatch.setattr(lease, "Lease", noted)

    def lose(_: Campaign) -> None:
        with bench.database() as connection:
            connection.execute(tables.lease.update().values(token=99, holder="a/b/1/1"))
        assert held[0].lost.wait(20)

    with bench.open() as campaign:
        after_first_unit(lose)(campaign)
        with pytest.raises(MigratorError, match="lease was lost"):
            run_in(campaign, plan)
    (row,) = bench.all(tables.lease)
    assert (row["token"], row["holder"]) == (99, "a/b/1/1")


def test_a_rehearsal_in_production_before_the_date_opens_nothing(tmp_path: Path) -> None:
    """G2: it decides and counts; no export is unsealed, and no key asked for."""
    cutover = datetime.now(UTC) + timedelta(days=100)
    bench = bench_in(
        tmp_path,
        campaign={"name": "bench", "environment": "production", "cutover_at": cutover},
        keys={"allow_local_keys": True},
    )
    plan = bench.plan().plan_id
    with bench.database() as connection:
        connection.execute(tables.export_part.update().values(sealed=b"whoever opens this fails"))
    rehearsed = bench.run(plan, dry_run=True)
    assert rehearsed.counts["rewrapped"].to_json() == {"conversations": 3, "messages": 15, "gaps": 0}
    with pytest.raises(GateError):
        bench.run(plan, confirm="bench")
    assert bench.all(tables.run) == []
