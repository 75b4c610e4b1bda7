"""A worker's way through its shard: batches, units, and authorisations that change on the way."""

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.database import tables
from migrator.execution import worker
from tests.execution.bench import NOW, Bench, run_in


def bench_of(folder: Path, owners: int, *, page_size: int = 10, messages: int = 3) -> Bench:
    """So many accounts with a conversation each."""
    bench = Bench(folder / "campaign", execution={"page_size": page_size, "max_failures": "100%"})
    for number in range(owners):
        owner = f"u{number:02}"
        bench.account(owner)
        name = bench.thread(owner, "x")
        bench.messages(name, range(messages))
        bench.keys(owner, [name])
    return bench


def commits(bench: Bench, plan: str) -> Counter[str]:
    """Commits of a run by label."""
    found: Counter[str] = Counter()
    with bench.open() as campaign:
        campaign.database.boundary = lambda label, moment: found.update([label] if moment == "after" else [])
        run_in(campaign, plan)
    return found


def test_a_unit_is_as_many_conversations_as_make_a_page(tmp_path: Path) -> None:
    """Three messages each, ten a page: three conversations in a unit, and none is cut."""
    bench = bench_of(tmp_path, 7)
    assert commits(bench, bench.plan().plan_id)["unit"] >= 3
    sizes = Counter(row["conversation_no"] for row in bench.all(tables.message))
    assert set(sizes.values()) == {3}
    assert len(sizes) == 7


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batches_do_not_matter(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are decided at once, each conversation has one outcome; skips among them too."""
    monkeypatch.setattr(worker, "_BATCH", batch)
    monkeypatch.setattr(worker, "_SKIPS", batch)
    bench = bench_of(tmp_path, 5)
    for owner in ("u01", "u03"):
        bench.answer(owner, "refuse", decided_at=NOW)
    run = bench.run()
    assert Counter(outcome for outcome, _, _ in bench.outcomes(run.run_id).values()) == {
        "rewrapped": 3, "skipped:refused": 2,
    }  # fmt: skip
    assert len(bench.all(tables.item)) == 5


def test_a_withdrawal_after_each_unit_is_followed_each_time(tmp_path: Path) -> None:
    """Decided again as often as it takes: whoever withdrew before the commit is not shown, and nobody counts twice."""
    bench = bench_of(tmp_path, 6, page_size=3)
    plan = bench.plan().plan_id
    left = ["u05", "u04", "u03"]

    def withdraw(label: str, moment: str) -> None:
        if (label, moment) == ("unit", "after") and left:
            bench.answer(left.pop(0), "withdraw", decided_at=NOW)

    with bench.open() as campaign:
        campaign.database.boundary = withdraw
        summary = run_in(campaign, plan)
    assert {name: outcome for name, (outcome, _, _) in bench.outcomes(summary.run_id).items()} == {
        f"in-u{n:02}/x": "skipped:withdrawn" if n >= 3 else "rewrapped" for n in range(6)
    }
    assert sum(count.conversations for count in summary.counts.values()) == 6
    assert len(bench.events("conversation.rewrapped")) == 3
    counts: Counter[str] = Counter()
    for event in bench.events("conversation.skipped"):
        counts.update(event["counts"])
    assert counts == {"skipped:withdrawn": 3}


def test_a_grant_after_the_plan_opens_nothing(tmp_path: Path) -> None:
    """G1: neither for a planned skip nor for what was withdrawn since."""
    bench = bench_of(tmp_path, 2)
    bench.answer("u00", "refuse", decided_at=NOW)
    plan = bench.plan().plan_id
    bench.answer("u01", "withdraw", decided_at=NOW)
    for owner in ("u00", "u01"):
        bench.answer(owner, "grant", decided_at=NOW.replace(hour=23))
    run = bench.run(plan)
    assert {outcome for outcome, _, _ in bench.outcomes(run.run_id).values()} == {
        "skipped:refused", "skipped:withdrawn",
    }  # fmt: skip
    assert bench.all(tables.message) == []


def test_statements_do_not_grow_with_the_conversations_of_a_unit(tmp_path: Path) -> None:
    """No statement of the migrator database for each conversation: twenty cost what two cost."""
    counts = []
    for owners in (2, 20):
        bench = bench_of(tmp_path / str(owners), owners, page_size=1000)
        plan = bench.plan().plan_id
        seen: list[str] = []

        def note(*given: object, seen: list[str] = seen) -> None:
            statement = str(given[2])
            if "migrator_export" not in statement:
                seen.append(statement)

        with bench.open() as campaign:
            sa.event.listen(campaign.database.engine, "before_cursor_execute", note)
            run_in(campaign, plan)
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_no_content_in_what_a_run_leaves_readable(tmp_path: Path) -> None:
    """G5: neither plaintext nor key in the database, the log, the plan or the lease, in any file of the campaign."""
    bench = bench_of(tmp_path, 3)
    bench.run()
    for path in bench.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"what was said" not in data, path
            assert bytes(range(32)) not in data, path
