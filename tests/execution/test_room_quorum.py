"""Whose keys open a room that one member's grant opens: those of members who granted, and nobody else's (G1)."""

from pathlib import Path
from typing import Any

import pytest

from migrator.database import tables
from tests.execution.bench import NOW
from tests.execution.room_bench import RoomBench
from tests.support.megolm import ALICE, MALLORY, ROOM, Sending


@pytest.mark.parametrize("answer", ["refuse", "withdraw", None])
def test_keys_of_who_did_not_grant_open_nothing(tmp_path: Path, answer: str | None) -> None:
    """An export stays closed while its own account refuses, has withdrawn or says nothing, whoever else granted."""
    bench = RoomBench(tmp_path, execution={"max_gap_fraction": 1.0, "page_size": 1000, "max_failures": "100%"})
    if answer is not None:
        bench.answer(MALLORY, answer)
    bench.notice(MALLORY)
    alices, others = Sending(), Sending()
    bench.send(alices, range(10, 12))
    bench.send(others, range(20, 22))
    bench.hand_over(alices.entry())
    bench.hand_over(others.entry(), account_id=MALLORY)
    copy = {"conversation_id": ROOM, "message_id": "$old", "sender_id": ALICE, "sent_at": 5,
            "content_type": "text/plain", "content": "kept by a client"}  # fmt: skip
    bench.history(MALLORY, [copy])
    bench.run()
    assert bench.shown() == {"$10", "$11"}
    assert bench.gaps() == {"$20": "no_key", "$21": "no_key"}
    assert bench.verify().ok


def test_a_later_withdrawal_is_no_mismatch(tmp_path: Path) -> None:
    """What a member's keys opened while they granted stays; it is not compared any more, and not called wrong."""
    bench = RoomBench(tmp_path)
    bench.answer(MALLORY, "grant")
    bench.notice(MALLORY)
    alices, others = Sending(), Sending()
    bench.send(alices, range(10, 12))
    bench.send(others, range(20, 22))
    bench.hand_over(alices.entry())
    bench.hand_over(others.entry(), account_id=MALLORY)
    bench.run()
    assert bench.shown() == {"$10", "$11", "$20", "$21"}
    bench.answer(MALLORY, "withdraw", decided_at=NOW)
    assert bench.verify().ok


def test_a_later_grant_brings_what_was_withheld(tmp_path: Path) -> None:
    """The export was there before: the next plan finds that it may be used by now, and the one after that nothing."""
    bench = RoomBench(tmp_path, execution={"max_gap_fraction": 1.0, "page_size": 1000, "max_failures": "100%"})
    bench.notice(MALLORY)
    alices, others = Sending(), Sending()
    bench.send(alices, range(10, 12))
    bench.send(others, range(20, 22))
    bench.hand_over(others.entry(), account_id=MALLORY)
    bench.hand_over(alices.entry())
    bench.run()
    assert bench.gaps() == {"$20": "no_key", "$21": "no_key"}
    assert "already_server" in {row["decision"] for row in planned(bench)}
    bench.answer(MALLORY, "grant")
    bench.run()
    assert bench.gaps() == {}
    assert bench.shown() == {"$10", "$11", "$20", "$21"}
    assert {row["decision"] for row in planned(bench)} == {"already_server"}


def planned(bench: RoomBench) -> list[dict[str, Any]]:
    """The items of a new plan."""
    plan_id = bench.plan().plan_id
    return [row for row in bench.all(tables.plan_item) if row["plan_id"] == plan_id]
