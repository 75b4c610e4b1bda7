"""Hands shards to an engine and takes results back, also over the death of workers.

A shard that comes back unfinished, or whose worker died, is handed out again under a higher fencing token: whatever the
old holder may still commit is refused by the fence.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import replace

from migrator.core.errors import RESUMABLE, ExitStatus, MigratorError
from migrator.engines.interface import Engine
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.process import run_shard

_POLL_SECONDS = 0.2
_MAX_LOSSES = 3
"""Times in a row that workers may die without any shard being finished."""


class WorkersLostError(MigratorError):
    """Workers die again and again: killed by the system, or by something in the data."""

    code = "workers_lost"
    exit_status = ExitStatus.SERVICE_DOWN


class Queue:
    """The shards of a session that are not finished."""

    def __init__(self, assignments: Sequence[Assignment], engine: Engine) -> None:
        self._waiting = deque(assignments)
        self._engine = engine
        self._executor: Executor | None = None
        self._working: dict[Future[ShardResult], tuple[Assignment, Executor]] = {}
        self._losses = 0

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or worked on."""
        return bool(self._waiting or self._working)

    def step(self, *, paused: bool) -> list[ShardResult | MigratorError]:
        """Hand out what there is room for, wait a moment, and give back what has ended.

        While `paused` nothing more is handed out, and what comes back unfinished is done with for this session.
        """
        if paused:
            self._waiting.clear()
        results: list[ShardResult | MigratorError] = []
        while self._waiting and not results and len(self._working) < self._engine.workers + 1:
            results.extend(self._submit(self._waiting.popleft()))
        if not self._working:
            return results
        ended, _ = wait(self._working, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in ended:
            results.extend(self._ended(future, *self._working.pop(future), paused=paused))
        return results

    def close(self) -> None:
        """Let the executor go; workers that are still at work end with their shard."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, assignment: Assignment) -> list[ShardResult | MigratorError]:
        if self._executor is None:
            self._executor = self._engine.executor()
        try:
            self._working[self._executor.submit(run_shard, assignment)] = assignment, self._executor
        except BrokenExecutor:
            self._executor.shutdown(wait=False)
            self._executor = None
            return self._again(assignment, paused=False)
        return []

    def _ended(
        self, future: Future[ShardResult], assignment: Assignment, executor: Executor, *, paused: bool
    ) -> list[ShardResult | MigratorError]:
        try:
            result = future.result()
        except BrokenExecutor:
            if executor is self._executor:  # else a new one has taken its place, and works
                self._executor = None
            return self._again(assignment, paused=paused)
        except MigratorError as error:
            return [error]
        if result.finished:
            self._losses = 0
            return [result]
        return self._again(assignment, paused=paused)

    def _again(self, assignment: Assignment, *, paused: bool) -> list[ShardResult | MigratorError]:
        if paused:
            return []
        self._losses += 1
        if self._losses > _MAX_LOSSES * (self._engine.workers + 1):  # all that were handed out are lost together
            return [
                WorkersLostError(
                    "workers die again and again",
                    hint="look at the system's log for the out-of-memory killer; fewer workers need less memory",
                    changed=RESUMABLE,
                )
            ]
        self._waiting.append(replace(assignment, token=assignment.token + 1))
        return []
