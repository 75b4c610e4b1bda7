"""Adding out of order: history of exports, late keys, new tails; first staged, then moved at once."""

from pathlib import Path
from typing import Any

import pytest

from migrator.database import tables
from tests.execution.bench import EPOCH, KEY, Bench, content_of, entry, run_in
from tests.execution.opened import defined_root, gaps, history, number_of, rewrapped, run_killed

NAME = "in-alice/bob"
OTHER = "another-epoch"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Alice's conversation: thirty messages that open, two (100, 101) whose epoch nobody has exported."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 10})
    made.account("alice")
    made.messages(made.thread("alice", "bob"), range(30))
    made.messages(NAME, [100, 101], epoch=OTHER)
    made.keys("alice", [NAME])
    return made


def outcome(bench: Bench, **options: Any) -> tuple[str, int, int]:
    """What a new plan's run makes of the conversation."""
    return bench.outcomes(bench.run(**options).run_id)[NAME]


def test_history_fills_gaps_and_brings_what_no_server_had(bench: Bench) -> None:
    """The sender's own words take the place of what can't be opened; the source goes before an export's version."""
    bench.history("alice", [entry(NAME, 100), entry(NAME, 500), entry(NAME, 3, content="forged")])
    assert outcome(bench) == ("rewrapped_with_gaps", 32, 1)
    found = history(bench, NAME)
    assert found[100, "m000100"] == ("them", b"history of 100")
    assert found[500, "m000500"] == ("them", b"history of 500")
    assert found[3, "m000003"] == ("them", content_of(3)), "what the source has is not overwritten"
    assert gaps(bench, NAME) == {(101, "m000101"): "no_key"}
    (event,) = bench.events("conversation.rewrapped")
    assert event["items_root"] == defined_root(bench, NAME)


def test_an_entry_of_another_sender_fills_nothing(bench: Bench) -> None:
    """Who sent it can't be verified then: the gap says so, and the entry's content is nowhere."""
    bench.history("alice", [entry(NAME, 100, sender="mallory"), entry(NAME, 101)])
    assert outcome(bench) == ("rewrapped_with_gaps", 31, 1)
    assert gaps(bench, NAME) == {(100, "m000100"): "unverified_sender"}
    assert (100, "m000100") not in history(bench, NAME)


def test_the_same_unverified_entry_again_is_nothing_new(bench: Bench) -> None:
    """A later export with the same entry changes nothing, and the run says so."""
    bench.history("alice", [entry(NAME, 100, sender="mallory"), entry(NAME, 101)])
    outcome(bench)
    kept = (tables.message, tables.gap, tables.addition, tables.extension)
    before = [bench.all(table) for table in kept]
    bench.history("alice", [entry(NAME, 100, sender="mallory")])
    assert outcome(bench) == ("already_server", 31, 1)
    assert [bench.all(table) for table in kept] == before


def test_the_first_of_several_versions_is_kept(bench: Bench) -> None:
    """In one export and across exports, in order of receipt; the other place's message is another message."""
    bench.history("alice", [entry(NAME, 100, content="first"), entry(NAME, 100, content="second")])
    bench.history("alice", [entry(NAME, 100, content="third"), entry(NAME, 101, content="only")])
    assert outcome(bench) == ("rewrapped", 32, 0)
    found = history(bench, NAME)
    assert (found[100, "m000100"][1], found[101, "m000101"][1]) == (b"first", b"only")
    assert len(found) == 32


def test_only_history_and_no_source_message(tmp_path: Path) -> None:
    """Where the platform kept nothing, the export's history is the history."""
    bench = Bench(tmp_path / "campaign")
    bench.account("alice")
    bench.thread("alice", "bob")
    bench.history("alice", [entry(NAME, number) for number in (7, 5, 6)])
    assert outcome(bench) == ("rewrapped", 3, 0)
    assert sorted(history(bench, NAME)) == [(n, f"m{n:06}") for n in (5, 6, 7)]
    (event,) = bench.events("conversation.rewrapped")
    assert event["items_root"] == defined_root(bench, NAME)


def test_late_keys_take_up_just_the_gaps(bench: Bench) -> None:
    """Under the same data key, in one transaction with counts and gaps; rows that were there stay byte for byte."""
    first = bench.run()
    assert bench.outcomes(first.run_id)[NAME] == ("held:too_many_gaps", 30, 2), "two of 32 are over 5 %"
    bench.messages(NAME, range(200, 230))
    second = bench.run()
    assert bench.outcomes(second.run_id)[NAME] == ("rewrapped_with_gaps", 60, 2)
    before = {(row["sent_at"], row["message_id"]): row for row in bench.all(tables.message)}
    bench.keys("alice", [NAME], epoch=OTHER)
    third = bench.run()
    assert bench.outcomes(third.run_id)[NAME] == ("rewrapped", 62, 0)
    after = {(row["sent_at"], row["message_id"]): row for row in bench.all(tables.message)}
    assert {at: after[at] for at in before} == before
    assert after.keys() - before.keys() == {(100, "m000100"), (101, "m000101")}
    assert len(bench.all(tables.data_key)) == 1
    assert gaps(bench, NAME) == {}
    (row,) = bench.all(tables.conversation)
    assert (row["message_count"], row["gap_count"], row["run_id"]) == (62, 0, third.run_id)
    (event,) = rewrapped(bench, third.run_id)
    assert event["items_root"] == defined_root(bench, NAME)


