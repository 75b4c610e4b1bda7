"""Replays: a session's index is used up by the first event that shows it, however the work is cut and repeated."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.execution.claims import Rehearsed, settle
from migrator.keys.destroying import destroy
from migrator.schemes.interface import Opened
from migrator.schemes.labyrinth import LabyrinthScheme
from migrator.schemes.megolm import MegolmScheme
from tests.execution.media import EVENT_TYPE, encrypted_file, event
from tests.execution.opened import history, run_killed
from tests.execution.room_bench import RoomBench, copy_of
from tests.support.megolm import ALICE, MALLORY, MALLORYS_KEY, OWNERS, ROOM, Sending


@pytest.fixture
def bench(tmp_path: Path) -> RoomBench:
    """A room without events."""
    return RoomBench(tmp_path)


def test_within_a_page(bench: RoomBench) -> None:
    """The first in message order is shown, the copy is a gap; Mallory's copy before it claims nothing."""
    sending = Sending()
    rows = bench.send(sending, range(10, 40))
    bench.rooms.add(ROOM, copy_of(rows[3], 5, MALLORY), copy_of(rows[0], 50), copy_of(rows[1], 51, MALLORY))
    bench.hand_over(sending.entry())
    bench.run()
    assert bench.gaps() == {"$copy5": "unverified_sender", "$copy50": "replay", "$copy51": "replay"}
    assert bench.shown() == bench.claims().keys() == {row[1] for row in rows}
    assert bench.verify().ok


def test_across_pages_and_restarts(bench: RoomBench) -> None:
    """A copy a page later, in the process that goes on after the first one was killed."""
    sending = Sending()
    rows = bench.send(sending, range(1090))
    bench.rooms.add(ROOM, copy_of(rows[0], 1095), copy_of(rows[1050], 2001), copy_of(rows[7], 2002, MALLORY))
    bench.hand_over(sending.entry())
    run_killed(bench, "page", plan=bench.plan().plan_id)
    assert len(bench.claims()) == 1000
    bench.resume()
    assert bench.gaps() == {"$copy1095": "replay", "$copy2001": "replay", "$copy2002": "replay"}
    assert bench.claims().keys() == {row[1] for row in rows}
    assert bench.verify().ok


def test_a_rehearsal_counts_alike(bench: RoomBench) -> None:
    """A dry run writes no claims, and finds the same replays, also a page later."""
    sending = Sending()
    rows = bench.send(sending, range(1100))
    bench.rooms.add(ROOM, copy_of(rows[0], 2000), copy_of(rows[1050], 2001), copy_of(rows[1], 2002, MALLORY))
    bench.hand_over(sending.entry())
    plan = bench.plan().plan_id
    dry = bench.run(plan, dry_run=True)
    assert bench.claims() == {}
    assert dry.counts == bench.run(plan).counts


def test_across_runs(bench: RoomBench) -> None:
    """A copy in the new tail of a visible room is a gap; so is one that stands before what is shown."""
    sending = Sending()
    rows = bench.send(sending, range(10, 20))
    bench.hand_over(sending.entry())
    bench.run()
    before = bench.claims()
    bench.rooms.add(ROOM, copy_of(rows[2], 1), copy_of(rows[3], 30), copy_of(rows[4], 31, MALLORY))
    new = bench.send(sending, [40, 41])
    bench.rooms.add(ROOM, copy_of(new[0], 50))
    bench.run()
    assert bench.gaps() == {"$copy1": "replay", "$copy30": "replay", "$copy31": "replay", "$copy50": "replay"}
    assert bench.claims().items() > before.items()
    assert bench.claims().keys() == bench.shown()
    assert bench.verify().ok


def test_late_keys(bench: RoomBench) -> None:
    """Gaps that a late key closes make their claims then, in message order, page by page of the walk."""
    early, late = Sending(), Sending()
    bench.send(early, range(80))
    rows = bench.send(late, [100])
    bench.rooms.add(ROOM, copy_of(rows[0], 99), copy_of(rows[0], 101))
    bench.hand_over(early.entry())
    bench.run()
    assert set(bench.gaps().values()) == {"no_key"}
    bench.hand_over(late.entry())
    bench.run()
    assert bench.gaps() == {"$100": "replay", "$copy101": "replay"}
    assert "$copy99" in bench.claims()
    assert bench.verify().ok


def test_late_keys_beyond_a_page_of_staging(tmp_path: Path) -> None:
    """What is staged counts for the pages that follow, also in a rehearsal."""
    bench = RoomBench(tmp_path, execution={"page_size": 10, "max_gap_fraction": 1.0})
    early, late = Sending(), Sending()
    bench.send(early, range(15))
    rows = bench.send(late, range(100, 115))
    bench.rooms.add(ROOM, *[copy_of(row, 200 + n) for n, row in enumerate(rows)])
    bench.hand_over(early.entry())
    bench.run()
    bench.hand_over(late.entry())
    plan = bench.plan().plan_id
    dry = bench.run(plan, dry_run=True)
    assert dry.counts == bench.run(plan).counts
    assert bench.gaps() == {f"$copy{200 + n}": "replay" for n in range(15)}
    assert bench.claims().keys() == bench.shown()
    assert bench.all(tables.addition)
    assert {row["claim"] for row in bench.all(tables.addition)} == {None}
    assert bench.verify().ok


