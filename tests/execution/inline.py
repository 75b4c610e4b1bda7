"""An engine that works in the calling process: what it does can be killed, observed and repeated exactly."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from migrator.campaign import Campaign
from migrator.core.errors import MigratorError
from migrator.core.lifecycle import StopReason
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.pacing import Pace
from migrator.execution.process import run_shard
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader

T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs each shard when it is submitted, on the coordinator's own campaign."""

    def __init__(self, campaign: Campaign, pace: Pace) -> None:
        self._campaign = campaign
        self._pace = pace

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run it now; a `MigratorError` goes to the future as a worker's would."""
        assert function is run_shard
        future: Future[Any] = Future()
        try:
            future.set_result(self._work(*args, **kwargs))
        except MigratorError as error:
            future.set_exception(error)
        return future

    def _work(self, assignment: Assignment) -> ShardResult:
        exports = ExportReader(self._campaign, last_export_no=assignment.watermarks.export_no)
        return work_through(self._campaign, assignment, exports, self._pace)


class InlineEngine:
    """One worker: this process."""

    workers = 1

    def __init__(self, campaign: Campaign, pace: Pace | None = None) -> None:
        self._campaign = campaign
        self.pace = pace or Pace()

    def executor(self) -> Executor:
        """The executor."""
        return InlineExecutor(self._campaign, self.pace)


class NoStop:
    """Nobody wants the run to stop."""

    requested: StopReason | None = None


class StopAfter:
    """An operator who interrupts when they were asked so many times."""

    def __init__(self, times: int) -> None:
        self._left = times

    @property
    def requested(self) -> StopReason | None:
        """Interrupted, once the patience is over."""
        self._left -= 1
        return StopReason.INTERRUPTED if self._left < 0 else None