def test_what_a_rollback_needs_is_kept(bench: Bench) -> None:
    """What the conversation was, and which places were added, without their ciphertext."""
    bench.messages(NAME, range(200, 230))
    second = bench.run()
    (was,) = bench.all(tables.conversation)
    bench.keys("alice", [NAME], epoch=OTHER)
    bench.rows(NAME, [(900, "m000900", b"cut", EPOCH)])
    third = bench.run()
    (extension,) = bench.all(tables.extension)
    assert extension["run_id"] == third.run_id
    for member in ("plan_id", "run_id", "flipped_at", "message_count", "gap_count", "source_through"):
        assert extension[f"prior_{member}"] == was[member]
    assert extension["prior_run_id"] == second.run_id
    added = {
        row["sent_at"]: (row["gap_reason"], row["prior_gap"], row["ciphertext"]) for row in bench.all(tables.addition)
    }
    assert added == {
        100: (None, "no_key", None), 101: (None, "no_key", None), 900: ("malformed", None, None),
    }  # fmt: skip


def test_more_gaps_in_a_tail_stay_visible_as_gaps(bench: Bench) -> None:
    """G4: what readers saw they still see, however many of the new messages stay sealed."""
    bench.messages(NAME, range(200, 230))
    outcome(bench)
    bench.messages(NAME, range(300, 340), epoch="lost")
    assert outcome(bench) == ("rewrapped_with_gaps", 60, 42)
    (row,) = bench.all(tables.conversation)
    assert (row["mode"], row["message_count"], row["gap_count"]) == ("server", 60, 42)


def test_too_many_gaps_show_nothing_of_the_history_either(bench: Bench) -> None:
    """Not visible yet and too much missing: held, and nothing staged, sealed or kept."""
    bench.messages(NAME, range(300, 340), epoch="lost")
    bench.history("alice", [entry(NAME, 100)])
    assert outcome(bench) == ("held:too_many_gaps", 31, 41)
    for table in (tables.message, tables.gap, tables.data_key, tables.addition):
        assert bench.all(table) == []


@pytest.mark.parametrize("label", ["stage-clear", "stage", "merge"])
def test_killed_on_the_way(bench: Bench, label: str) -> None:
    """G3: readers see the old state or the new one, and a second attempt begins anew and adds nothing twice."""
    bench.messages(NAME, range(200, 230))
    outcome(bench)
    bench.keys("alice", [NAME], epoch=OTHER)
    bench.history("alice", [entry(NAME, 500)])
    (was,) = bench.all(tables.conversation)
    run_killed(bench, label, plan=bench.plan().plan_id)
    (now,) = bench.all(tables.conversation)
    assert (now == was) == (label != "merge")
    summary = bench.resume()
    assert bench.outcomes(summary.run_id)[NAME] == ("rewrapped", 63, 0)
    assert len(history(bench, NAME)) == 63
    assert len(bench.all(tables.data_key)) == 1
    assert all(row["ciphertext"] is None for row in bench.all(tables.addition))
    assert len(rewrapped(bench, summary.run_id)) == 1


def test_leftovers_of_another_run_are_no_part_of_it(tmp_path: Path) -> None:
    """A page that an abandoned run wrote is removed with its key before history is added under a new one."""
    bench = Bench(tmp_path / "campaign", execution={"page_size": 10})
    bench.account("alice")
    bench.messages(bench.thread("alice", "bob"), range(1100))
    bench.keys("alice", [NAME])
    run_killed(bench, "page", plan=bench.plan().plan_id)
    (old,) = bench.all(tables.data_key)
    bench.history("alice", [entry(NAME, 5000)])
    assert outcome(bench) == ("rewrapped", 1101, 0)
    (new,) = bench.all(tables.data_key)
    assert new["key_id"] != old["key_id"]
    assert {row["key_id"] for row in bench.all(tables.message)} == {new["key_id"]}
    assert bench.all(tables.progress) == []
    assert len(history(bench, NAME)) == 1101


