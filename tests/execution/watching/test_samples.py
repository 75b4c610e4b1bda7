"""The ring of samples and what a session notes at its beginning."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.core.clock import parse_time
from migrator.core.estimate import WINDOW, rate
from migrator.database import tables
from migrator.execution import runs, shards
from migrator.execution.runs import Run
from migrator.execution.watching import samples
from migrator.planning import stored
from tests.execution.bench import Bench
from tests.execution.inline import StopAfter

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations of five messages, each a unit of its own; one more that isn't to move."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 5, "max_failures": "100%"})
    for owner in ("alice", "bob", "carol", "dora"):
        made.account(owner, answer="refuse" if owner == "dora" else "grant")
        name = made.thread(owner, "x")
        made.messages(name, range(5))
        made.keys(owner, [name])
    return made


def begun(bench: Bench) -> Run:
    """A run whose shards are cut."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        run = runs.begin(campaign, stored.load(campaign, plan))
        shards.cut(campaign, run, 1)
    return run


def test_the_ring_is_bounded_and_keeps_the_window(bench: Bench) -> None:
    """However long a run takes; the rate is that of the last five minutes."""
    run = begun(bench)
    began = NOW - timedelta(minutes=20)
    numbers = range(int(20 * 60 / samples.EVERY_SECONDS) + 1)
    with bench.database() as connection:
        for number in numbers:
            seconds = number * samples.EVERY_SECONDS
            messages = int(seconds * 10) if seconds < 800 else int(8_000 + (seconds - 800) * 2)
            samples.take(
                connection, run.run_id, run.generation, number, messages=messages, held_seconds=0.0,
                at=began + timedelta(seconds=seconds),
            )  # fmt: skip
        kept = samples.taken(connection, run.run_id, run.generation)
    assert len(kept) == len(bench.all(tables.run_sample)) < 70
    found = rate(kept, NOW)
    assert found is not None
    assert (found.per_second, found.window_seconds) == (2.0, WINDOW.total_seconds())


def test_samples_of_an_earlier_session_do_not_count(bench: Bench) -> None:
    """Between sessions nobody worked."""
    run = begun(bench)
    with bench.open() as campaign:
        again = runs.take_up(campaign, run.run_id)
        with campaign.database.read() as connection:
            assert len(samples.taken(connection, run.run_id, run.generation)) == 1
            assert samples.taken(connection, run.run_id, again.generation) == []
            assert samples.so_far(connection, again) is None


def test_a_session_notes_what_is_expected_and_done(bench: Bench) -> None:
    """What is to move, by the plan; after a stop, what was dealt with before counts as done."""
    summary = bench.run(stop=StopAfter(1))
    assert summary.pending > 0
    first = bench.all(tables.run)[0]
    assert (first["expected"], first["earlier"]) == (15, 0)
    moved = sum(row["messages"] for row in bench.all(tables.shard))
    bench.resume(stop=StopAfter(0))
    second = bench.all(tables.run)[0]
    assert (second["expected"], second["earlier"]) == (15, moved)
    assert second["session_at"] > first["session_at"]


def test_the_time_of_the_last_commit_survives_the_shards(bench: Bench) -> None:
    """They are cut anew when a run is resumed, and the time of what was committed before stays."""
    before = datetime.now(UTC)
    bench.run(stop=StopAfter(1))
    committed = max(row["committed_at"] for row in bench.all(tables.shard) if row["committed_at"])
    assert parse_time(committed) >= before
    bench.resume(stop=StopAfter(0))
    assert bench.all(tables.run)[0]["committed_at"] >= committed


def test_a_retry_expects_what_it_opens(bench: Bench) -> None:
    """Of the plan's work only what failed in the other run: the time left is not that of all the rest."""
    bench.source("UPDATE message SET message_id = CAST(message_id AS BLOB) WHERE inbox_id = 'in-bob'")
    failed = bench.run().run_id
    bench.source("UPDATE message SET message_id = CAST(message_id AS TEXT)")
    bench.account("erin")
    name = bench.thread("erin", "x")
    bench.messages(name, range(5))
    bench.keys("erin", [name])
    done = bench.run(retry_failed=failed)
    row = next(row for row in bench.all(tables.run) if row["run_id"] == done.run_id)
    assert (row["expected"], row["earlier"]) == (5, 0)
