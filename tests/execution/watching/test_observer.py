"""What a session tells while it is at work: samples in their time, throttling once, nothing before it has begun."""

from pathlib import Path

import pytest

from migrator.database import tables
from migrator.execution import runs
from migrator.execution.coordinator import RunOptions
from migrator.execution.watching.observer import Observer
from migrator.execution.watching.samples import EVERY_SECONDS
from migrator.planning import stored
from tests.execution.bench import Bench
from tests.execution.hooks.scripts import script
from tests.execution.hooks.test_calling import Notes


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with one conversation, and a hook that notes why the run waits."""
    made = Bench(tmp_path / "campaign", hooks={"directory": "hooks"})
    made.account("alice")
    made.messages(made.thread("alice", "x"), range(2))
    script(made.folder / "hooks", "on-throttled", 'echo "$MIGRATOR_HOOK_REASON" >> told')
    return made


def test_samples_are_taken_in_their_time(bench: Bench) -> None:
    """Not at each look; with what the session has done by then."""
    plan = bench.plan().plan_id
    clock = [0.0]
    with bench.open() as campaign:
        run = runs.begin(campaign, stored.load(campaign, plan))
        observer = Observer(campaign, RunOptions(), Notes(), plan, monotonic=lambda: clock[-1])
        observer.look(messages=5, held_seconds=0.0, waiting=None)
        observer.begun(run)
        for seconds in (1.0, EVERY_SECONDS, EVERY_SECONDS + 1, 2 * EVERY_SECONDS):
            clock.append(seconds)
            observer.look(messages=int(seconds), held_seconds=0.5, waiting=None)
    rows = bench.all(tables.run_sample)
    assert [(row["messages"], row["held_ms"]) for row in rows] == [(5, 500), (10, 500)]


def test_waiting_is_told_when_it_begins(bench: Bench) -> None:
    """Once for one wait, however often it is looked at; on record by the end."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        run = runs.begin(campaign, stored.load(campaign, plan))
        observer = Observer(campaign, RunOptions(), Notes(), plan, monotonic=lambda: 0.0)
        with observer.told():
            observer.begun(run)
            for waiting in (None, "the key service throttles", "the key service throttles", None):
                observer.look(messages=0, held_seconds=0.0, waiting=waiting)
    assert (bench.folder / "told").read_text() == "the key service throttles\n"
    assert [(row["hook"], row["result"]) for row in bench.all(tables.hook_call)] == [("on-throttled", "ok")]


def test_samples_that_can_not_be_taken_are_told_once(bench: Bench) -> None:
    """The run goes on: nobody's history waits for a rate."""
    plan = bench.plan().plan_id
    clock, notes = [0.0], Notes()
    with bench.open() as campaign:
        run = runs.begin(campaign, stored.load(campaign, plan))
        observer = Observer(campaign, RunOptions(), notes, plan, monotonic=lambda: clock[-1])
        observer.begun(run)
        with bench.database() as connection:
            connection.exec_driver_sql("DROP TABLE migrator_run_sample")
        for seconds in (10.0, 20.0, 30.0):
            clock.append(seconds)
            observer.look(messages=1, held_seconds=0.0, waiting=None)
    assert len(notes.notes) == 1
    assert "the run goes on" in notes.notes[0]
