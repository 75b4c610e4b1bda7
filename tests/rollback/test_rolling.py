"""A rollback leaves nothing of its run, brings back what was before, and can be killed at any commit (G4, G7)."""

import json
from pathlib import Path
from typing import Any

import pytest

from migrator import lease
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import GateError, LeaseHeldError, PlanError, UsageError
from migrator.core.progress import NoProgress
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions
from migrator.planning.making import make_plan
from migrator.rollback import RollbackResult, rollback
from tests.execution.inline import InlineEngine, NoStop
from tests.execution.state import final_state
from tests.support.campaigns import LATE, at, import_exports
from tests.verification.support import (
    Killed,
    database,
    dump,
    executed,
    extended,
    killed_run,
    on_both_databases,
    rows,
    run,
    tamper,
)
from tests.verification.test_verifying import run_ids, verified

SHOWN = "('rewrapped', 'rewrapped_with_gaps')"
HISTORY = ("migrator_conversation", "migrator_message", "migrator_gap", "migrator_data_key")


def rolled_back(spec: CampaignSpec, run_id: str | None = None) -> RollbackResult:
    """Roll back in a process of its own."""
    with open_campaign(spec) as campaign:
        return rollback(campaign, run_id, NoProgress())


def readers_view(spec: CampaignSpec) -> list[tuple[Any, ...]]:
    """For each conversation what a reader sees: mode, count, and the rows that are there."""
    return rows(
        spec,
        "SELECT c.conversation_no, c.mode, c.message_count, c.gap_count, "
        "(SELECT COUNT(*) FROM migrator_message m WHERE m.conversation_no = c.conversation_no), "
        "(SELECT COUNT(*) FROM migrator_gap g WHERE g.conversation_no = c.conversation_no), "
        "(SELECT COUNT(*) FROM migrator_data_key k "
        " WHERE k.conversation_no = c.conversation_no AND k.wrapped_keyset IS NOT NULL) "
        "FROM migrator_conversation c ORDER BY c.conversation_no",
    )


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_nothing_of_the_run_is_left(tmp_path: Path) -> None:
    """Every conversation is sealed again without a row or a usable key; outcomes stay, the source is as it was."""
    spec = executed(tmp_path)
    source, items = (spec.directory / "store.db").read_bytes(), dump(spec, ["migrator_item"])
    shown, messages = rows(spec, f"SELECT COUNT(*), SUM(messages) FROM migrator_item WHERE outcome IN {SHOWN}")[0]
    result = rolled_back(spec)
    assert (result.conversations, result.messages, result.keys) == (shown, messages, shown)
    assert not result.already
    for _, mode, *counts in readers_view(spec):
        assert (mode, counts) == ("sealed", [0, 0, 0, 0, 0])
    assert not rows(
        spec,
        "SELECT 1 FROM migrator_conversation WHERE plan_id IS NOT NULL OR run_id IS NOT NULL "
        "OR flipped_at IS NOT NULL OR source_through IS NOT NULL",
    )
    assert not rows(spec, "SELECT 1 FROM migrator_data_key WHERE destroyed_at IS NULL")
    assert not rows(spec, "SELECT 1 FROM migrator_addition UNION ALL SELECT 1 FROM migrator_progress")
    assert dump(spec, ["migrator_item"]) == items
    assert rows(spec, "SELECT state FROM migrator_run") == [("rolled_back",)]
    assert (spec.directory / "store.db").read_bytes() == source
    assert verified(spec).ok


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_events_say_what_was_done(tmp_path: Path) -> None:
    """One event for each destroyed key, under the conversation's reference, and one at the end; all in the log."""
    spec = executed(tmp_path)
    result = rolled_back(spec)
    created, destroyed = (
        sorted(rows(spec, "SELECT subject, json_extract(data, '$.key_id') FROM migrator_outbox WHERE type = ?", kind))
        for kind in ("key.created", "key.destroyed")
    )
    assert created == destroyed
    (last,) = rows(spec, "SELECT type, data FROM migrator_outbox ORDER BY outbox_no DESC LIMIT 1")
    assert last[0] == "rollback.completed"
    assert json.loads(last[1]) == {
        "conversations": result.conversations, "messages": result.messages, "keys": result.keys,
    }  # fmt: skip
    assert not rows(spec, "SELECT 1 FROM migrator_outbox WHERE seq IS NULL")


def test_second_rollback_says_already(tmp_path: Path) -> None:
    """It changes nothing and tells the same numbers."""
    spec = executed(tmp_path)
    first = rolled_back(spec)
    events = rows(spec, "SELECT COUNT(*) FROM migrator_outbox")
    second = rolled_back(spec)
    assert second.already
    assert (second.conversations, second.messages, second.keys) == (first.conversations, first.messages, first.keys)
    assert rows(spec, "SELECT COUNT(*) FROM migrator_outbox") == events


