"""Hands shards to an engine and takes results back, also over the death of workers.

A shard that comes back unfinished, or whose worker died, is handed out again under a higher fencing token: whatever the
old holder may still commit is refused by the fence. An engine that has no workers at the moment, or takes nothing, is
waited for.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import replace

from migrator.core.errors import RESUMABLE, ExitStatus, MigratorError
from migrator.engines.interface import Engine
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.process import run_shard

_POLL_SECONDS = 0.2
_MAX_LOSSES = 3
"""Times in a row that workers may die without any shard being finished."""


_DESERTED_SECONDS = 120.0
"""How long an engine may be without workers: a scheduler that is started again, a cluster that grows."""


class WorkersLostError(MigratorError):
    """Workers die again and again: killed by the system, or by something in the data. Or there are none any more."""

    code = "workers_lost"
    exit_status = ExitStatus.SERVICE_DOWN


class Queue:
    """The shards of a session that are not finished."""

    def __init__(
        self, assignments: Sequence[Assignment], engine: Engine, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting = deque(assignments)
        self._engine = engine
        self._monotonic = monotonic
        self._executor: Executor | None = None
        self._made: list[Executor] = []
        self._working: dict[Future[ShardResult], tuple[Assignment, Executor]] = {}
        self._losses = 0
        self._workers = self._most_workers = engine.workers
        self._deserted_at: float | None = None
        self._refused = False
        """Whether the engine did not take what it was handed last; where nothing was handed, it refused nothing."""
        self.most: int | None = None
        """How many workers have something to do, where that is fewer than there are; None: all of them."""

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or worked on."""
        return bool(self._waiting or self._working)

    @property
    def at_work(self) -> int:
        """How many workers have something to do, or will at once. Fewer that were wanted since: when these are done."""
        room = max(self._room, len(self._working))
        return min(self._workers, room, len(self._working) + len(self._waiting))

    @property
    def deserted(self) -> bool:
        """Whether the engine has no workers at the moment, or none that can be reached."""
        return self._deserted_at is not None

    @property
    def _room(self) -> int:
        """Shards that may be out: one more than workers, so that none of them waits for its next."""
        return self._workers + 1 if self.most is None or self.most >= self._workers else self.most

    def step(self, *, paused: bool, held: bool = False) -> list[ShardResult | MigratorError]:
        """Hand out what there is room for, wait a moment, and give back what has ended.

        While `paused` nothing more is handed out, and what comes back unfinished is done with for this session. While
        `held` nothing is handed out either, and waits.
        """
        if paused:
            self._waiting.clear()
        gone = self._count_workers(paused=paused)
        if gone is not None:
            return gone
        results: list[ShardResult | MigratorError] = []
        self._refused = False
        while self._waiting and not held and self._workers and len(self._working) < self._room:
            if not self._submit(self._waiting[0]):
                self._refused = True
                self._alone_for()
                break
            self._waiting.popleft()
        if not self._working:
            if self.deserted or (held and self._waiting):
                time.sleep(_POLL_SECONDS)
            return results
        ended, _ = wait(self._working, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in ended:
            results.extend(self._ended(future, *self._working.pop(future), paused=paused))
        return results

    def close(self) -> None:
        """Let the executors go; workers that are still at work end with their shard."""
        for executor in self._made:
            executor.shutdown(wait=executor is self._executor, cancel_futures=True)

    def _count_workers(self, *, paused: bool) -> list[ShardResult | MigratorError] | None:
        """Look whether anybody is there; a result where nobody has been for too long, or nobody need be."""
        self._workers = self._engine.workers
        self._most_workers = max(self._most_workers, self._workers)
        if self._workers and (paused or not self._refused):
            self._deserted_at = None
            return None
        if not paused and self._alone_for() < _DESERTED_SECONDS:
            return None
        self._waiting.clear()
        self._working.clear()  # whoever holds one of these after all is fenced off when the run is resumed
        if paused:
            return []
        return [
            WorkersLostError(
                f"the engine has had no worker for {_DESERTED_SECONDS:.0f} s",
                hint="start the scheduler and its workers again",
                changed=RESUMABLE,
            )
        ]

    def _alone_for(self) -> float:
        """Seconds since the engine was first found without workers, or refusing."""
        now = self._monotonic()
        self._deserted_at = now if self._deserted_at is None else self._deserted_at
        return now - self._deserted_at

    def _submit(self, assignment: Assignment) -> bool:
        """Whether the engine took it. That it did not is nobody's death: what was not sent is not lost."""
        try:
            if self._executor is None:
                self._executor = self._engine.executor()
                if self._executor not in self._made:
                    self._made.append(self._executor)
            self._working[self._executor.submit(run_shard, assignment)] = assignment, self._executor
        except BrokenExecutor:
            if self._executor is not None:
                self._made.remove(self._executor)
                self._executor.shutdown(wait=False)
                self._executor = None
            return False
        return True

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
        if self._losses > _MAX_LOSSES * (self._most_workers + 1):  # all that were handed out are lost together
            return [
                WorkersLostError(
                    "workers die again and again",
                    hint="look for the out-of-memory killer in the system's log, and at a cluster's own logs",
                    changed=RESUMABLE,
                )
            ]
        self._waiting.append(replace(assignment, token=assignment.token + 1))
        return []
