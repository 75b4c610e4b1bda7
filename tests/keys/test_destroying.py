"""Crypto-shredding: the history of one conversation is gone for good, and everything else still agrees."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator import erasure, evidence, keys, reading, reporting, rollback, verification
from migrator.core.errors import GateError, UsageError
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.keys import Destroyed
from migrator.rollback import rolling
from tests.execution.bench import Bench, content_of, entry, run_in
from tests.execution.opened import history, number_of
from tests.keys.support import agree, bench_in

NAME = "in-user1/x"


def destroy(bench: Bench, conversation_id: str = NAME, *, confirm: str | None = "bench") -> Destroyed:
    """In a process of its own."""
    with bench.open() as campaign:
        return keys.destroy(campaign, conversation_id, confirm=confirm)


def hold(bench: Bench, account: str, released_at: str | None = None) -> None:
    """A legal hold in the source."""
    bench.source("INSERT INTO legal_hold VALUES (?, '2026-01-01T00:00:00Z', ?)", [(account, released_at)])


def left_of(bench: Bench, conversation_id: str = NAME) -> dict[str, int]:
    """Rows of a conversation by table; of keys those that still wrap something."""
    number = number_of(bench, conversation_id)
    found = {
        table.name: sum(row["conversation_no"] == number for row in bench.all(table))
        for table in (tables.message, tables.gap, tables.addition, tables.extension, tables.progress)
    }
    living = [row for row in bench.all(tables.data_key) if row["wrapped_keyset"] is not None]
    return {**found, "keys": sum(row["conversation_no"] == number for row in living)}


def test_nothing_of_it_is_left_and_all_else_agrees(tmp_path: Path) -> None:
    """No key, no row; one event that names it by reference; the others read as before; every count reconciles."""
    bench = bench_in(tmp_path)
    run = bench.run()
    done = destroy(bench)
    assert (done.already, done.messages, done.gaps) == (False, 4, 0)
    assert set(left_of(bench).values()) == {0}
    (event,) = bench.events("key.destroyed")
    assert (event["reason"], event["key_service"]) == ("shredded", "local:keys#migrator")
    assert "user1" not in str(event)
    assert len(history(bench, "in-user0/x")) == 4
    agree(bench)
    assert bench.outcomes(run.run_id)[NAME] == ("rewrapped", 4, 0)  # what the run did stays on record
    with bench.open() as campaign:
        summary = reporting.summary(campaign, None)
        checked = verification.verify(campaign, None, sample=None, progress=NoProgress()).checked
    assert summary["reconciles"]
    assert summary["server_history"]["destroyed_conversations"] == 1
    assert summary["data_keys"]["destroyed"] == 1
    assert checked["destroyed"] == 1


def test_a_second_time_it_says_so(tmp_path: Path) -> None:
    """And asks for nothing."""
    bench = bench_in(tmp_path)
    bench.run()
    destroy(bench)
    assert destroy(bench, confirm=None) == Destroyed(conversation_id=NAME, already=True, messages=0, gaps=0)
    assert len(bench.events("key.destroyed")) == 1


def test_readers_are_told(tmp_path: Path) -> None:
    """That it was destroyed, not that it was never migrated."""
    bench = bench_in(tmp_path)
    bench.run()
    destroy(bench)
    with bench.open() as campaign, pytest.raises(GateError, match="destroyed"):
        reading.read(campaign, NAME, "a test")


@pytest.mark.parametrize("confirm", [None, "", "BENCH", "in-user1/x"])
def test_the_campaigns_name_is_asked_for(tmp_path: Path, confirm: str | None) -> None:
    """Also in staging: nothing brings it back."""
    bench = bench_in(tmp_path)
    bench.run()
    with pytest.raises(GateError, match="name"):
        destroy(bench, confirm=confirm)
    assert left_of(bench)["keys"] == 1


def test_a_legal_hold_forbids_it(tmp_path: Path) -> None:
    """On the owner or on a participant, until it is over; one whose end can't be read is not over."""
    bench = bench_in(tmp_path)
    bench.run()
    for account, released_at in (("user1", None), ("x", "2027-01-01T00:00:00Z"), ("x", "soon")):
        bench.source("DELETE FROM legal_hold")
        hold(bench, account, released_at)
        with pytest.raises(GateError, match="legal hold"):
            destroy(bench)
    assert left_of(bench)["keys"] == 1
    bench.source("DELETE FROM legal_hold")
    hold(bench, "user1", "2026-05-01T00:00:00Z")
    hold(bench, "user0")
    assert not destroy(bench).already


def test_where_nobody_can_tell_about_holds_it_stays(tmp_path: Path) -> None:
    """The source has lost the conversation: in doubt the hold wins."""
    bench = bench_in(tmp_path)
    bench.run()
    for table in ("message", "thread", "thread_member"):
        bench.source(f"DELETE FROM {table} WHERE inbox_id = 'in-user1'")
    with pytest.raises(GateError, match="legal hold"):
        destroy(bench)


@pytest.mark.parametrize("unknown", ["nobody", "", "in-user1/x\0", "in-\ud800"])
def test_a_conversation_that_nobody_planned(tmp_path: Path, unknown: str) -> None:
    """An id that could not even be stored included."""
    bench = bench_in(tmp_path, 1)
    bench.run()
    with pytest.raises(UsageError, match="no plan"):
        destroy(bench, unknown)


def test_one_that_shows_nothing(tmp_path: Path) -> None:
    """There is no key of it."""
    bench = bench_in(tmp_path)
    bench.answer("user1", "refuse")
    bench.run()
    with pytest.raises(GateError, match="not migrated"):
        destroy(bench)


# --- later work ---