def test_a_rollback_takes_the_claims_of_its_run(bench: RoomBench) -> None:
    """And of no other: what an earlier run shows keeps its claims, a copy gets them only when nobody has them."""
    sending = Sending()
    rows = bench.send(sending, range(10, 20))
    bench.hand_over(sending.entry())
    bench.run()
    first = bench.claims()
    bench.send(sending, [30])
    bench.run()
    assert len(bench.claims()) == 11
    bench.roll_back()
    assert bench.claims() == first
    bench.roll_back(min(bench.all(tables.run), key=lambda run: run["run_no"])["run_id"])
    assert bench.claims() == {}
    bench.rooms.change(ROOM, rows[0][1], None)
    bench.rooms.add(ROOM, copy_of(rows[0], 1))
    bench.run()
    assert "$copy1" in bench.claims()
    assert bench.gaps() == {}


def test_a_room_that_ends_held_leaves_no_claims(tmp_path: Path) -> None:
    """Pages were written, claims with them; all of it goes when the room has too many gaps."""
    bench = RoomBench(tmp_path, execution={"page_size": 1000, "max_gap_fraction": 0.01})
    sending, unknown = Sending(), Sending()
    bench.send(sending, range(1100))
    bench.send(unknown, range(2000, 2100))
    bench.hand_over(sending.entry())
    summary = bench.run()
    assert list(summary.counts) == ["held:too_many_gaps"]
    assert bench.claims() == {}


def test_destroying_a_rooms_history_takes_its_claims(bench: RoomBench) -> None:
    """Nothing of it stays but the mark."""
    sending = Sending()
    bench.send(sending, range(10))
    bench.hand_over(sending.entry())
    bench.run()
    with bench.open() as campaign:
        destroy(campaign, ROOM, confirm="bench")
    assert bench.claims() == {}


def test_a_redacted_event_is_not_filled_from_history(bench: RoomBench) -> None:
    """Nor is a replay: a client's copy of a message does not bring back what was taken back."""
    sending = Sending()
    rows = bench.send(sending, range(10, 20))
    bench.rooms.change(ROOM, "$11", (*rows[1][:3], None, *rows[1][4:7], True, *rows[1][8:]))
    bench.rooms.add(ROOM, copy_of(rows[2], 50))
    bench.hand_over(sending.entry())
    copies = [
        {"conversation_id": ROOM, "message_id": name, "sender_id": ALICE, "sent_at": at, "content_type": "text/plain",
         "content": "kept by a client"}
        for name, at in (("$11", 11), ("$copy50", 50), ("$12", 12))
    ]  # fmt: skip
    bench.history(ALICE, copies)
    bench.run()
    assert bench.gaps() == {"$11": "redacted", "$copy50": "replay"}
    assert history(bench, ROOM).keys() == {(n, f"${n}") for n in range(10, 20) if n != 11}
    assert bench.verify().ok


def test_an_entry_that_fills_nothing_leaves_no_attachment(tmp_path: Path) -> None:
    """What a client's copy of a redacted, replayed or somebody else's message had attached is not kept either."""
    bench = RoomBench(tmp_path, source={"media": "media"}, attachments={"target": "file:blobs"})
    sending, media = Sending(), bench.folder / "media"
    media.mkdir()
    rows = bench.send(sending, range(10, 14))
    bench.rooms.change(ROOM, "$11", (*rows[1][:3], None, *rows[1][4:7], True, *rows[1][8:]))
    bench.rooms.add(ROOM, copy_of(rows[2], 50), copy_of(Sending().row(60, b"?"), 60))
    bench.hand_over(sending.entry())
    kept = ("$11", 11, ALICE), ("$copy50", 50, ALICE), ("$copy60", 60, MALLORY), ("$own", 70, ALICE)
    copies = [
        {"conversation_id": ROOM, "message_id": name, "sender_id": sender, "sent_at": at, "content_type": EVENT_TYPE,
         "content": event(encrypted_file(media, f"file{at}", b"%d" % at)).decode()}
        for name, at, sender in kept
    ]  # fmt: skip
    bench.history(ALICE, copies)
    bench.run()
    assert bench.gaps() == {"$11": "redacted", "$copy50": "replay", "$copy60": "unverified_sender"}
    assert [row["message_id"] for row in bench.all(tables.attachment)] == ["$own"]
    assert bench.verify().ok


