"""G3: the log has each event once, wherever a sequencer is killed."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit.support import entries, log_of, make_log, numbers, open_database, open_log, record

STEPS = [
    ("audit-wal-sync", "before"),
    ("audit-wal-sync", "after"),
    ("audit-acknowledge", "before"),
    ("audit-acknowledge", "after"),
]
KILLED = 77


def flush_and_die(folder: Path, at: tuple[str, str]) -> None:
    """Flush in another process, which ends at a step without any clean-up."""
    child = os.fork()
    if child == 0:

        def boundary(label: str, moment: str) -> None:
            if (label, moment) == at:
                os._exit(KILLED)

        database = open_database(folder)
        database.boundary = boundary
        log_of(database, folder).flush()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def check_whole(folder: Path, count: int) -> None:
    """Every event once, in order, numbered alike everywhere."""
    assert numbers(folder) == list(range(count))
    assert [entry["seq"] for entry in entries(folder)] == list(range(count))
    log = open_log(folder)
    log.check()
    assert log.state().size == count


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(tmp_path: Path, step: tuple[str, str]) -> None:
    """Whichever step it dies at, the next flush completes the log without a repeat."""
    make_log(tmp_path)
    record(tmp_path, 3)
    open_log(tmp_path).flush()
    record(tmp_path, 4, start=3)
    flush_and_die(tmp_path, step)
    record(tmp_path, 2, start=7)
    open_log(tmp_path).flush()
    check_whole(tmp_path, 9)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_the_first_flush_ever(tmp_path: Path, step: tuple[str, str]) -> None:
    """The same where the database remembers no log yet; `create` may come again in between."""
    make_log(tmp_path)
    record(tmp_path, 2)
    flush_and_die(tmp_path, step)
    open_log(tmp_path).create()
    open_log(tmp_path).flush()
    check_whole(tmp_path, 2)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_torn_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A power cut may leave any prefix of the unacknowledged bytes, or blocks that were never filled."""
    folder = tmp_path_factory.mktemp("torn")
    make_log(folder)
    record(folder, 2)
    open_log(folder).flush()
    record(folder, 3, start=2)
    path = folder / "audit" / "wal.jsonl"
    acknowledged = path.stat().st_size
    flush_and_die(folder, STEPS[0])
    written = path.read_bytes()
    kept = data.draw(st.integers(acknowledged, len(written)))
    zeros = data.draw(st.integers(0, len(written) - kept))
    path.write_bytes(written[:kept] + bytes(zeros))
    open_log(folder).flush()
    check_whole(folder, 5)


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Deaths may follow one another; nothing adds up."""
    make_log(tmp_path)
    count = 0
    for step in STEPS * 2:
        record(tmp_path, 2, start=count)
        count += 2
        flush_and_die(tmp_path, step)
    open_log(tmp_path).flush()
    check_whole(tmp_path, count)