def test_rolled_back_conversations_can_be_migrated_again(tmp_path: Path) -> None:
    """A new plan begins afresh, under new keys, and comes to the same plaintexts."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        before = final_state(campaign)["messages"]
    rolled_back(spec)
    tamper(spec, "DELETE FROM migrator_data_key WHERE wrapped_keyset IS NULL")  # the helper below opens every key
    run(at(spec, LATE))
    with open_campaign(spec) as campaign:
        assert final_state(campaign)["messages"] == before
    assert verified(at(spec, LATE)).ok


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_new_run_beside_the_destroyed_keys(tmp_path: Path) -> None:
    """The destroyed keys of a rolled-back run stay on record and disturb nothing."""
    spec = executed(tmp_path)
    rolled_back(spec)
    destroyed = rows(spec, "SELECT COUNT(*) FROM migrator_data_key")
    run(at(spec, LATE))
    assert rows(spec, "SELECT COUNT(*) FROM migrator_data_key WHERE destroyed_at IS NOT NULL") == destroyed
    assert all(verified(at(spec, LATE), run_id).ok for run_id in run_ids(spec))


# --- killed ---


@on_both_databases
def test_killed_rollback_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_kind: str, thorough: bool
) -> None:
    """Killed at every third commit in turn: a reader never sees half, the next call finishes it, with the same numbers.

    On a server at every fifth of them, as a copy of a database takes its time.
    """
    monkeypatch.setattr("migrator.rollback.rolling._BATCH_CONVERSATIONS", 5)
    reference_spec = executed(tmp_path / "reference")
    reference = rolled_back(reference_spec)
    events = "SELECT type, COUNT(*) FROM migrator_outbox GROUP BY type ORDER BY type"
    for instant in range(0, 40, 1 if thorough else 3 if database_kind == "sqlite" else 5):
        spec = executed(tmp_path / str(instant))
        before = {row[0]: row for row in readers_view(spec)}
        if not killed_at(spec, instant):
            assert instant > 8
            return
        for row in readers_view(spec):
            assert row in (before[row[0]], (row[0], "sealed", 0, 0, 0, 0, 0))
        result = rolled_back(spec)
        assert (result.conversations, result.messages, result.keys) == (
            reference.conversations, reference.messages, reference.keys,
        )  # fmt: skip
        assert rows(spec, events) == rows(reference_spec, events)
        assert readers_view(spec) == readers_view(reference_spec)
        assert verified(spec).ok
    pytest.fail("the rollback has more commits than expected")


def killed_at(spec: CampaignSpec, instant: int) -> bool:
    """Roll back and pull the plug at a commit; False if it was through before."""
    left = [instant]

    def pull_the_plug(label: str, _moment: str) -> None:
        if label.startswith("rollback"):
            left[0] -= 1
            if left[0] == -1:
                raise Killed

    with open_campaign(spec) as campaign:
        campaign.database.boundary = pull_the_plug
        try:
            rollback(campaign, None, NoProgress())
        except Killed:
            return True
    return False


def test_run_that_is_being_rolled_back_cannot_be_resumed(tmp_path: Path) -> None:
    """Between the sessions of a rollback nobody may add to the run again."""
    spec = killed_run(tmp_path, "page")
    assert killed_at(spec, 1)
    assert rows(spec, "SELECT state FROM migrator_run") == [("rolling_back",)]
    with open_campaign(spec) as campaign, pytest.raises(GateError):
        coordinator.resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_killed_run_is_rolled_back_with_its_half_conversation(tmp_path: Path) -> None:
    """Pages of a conversation that nobody ever saw go too, and their key is destroyed."""
    spec = killed_run(tmp_path, "page")
    assert rows(spec, "SELECT state FROM migrator_run") == [("running",)]
    assert rows(spec, "SELECT 1 FROM migrator_progress")
    rolled_back(spec)
    for table in ("migrator_message", "migrator_gap", "migrator_progress", "migrator_addition"):
        assert not rows(spec, f"SELECT 1 FROM {table}")
    assert not rows(spec, "SELECT 1 FROM migrator_data_key WHERE wrapped_keyset IS NOT NULL")
    assert verified(spec).ok


# --- runs that build on one another ---


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_extension_goes_and_the_first_run_stays(tmp_path: Path) -> None:
    """Rolling back the run that took up late keys restores every row, count, gap and key of the run before."""
    before = dump(executed(tmp_path / "before"), HISTORY)
    spec = extended(tmp_path / "after")
    first, second = run_ids(spec)
    added = rows(spec, "SELECT COUNT(*) FROM migrator_addition WHERE run_id = ? AND gap_reason IS NULL", second)
    after = dump(spec, HISTORY)
    assert after != before
    result = rolled_back(at(spec, LATE))
    only_extended = {
        n for (n,) in rows(spec, "SELECT conversation_no FROM migrator_conversation WHERE mode = 'server'")
    }
    for table in HISTORY:
        kept = [row for row in dump(spec, HISTORY)[table] if row[0] in only_extended]
        expected = [row for row in before[table] if row[0] in only_extended]
        if table == "migrator_conversation":
            # A conversation with nothing new notes how far it was compared; that is not the run's history.
            kept, expected = [row[:-1] for row in kept], [row[:-1] for row in expected]
        assert kept == expected
    assert result.run_id == second
    assert result.messages >= added[0][0] > 0
    assert not rows(spec, "SELECT 1 FROM migrator_extension UNION ALL SELECT 1 FROM migrator_addition WHERE run_id = ?",
                    second)  # fmt: skip
    assert verified(at(spec, LATE), first).ok
    assert verified(at(spec, LATE), second).ok


def test_run_that_another_builds_on_is_kept(tmp_path: Path) -> None:
    """The later run goes first; then the earlier one may."""
    spec = at(extended(tmp_path), LATE)
    first, second = run_ids(spec)
    before = dump(spec, HISTORY)
    with pytest.raises(GateError, match=second):
        rolled_back(spec, first)
    assert dump(spec, HISTORY) == before
    rolled_back(spec, second)
    rolled_back(spec, first)
    assert not rows(spec, "SELECT 1 FROM migrator_message")
    assert all(verified(spec, run_id).ok for run_id in (first, second))


def test_unfinished_run_that_counts_on_it_comes_first(tmp_path: Path) -> None:
    """While a stopped run still has to add to its conversations, a run can't be rolled back under it."""
    spec = at(executed(tmp_path), LATE)
    import_exports(spec, late=True)

    def pull_the_plug(label: str, moment: str) -> None:
        if (label, moment) == ("run-begin", "after"):
            raise Killed

    with pytest.raises(Killed):
        run(spec, boundary=pull_the_plug)
    first, second = run_ids(spec)
    with pytest.raises(GateError, match=second):
        rolled_back(spec, first)
    rolled_back(spec, second)
    rolled_back(spec, first)