def test_no_later_plan_brings_it_back(tmp_path: Path) -> None:
    """Whatever is handed in: it is skipped, with a reason of its own, and the run agrees."""
    bench = bench_in(tmp_path)
    bench.run()
    destroy(bench)
    bench.history("user1", [entry(NAME, 99)])
    plan = bench.plan()
    assert plan.counts.skip["destroyed"].conversations == 1
    run = bench.run(plan.plan_id)
    assert bench.outcomes(run.run_id)[NAME][0] == "skipped:destroyed"
    assert set(left_of(bench).values()) == {0}
    agree(bench)


@pytest.mark.parametrize("planned", ["extend", "already_server"])
def test_one_that_was_planned_before_it_was_destroyed(tmp_path: Path, planned: str) -> None:
    """A plan that would add to it, or counts on it, finds it destroyed."""
    bench = bench_in(tmp_path)
    bench.run()
    if planned == "extend":
        bench.messages(NAME, range(10, 12))
    plan = bench.plan().plan_id
    assert planned in {row["decision"] for row in bench.all(tables.plan_item)}
    destroy(bench)
    run = bench.run(plan)
    assert bench.outcomes(run.run_id)[NAME][0] == "skipped:destroyed"
    assert set(left_of(bench).values()) == {0}
    agree(bench)


def test_destroyed_while_a_run_is_about_to_add_to_it(tmp_path: Path) -> None:
    """The worker has decided and sealed already: its commit finds that everything must be decided again."""
    bench = bench_in(tmp_path)
    bench.run()
    bench.messages(NAME, range(10, 12))
    plan = bench.plan().plan_id
    done = False

    def boundary(label: str, moment: str) -> None:
        nonlocal done
        if label == "stage" and moment == "after" and not done:
            done = True
            destroy(bench)

    with bench.open() as campaign:
        campaign.database.boundary = boundary
        run = run_in(campaign, plan)
    assert done
    assert bench.outcomes(run.run_id)[NAME][0] == "skipped:destroyed"
    assert set(left_of(bench).values()) == {0}
    assert history(bench, "in-user0/x")[0, "m000000"] == ("them", content_of(0))
    agree(bench)


def test_a_rollback_leaves_it_destroyed(tmp_path: Path) -> None:
    """And counts only what it removed itself; a new plan still does not bring it back."""
    bench = bench_in(tmp_path)
    run = bench.run()
    destroy(bench)
    with bench.open() as campaign:
        result = rollback.rollback(campaign, run.run_id, NoProgress())
    assert (result.conversations, result.messages, result.keys) == (2, 8, 2)
    agree(bench)
    again = bench.run()
    assert bench.outcomes(again.run_id)[NAME][0] == "skipped:destroyed"
    agree(bench)


@pytest.mark.parametrize("extended", [False, True])
def test_beside_a_rollback_it_stays_destroyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extended: bool) -> None:
    """Destroyed when the rollback has already chosen it: it is not sealed again, for a later plan to bring back."""
    bench = bench_in(tmp_path)
    run = bench.run()
    if extended:
        bench.messages(NAME, range(10, 12))
        run = bench.run()
    chosen = rolling._Rollback._batches

    def slow(self: rolling._Rollback) -> Iterator[list[int]]:
        for batch in chosen(self):
            destroy(bench)
            yield batch

    monkeypatch.setattr(rolling._Rollback, "_batches", slow)
    with bench.open() as campaign:
        rollback.rollback(campaign, run.run_id, NoProgress())
    (row,) = [row for row in bench.all(tables.conversation) if row["conversation_id"] == NAME]
    assert row["mode"] == "destroyed"
    assert set(left_of(bench).values()) == {0}
    agree(bench)
    assert bench.outcomes(bench.run().run_id)[NAME][0] == "skipped:destroyed"
    agree(bench)


def test_one_that_a_later_run_added_to(tmp_path: Path) -> None:
    """The notes that a rollback would need go with it, and both runs can still be rolled back."""
    bench = bench_in(tmp_path)
    first = bench.run()
    bench.messages(NAME, range(10, 12))
    second = bench.run()
    assert left_of(bench)["migrator_extension"] == 1
    destroy(bench)
    assert set(left_of(bench).values()) == {0}
    agree(bench)
    for run in (second, first):
        with bench.open() as campaign:
            rollback.rollback(campaign, run.run_id, NoProgress())
        agree(bench)


# --- tampering ---


@pytest.mark.parametrize(
    ("change", "reconciles"),
    [
        ("UPDATE migrator_outbox SET data = replace(data, 'shredded', 'rollback') WHERE type = 'key.destroyed'", False),
        ("DELETE FROM migrator_data_key WHERE wrapped_keyset IS NULL", True),  # the log may know more keys, destroyed
        ("UPDATE migrator_data_key SET wrapped_keyset = x'00' WHERE wrapped_keyset IS NULL", False),
        ("UPDATE migrator_conversation SET mode = 'destroyed' WHERE conversation_id = 'in-user0/x'", False),
    ],
)
def test_a_destruction_that_nobody_recorded_is_a_mismatch(tmp_path: Path, change: str, reconciles: bool) -> None:
    """The mode alone explains nothing."""
    bench = bench_in(tmp_path)
    bench.run()
    destroy(bench)
    with bench.database() as connection:
        connection.exec_driver_sql(change)
    with bench.open() as campaign:
        assert not verification.verify(campaign, None, sample=None, progress=NoProgress()).ok
        assert evidence.reconcile(campaign).ok == reconciles


def test_what_is_erased_from_the_log_after_it(tmp_path: Path) -> None:
    """Once destroyed, the account's reference key may be erased: the destruction is still explained."""
    bench = bench_in(tmp_path)
    bench.run()
    destroy(bench)
    with bench.open() as campaign:
        assert erasure.erase(campaign, account="user1", confirm="bench").keys == 1
    agree(bench)
