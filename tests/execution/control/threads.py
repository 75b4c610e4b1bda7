"""An engine of several workers that are threads: they commit beside each other as processes do, and start at once."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from migrator.campaign import Campaign, CampaignSpec, opened
from migrator.database.connect import Boundary
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader

T = TypeVar("T")


class ThreadEngine:
    """So many workers, each with a campaign of its own, whose commits a test hears of."""

    def __init__(self, spec: CampaignSpec, workers: int, boundary: Boundary) -> None:
        self.workers = workers
        self._executor = _Threads(spec, workers, boundary)

    def executor(self) -> Executor:
        """The executor."""
        return self._executor


class _Threads(ThreadPoolExecutor):
    def __init__(self, spec: CampaignSpec, workers: int, boundary: Boundary) -> None:
        super().__init__(workers)
        self._spec = spec
        self._boundary = boundary
        self._own = threading.local()
        self._opened: list[Campaign] = []

    def submit(self, _function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Work on a shard."""
        return super().submit(self._work, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End, and let go of what the workers had open."""
        super().shutdown(wait=True, cancel_futures=cancel_futures)
        while self._opened:
            self._opened.pop().close()

    def _work(self, assignment: Assignment) -> ShardResult:
        if not hasattr(self._own, "campaign"):
            self._own.campaign = opened(self._spec)
            self._own.campaign.database.boundary = self._boundary
            self._opened.append(self._own.campaign)
        campaign = self._own.campaign
        return work_through(
            campaign, assignment, ExportReader(campaign, last_export_no=assignment.watermarks.export_no)
        )