def test_a_late_redaction_leaves_its_claim(bench: RoomBench) -> None:
    """What used an index up and is redacted since keeps it: no copy comes in its place, not after a rollback either."""
    sending = Sending()
    rows = bench.send(sending, range(10, 20))
    bench.hand_over(sending.entry())
    bench.run()
    claims = bench.claims()
    bench.rooms.change(ROOM, "$11", (*rows[1][:3], None, *rows[1][4:7], True, *rows[1][8:]))
    bench.rooms.add(ROOM, copy_of(rows[1], 5), copy_of(rows[1], 50))
    rehearsed = bench.run(dry_run=True)
    closed = {"$11": "redacted", "$copy5": "replay", "$copy50": "replay"}
    for _ in range(2):
        second = bench.run()
        assert second.counts == rehearsed.counts
        assert (bench.gaps(), bench.claims()) == (closed, claims)
        assert bench.shown() == {row[1] for row in rows} - {"$11"}
        assert bench.verify().ok
        bench.roll_back(second.run_id)
        assert (bench.gaps(), bench.claims()) == ({"$11": "redacted"}, claims)
        assert bench.verify().ok


TAMPERED = (
    ("claim", "DELETE FROM migrator_claim WHERE message_id = '$3'"),
    ("claim", "UPDATE migrator_claim SET message_id = '$copy50', sent_at = 50 WHERE message_id = '$3'"),
    ("claim", "INSERT INTO migrator_claim SELECT conversation_no, x'00', 9, '$x', run_id FROM migrator_claim LIMIT 1"),
    ("orphan_rows", "INSERT INTO migrator_claim SELECT 99, x'00', 9, '$x', run_id FROM migrator_claim LIMIT 1"),
    ("gap_opens", "DELETE FROM migrator_claim WHERE message_id = '$0'"),
    ("claim", "DELETE FROM migrator_message WHERE message_id = '$4'"),
)


def test_a_verification_finds_tampering_with_claims(bench: RoomBench) -> None:
    """A message without its claim, a claim without its message or its room, a replay whose claim nobody has."""
    sending = Sending()
    rows = bench.send(sending, range(30))
    bench.rooms.add(ROOM, copy_of(rows[0], 50))
    bench.hand_over(sending.entry())
    bench.run()
    assert bench.verify().ok
    bench.tamper("CREATE TABLE kept AS SELECT * FROM migrator_claim")
    for kind, statement in TAMPERED:
        bench.tamper(statement)
        assert kind in {mismatch.kind.value for mismatch in bench.verify().mismatches}, statement
        bench.tamper("DELETE FROM migrator_claim")
        bench.tamper("INSERT INTO migrator_claim SELECT * FROM kept")
    # A message that was redacted since keeps its claim, so that no copy of it comes back.
    bench.tamper("INSERT INTO migrator_gap SELECT conversation_no, 4, '$4', 'redacted' FROM migrator_conversation")
    assert "claim" not in {mismatch.kind.value for mismatch in bench.verify().mismatches}


def test_what_the_source_says_since_is_no_mismatch(bench: RoomBench) -> None:
    """A device that is deleted later makes an unverified sender an unknown one: the next plan's to see."""
    sending = Sending(sender_key=MALLORYS_KEY)
    good = Sending()
    bench.send(good, range(30))
    [row] = bench.send(sending, [50])
    bench.hand_over(good.entry(), sending.entry())
    bench.run()
    assert bench.gaps() == {"$50": "unverified_sender"}
    owners = {key: owner for key, owner in OWNERS.items() if key != MALLORYS_KEY}
    bench.rooms.change(ROOM, "$50", (*row[:8], owners, row[9]))
    assert bench.verify().ok


def test_settling_is_nothing_for_schemes_without_claims() -> None:
    """Labyrinth's results are not even looked at."""
    results: list[Opened | GapReason] = [("t", b"x"), GapReason.CORRUPT]
    assert settle(LabyrinthScheme(), [(), ()], results) == []
    assert results == [("t", b"x"), GapReason.CORRUPT]


@pytest.mark.parametrize(("holder", "expected"), [((1, "$1"), ("t", b"x")), ((2, "$2"), GapReason.REPLAY)])
def test_an_event_that_is_met_again_is_no_replay_of_itself(
    holder: tuple[int, str], expected: Opened | GapReason
) -> None:
    """It has the claim."""
    sending = Sending()
    row = sending.row(1, sending.send())
    results: list[Opened | GapReason] = [("t", b"x")]
    assert settle(MegolmScheme(), [row], results, lambda claims: dict.fromkeys(claims, holder)) == []
    assert results == [expected]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 12)), max_size=40))
def test_a_rehearsal_remembers_claims_in_stretches(claims: list[tuple[bytes, int]]) -> None:
    """In whatever order they come: what was made is there, and nothing else."""
    rehearsed, made = Rehearsed(), set()
    for prefix, number in claims:
        claim = prefix + number.to_bytes(4)
        assert (claim in rehearsed.holders([claim])) == (claim in made)
        if claim not in made:
            rehearsed.add([(claim, 0, "")])
            made.add(claim)
    every = [prefix + number.to_bytes(4) for prefix in (b"a", b"b") for number in range(14)]
    assert set(rehearsed.holders(every)) == made
