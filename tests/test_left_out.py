"""Whom no run decided about: nobody is told what became of their history while somebody's is still to be decided."""

from pathlib import Path

import pytest

from migrator import left_out
from migrator.notices import results
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations, of which each could be migrated, and an empty one."""
    made = Bench(tmp_path / "campaign")
    for owner in ("alice", "bob", "carol"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(3))
        made.keys(owner, [name])
    made.thread("carol", "empty")
    return made


def waiting(bench: Bench) -> int:
    """How many conversations wait."""
    with bench.open() as campaign, campaign.database.read() as connection:
        return left_out.count(connection)


def told(bench: Bench) -> bool:
    """Whether accounts may be told what became of their history."""
    with bench.open() as campaign:
        return results.refresh(campaign)


def test_after_a_canary_nobody_is_told(bench: Bench) -> None:
    """Before any run, after one of one, and after everything was decided; a canary behind that takes nothing back."""
    assert (waiting(bench), told(bench)) == (0, False)
    bench.run(bench.plan(limit="1").plan_id)
    assert (waiting(bench), told(bench)) == (2, False)
    bench.run()
    assert (waiting(bench), told(bench)) == (0, True)
    bench.run(bench.plan(limit="1").plan_id)
    assert (waiting(bench), told(bench)) == (0, True)


def test_what_was_deleted_since_waits_for_nothing(bench: Bench) -> None:
    """A thread that its owner deleted is in no later plan; it would be waited for for ever."""
    bench.run(bench.plan(limit="1").plan_id)
    for table in ("message", "thread", "thread_member"):
        bench.source(f"DELETE FROM {table} WHERE inbox_id = 'in-carol'")
        bench.source(f"DELETE FROM {table} WHERE inbox_id = 'in-bob'")
        bench.source(f"DELETE FROM {table} WHERE inbox_id = 'in-alice'")
    bench.run()
    assert waiting(bench) == 0


def test_who_was_decided_about(bench: Bench) -> None:
    """By any completed run, with whatever outcome but that one; nothing of what no plan saw."""
    bench.answer("bob", "refuse")
    bench.run(bench.plan(limit="1").plan_id)
    bench.thread("alice", "later")
    names = ["in-alice/x", "in-bob/x", "in-carol/x", "in-carol/empty", "in-alice/later", "nonsense"]
    with bench.open() as campaign, campaign.database.read() as connection:
        decided = left_out.decided_among(connection, names)
    assert len(decided) == 3
    assert decided > {"in-bob/x", "in-carol/empty"}
