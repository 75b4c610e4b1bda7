"""What every engine must do: subclass `EngineConformance` and give it an engine."""

import os
import signal
import time
from abc import ABC, abstractmethod
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from migrator.core.errors import RESUMABLE, DatabaseError, MigratorError
from migrator.engines.interface import Engine

PATIENCE = 60
"""Seconds after which something that should happen has not happened."""


def double(number: int) -> int:
    """Work."""
    return 2 * number


def fail(hint: str) -> None:
    """Work that fails as a worker's does."""
    raise DatabaseError("the disk is full", hint=hint, changed=RESUMABLE)


def process_id(_: int) -> int:
    """Where the work is done."""
    return os.getpid()


def die(_: int) -> None:
    """Work in whose middle the process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def meet(folder: Path, number: int) -> bool:
    """Work that ends once two others are at work as well; False if they never are."""
    (folder / str(number)).touch()
    end = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > end:
            return False
    return True


class EngineConformance(ABC):
    """Tests of the port."""

    @abstractmethod
    def engine(self, workers: int) -> Engine:
        """An engine with so many workers."""

    def test_results_come_back(self) -> None:
        """Each future has the result of its own work."""
        with self.engine(2).executor() as executor:
            futures = [executor.submit(double, number) for number in range(20)]
            assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(20)]

    def test_errors_come_back_whole(self) -> None:
        """Message, hint, and whether something was changed cross the process boundary."""
        with self.engine(1).executor() as executor:
            error = executor.submit(fail, "make room").exception(PATIENCE)
        assert isinstance(error, MigratorError)
        assert type(error) is DatabaseError
        assert (error.message, error.hint, error.changed) == ("the disk is full", "make room", RESUMABLE)

    def test_as_many_at_once_as_it_has_workers(self, tmp_path: Path) -> None:
        """Two workers are at work at the same time."""
        engine = self.engine(2)
        assert engine.workers == 2
        with engine.executor() as executor:
            futures = [executor.submit(meet, tmp_path, number) for number in range(2)]
            assert [future.result(PATIENCE) for future in futures] == [True, True]

    def test_work_is_not_done_in_the_coordinator(self) -> None:
        """A crash of what opens messages is not a crash of who keeps the books."""
        with self.engine(1).executor() as executor:
            assert executor.submit(process_id, 0).result(PATIENCE) != os.getpid()

    def test_a_worker_that_dies_is_told_and_the_next_executor_works(self) -> None:
        """`BrokenExecutor` for what was lost; the engine makes another executor."""
        engine = self.engine(1)
        executor = engine.executor()
        with pytest.raises(BrokenExecutor):
            executor.submit(die, 0).result(PATIENCE)
        executor.shutdown()
        with engine.executor() as another:
            assert another.submit(double, 4).result(PATIENCE) == 8

    def test_shut_down_it_waits_for_what_is_at_work_and_drops_the_rest(self) -> None:
        """How a session ends: nothing runs on behind its back."""
        executor = self.engine(1).executor()
        futures = [executor.submit(process_id, number) for number in range(50)]
        executor.shutdown(wait=True, cancel_futures=True)
        assert all(future.done() for future in futures)