@pytest.mark.parametrize("extension", [False, True])
def test_a_dry_run_on_the_memory_stage_comes_to_the_same_totals(bench: Bench, extension: bool) -> None:
    """Fills, another sender's entry, duplicates, gaps that stay and a new tail; and not a row is written."""
    if extension:
        bench.messages(NAME, range(200, 230))
        outcome(bench)
    bench.messages(NAME, range(300, 330))
    bench.messages(NAME, [400], epoch="lost")
    bench.history("alice", [entry(NAME, 100), entry(NAME, 100), entry(NAME, 101, sender="mallory"), entry(NAME, 500)])
    bench.history("alice", [entry(NAME, 500, content="again"), entry(NAME, 2)])
    plan = bench.plan().plan_id
    before = {table.name: bench.all(table) for table in (tables.message, tables.gap, tables.addition, tables.data_key)}
    rehearsed = bench.run(plan, dry_run=True)
    assert {
        table.name: bench.all(table) for table in (tables.message, tables.gap, tables.addition, tables.data_key)
    } == before
    real = bench.run(plan)
    assert {o: c.to_json() for o, c in rehearsed.counts.items()} == {o: c.to_json() for o, c in real.counts.items()}
    assert list(real.counts) == ["rewrapped_with_gaps"]


def test_a_source_that_can_not_be_accounted_for_leaves_what_was(bench: Bench) -> None:
    """The messages were more when it was decided: failed, and a visible conversation stays as it was."""
    bench.messages(NAME, range(200, 230))
    outcome(bench)
    bench.messages(NAME, range(300, 330))
    plan = bench.plan().plan_id
    before = bench.all(tables.conversation), bench.all(tables.message)

    def shrink(label: str, moment: str) -> None:
        if (label, moment) == ("stage-clear", "after"):
            bench.source("DELETE FROM message WHERE sent_at BETWEEN 300 AND 310")

    with bench.open() as campaign:
        campaign.database.boundary = shrink
        summary = run_in(campaign, plan)
    assert bench.outcomes(summary.run_id)[NAME][0] == "failed:source"
    assert (bench.all(tables.conversation), bench.all(tables.message)) == before
    assert bench.all(tables.addition) == bench.all(tables.extension) == []


def test_rows_without_a_place_fail_the_conversation(bench: Bench) -> None:
    """An id that is no text, and two ids that share a gap's place: nothing of it is shown, the run goes on."""
    bench.history("alice", [entry(NAME, 100)])
    bench.rows(NAME, [(5, b"blob", b"", EPOCH)])
    assert outcome(bench)[0] == "failed:source"
    bench.source("DELETE FROM message WHERE sent_at = 5")
    bench.rows(NAME, [(1, "x\0", b"", EPOCH), (1, "x%00", b"", EPOCH)])
    assert outcome(bench)[0] == "failed:source"
    assert bench.all(tables.message) == []


def test_a_withdrawal_while_it_is_staged(bench: Bench) -> None:
    """G1: the transaction that would show it meets the fence; it is decided again, and nothing is shown."""
    bench.history("alice", [entry(NAME, 100), entry(NAME, 101)])
    plan = bench.plan().plan_id

    def withdraw(label: str, moment: str) -> None:
        if (label, moment) == ("stage", "after") and not len(bench.all(tables.authorization)) > 1:
            bench.answer("alice", "withdraw", decided_at=bench.spec.clock.now())

    with bench.open() as campaign:
        campaign.database.boundary = withdraw
        summary = run_in(campaign, plan)
    assert bench.outcomes(summary.run_id)[NAME] == ("skipped:withdrawn", 32, 0)
    assert bench.all(tables.message) == bench.all(tables.data_key) == []


@pytest.mark.parametrize("damage", ["DELETE FROM", "UPDATE"])
def test_a_visible_conversation_whose_key_is_gone(bench: Bench, damage: str) -> None:
    """No tail can be added; it alone fails, and what is visible is left alone."""
    bench.messages(NAME, range(200, 230))
    outcome(bench)
    bench.messages(NAME, range(300, 330))
    number = number_of(bench, NAME)
    with bench.database() as connection:
        statement = (
            "DELETE FROM migrator_data_key" if damage != "UPDATE" else "UPDATE migrator_data_key SET context = '{}'"
        )
        connection.exec_driver_sql(statement)
    expected = "failed:key_service" if damage == "UPDATE" else "failed:integrity"
    assert outcome(bench)[0] == expected
    assert len([row for row in bench.all(tables.message) if row["conversation_no"] == number]) == 60


def test_an_export_that_is_too_broad_extends_nothing(bench: Bench) -> None:
    """What only such an export covers is held; the visible rows stay."""
    bench.messages(NAME, range(200, 230))
    outcome(bench)
    with bench.database() as connection:
        connection.execute(tables.export.update().values(refused="scope_too_broad"))
    bench.messages(NAME, range(300, 330), key=KEY)
    assert outcome(bench)[0] == "held:scope_too_broad"
    assert len(bench.all(tables.message)) == 60
