"""Shards: every item in exactly one, cut by messages, and afresh for each generation."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.database import tables
from migrator.execution import runs, shards
from migrator.execution.shards import cut, cut_dry
from migrator.planning import stored
from tests.execution.bench import Bench

PLAN = "plan-1"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with a page of a hundred messages."""
    return Bench(tmp_path / "campaign", execution={"page_size": 100})


def items(bench: Bench, planned: list[tuple[str, int]]) -> None:
    """The items of a plan: decision and messages, numbered from 1."""
    rows = [
        {"plan_id": PLAN, "conversation_no": number, "decision": decision, "messages": messages}
        for number, (decision, messages) in enumerate(planned, start=1)
    ]
    with bench.database() as connection:
        connection.execute(tables.plan_item.delete())
        if rows:
            connection.execute(tables.plan_item.insert(), rows)


_ITEMS = st.lists(
    st.tuples(st.sampled_from(["rewrap", "extend", "skipped:refused", "already_server"]), st.integers(0, 500)),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(_ITEMS, st.integers(1, 4))
def test_every_item_is_in_exactly_one_shard(bench: Bench, planned: list[tuple[str, int]], workers: int) -> None:
    """G6: in order, none twice, none left out; and none is over its size but by its last conversation."""
    items(bench, planned)
    with bench.open() as campaign:
        found = cut_dry(campaign, PLAN, workers)
    covered = [number for shard in found for number in range(shard.first_no, shard.last_no + 1)]
    assert covered == list(range(1, len(planned) + 1))
    assert [shard.shard_no for shard in found] == list(range(1, len(found) + 1))
    work = [n if d in ("rewrap", "extend") else 0 for d, n in planned]
    size = max(100, min(2000, sum(work) // (workers * 8)))
    for shard in found:
        assert sum(work[shard.first_no - 1 : shard.last_no - 1]) < size


def test_skips_are_cut_by_their_number(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations without any work don't make one endless shard."""
    monkeypatch.setattr(shards, "_CONVERSATIONS", 10)
    items(bench, [("skipped:refused", 5)] * 35)
    with bench.open() as campaign:
        assert [(s.first_no, s.last_no) for s in cut_dry(campaign, PLAN, 2)] == [(1, 10), (11, 20), (21, 30), (31, 35)]


def test_only_what_is_pending_is_cut_again(bench: Bench) -> None:
    """A resumed run has new shards over what has no outcome; those of the earlier generation are gone."""
    bench.account("alice")
    for other in range(5):
        name = bench.thread("alice", f"friend-{other}")
        bench.messages(name, range(60))
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        run = runs.begin(campaign, stored.load(campaign, plan))
        assert [(s.first_no, s.last_no) for s in cut(campaign, run, 1)] == [(1, 5)]
        with bench.database() as connection:
            for number in (1, 2, 4):
                connection.execute(
                    tables.item.insert().values(
                        run_id=run.run_id, conversation_no=number, outcome="skipped:no_export", messages=60, gaps=0,
                        finished_at="2026-05-09T00:00:00.000000Z",
                    )
                )  # fmt: skip
        again = runs.take_up(campaign, run.run_id)
        assert [(s.first_no, s.last_no) for s in cut(campaign, again, 1)] == [(3, 5)]
    assert [(row["generation"], row["token"], row["finished"]) for row in bench.all(tables.shard)] == [(2, 0, False)]


def test_nothing_pending_is_no_shard(bench: Bench) -> None:
    """And no statement that inserts nothing."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        assert cut(campaign, runs.begin(campaign, stored.load(campaign, plan)), 1) == []
