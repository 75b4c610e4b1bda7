"""G3: the log has each event once, wherever a sequencer is killed."""

import itertools
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.audit import verifying
from migrator.core.errors import MigratorError
from migrator.core.progress import NoProgress
from tests.audit.support import entries, log_of, make_log, numbers, open_database, open_log, record

STEPS = [
    ("audit-wal-sync", "before"),
    ("audit-wal-sync", "after"),
    ("audit-acknowledge", "before"),
    ("audit-acknowledge", "after"),
    ("audit-checkpoint", "before"),
    ("audit-checkpoint", "after"),
]
KILLED = 77
BROKEN = 99


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
    log.check(replay=True)
    assert log.state().size == count
    found = verifying.verify(log, NoProgress())
    assert found.findings == []
    assert (found.size, found.checked["leaves"]) == (count, count)


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


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# --- between any two calls to the system ---


def in_a_child(act: Callable[[], None]) -> int:
    """Exit status of a process that does something and ends without any clean-up."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(BROKEN)  # never back into the test run
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def flush_until(folder: Path, calls: int) -> bool:
    """Flush in another process, killed before its n-th write, fsync or rename; False if it came to the end."""
    left = itertools.count(calls, -1)

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return call

    def act() -> None:
        for owner, name in (
            (os, "fsync"), (os, "replace"), (Path, "replace"), (os, "ftruncate"), (os, "write"), (os, "pwrite"),
        ):  # fmt: skip
            setattr(owner, name, counted(getattr(owner, name)))
        open_log(folder).flush()

    status = in_a_child(act)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("count", [3, 300, 2100])
def test_killed_at_any_file(tmp_path: Path, count: int) -> None:
    """Killed in bulk before ever later writes, fsyncs and renames: nothing is lost, repeated or signed twice."""
    make_log(tmp_path)
    record(tmp_path, 254)
    open_log(tmp_path).flush()
    record(tmp_path, count, start=254)
    calls = 0
    while flush_until(tmp_path, calls):
        calls += 1 + calls // 8
    assert calls > 10
    check_whole(tmp_path, 254 + count)


def test_killed_while_events_go_on_coming(tmp_path: Path) -> None:
    """What a death left is behind a log that has meanwhile grown: the checkpoint that was signed is honoured."""
    make_log(tmp_path)
    count = 0
    for calls in range(0, 40, 3):
        record(tmp_path, 90, start=count)
        count += 90
        flush_until(tmp_path, calls)
    open_log(tmp_path).flush()
    check_whole(tmp_path, count)


@pytest.mark.parametrize("room", [10, 5_000, 20_000, 60_000, 100_000])
def test_a_full_disk(tmp_path: Path, room: int) -> None:
    """A file that may not grow any more stops the log with an error of ours; with room it goes on, whole."""
    make_log(tmp_path)
    record(tmp_path, 300)
    log = open_log(tmp_path)
    database = open_database(tmp_path)
    with database.read():  # its own files are there before the limit comes

        def act() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                log.flush()
            except MigratorError:  # the database has files of its own that may not grow
                os._exit(KILLED)

        assert in_a_child(act) == KILLED
    open_log(tmp_path).flush()
    check_whole(tmp_path, 300)