def test_plan_made_before_is_stale(tmp_path: Path) -> None:
    """A plan that took the conversations for migrated is not executed after they were rolled back."""
    spec = at(executed(tmp_path), LATE)
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress())
        rollback(campaign, None, NoProgress())
        with pytest.raises(PlanError, match="plan-"):
            coordinator.execute(
                campaign, plan.plan_id, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop()
            )


# --- refused ---


def test_living_lease_is_respected(tmp_path: Path) -> None:
    """While another process works on the campaign nothing is rolled back."""
    spec = executed(tmp_path)
    before = dump(spec, (*HISTORY, "migrator_run"))
    with open_campaign(spec) as campaign, lease.hold(campaign, purpose="execute"), pytest.raises(LeaseHeldError):
        rollback(campaign, None, NoProgress())
    assert dump(spec, (*HISTORY, "migrator_run")) == before


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_lease_lost_in_the_middle_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback whose lease another process took commits nothing more."""
    monkeypatch.setattr("migrator.rollback.rolling._BATCH_CONVERSATIONS", 3)
    spec = executed(tmp_path)

    def steal(label: str, moment: str) -> None:
        if (label, moment) == ("rollback-begin", "after"):
            tamper(spec, "UPDATE migrator_lease SET token = token + 1, holder = 'elsewhere/boot/1/1'")

    with open_campaign(spec) as campaign:
        campaign.database.boundary = steal
        with pytest.raises(LeaseHeldError):
            rollback(campaign, None, NoProgress())
    assert rows(spec, "SELECT COUNT(*) FROM migrator_conversation WHERE mode = 'server'")[0][0] > 0
    assert rows(spec, "SELECT DISTINCT holder FROM migrator_lease") == [("elsewhere/boot/1/1",)]


def test_final_run_is_kept(tmp_path: Path) -> None:
    """From the moment in which the source began to be retired there is nothing to go back to."""
    spec = executed(tmp_path)
    with database(spec) as connection:
        connection.execute(
            "INSERT INTO migrator_finalization "
            "(finalization_id, finalization_no, run_id, what, state, through, started_at) "
            "SELECT 'final-1', 1, run_id, 'migrated', 'working', '{}', started_at FROM migrator_run"
        )
    with pytest.raises(GateError, match="final"):
        rolled_back(spec)
    assert rows(spec, "SELECT state FROM migrator_run") == [("completed",)]


def test_unknown_run_is_refused(tmp_path: Path) -> None:
    """A run that does not exist can't be rolled back."""
    with pytest.raises(UsageError):
        rolled_back(executed(tmp_path), "run-of-somebody-else")
