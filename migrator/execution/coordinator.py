"""The coordinator: takes the lease, cuts shards, keeps workers busy, writes the audit log, and knows when to stop.

1. Plan and gates are checked before anything is written; then the plan is consumed by a run.
2. Shards go to the engine, a few more than it has workers. A shard whose worker died is handed out again under a higher
   fencing token (`dispatch`); when that happens again and again, the run stops.
3. While it waits it moves the outbox into the audit log, looks at the clock, the error budget, the lease, and whether
   an operator wants it to stop. A stop is a request to the workers, which leave at their next commit.
4. The run is complete when the outcomes are as many as the plan's conversations, never because a loop ended (G6).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from migrator import lease as leases
from migrator import plugins
from migrator.campaign import Campaign
from migrator.core.errors import (
    RESUMABLE,
    AuditLogError,
    DatabaseUnavailableError,
    IntegrityError,
    LeaseHeldError,
    MigratorError,
    resumable,
    resumable_from_here,
)
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import Progress
from migrator.core.settings import ExecutionSettings, Share
from migrator.database import tables
from migrator.engines.interface import Engine
from migrator.execution import runs, shards
from migrator.execution.assignment import Assignment, OutcomeCount, ShardResult
from migrator.execution.dispatch import Queue
from migrator.execution.gates import cutover_reached, require_cutover, require_open
from migrator.execution.journal import Journal
from migrator.execution.runs import Run, RunSummary
from migrator.execution.status import summary_of
from migrator.facts import Watermarks
from migrator.lease import Lease
from migrator.patience import persist
from migrator.planning import stored

_MIN_BUDGET = 10
"""A percentage of a small population would stop at the first failure."""


class StopSignal(Protocol):
    """Whether somebody wants the run to stop."""

    @property
    def requested(self) -> StopReason | None:
        """Why; None while nobody does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What an operator may say about one execution; None: as configured. `engine` may be one of one's own."""

    dry_run: bool = False
    workers: int | None = None
    engine: str | Engine | None = None
    max_failures: str | None = None
    max_duration_seconds: float | None = None
    confirm: str | None = None


def execute(campaign: Campaign, plan: str, options: RunOptions, progress: Progress, stop: StopSignal) -> RunSummary:
    """Run a plan, given by file or id."""
    found = stored.load(campaign, plan)
    session = _Session(campaign, options, progress, stop)
    if options.dry_run:
        stored.require_current(campaign, found)
        return session.rehearse(found.plan_id, found.watermarks)
    leases.require_free(campaign)
    stored.require_executable(campaign, found)
    require_open(campaign, found, options.confirm)
    campaign.audit.check(replay=True)
    with leases.hold(campaign, purpose="execute") as lease, resumable_from_here():
        return session.drive(runs.begin(campaign, found), found.watermarks, lease)


def resume(
    campaign: Campaign, run_id: str | None, options: RunOptions, progress: Progress, stop: StopSignal
) -> RunSummary:
    """Go on with a run that stopped or was killed; one that is complete says so."""
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        if run.state is RunState.COMPLETED:
            return summary_of(connection, run)
    session = _Session(campaign, options, progress, stop)
    plan = stored.load(campaign, run.plan_id)
    stored.require_current(campaign, plan)
    require_cutover(campaign)
    campaign.audit.check(replay=True)
    with leases.hold(campaign, purpose="resume") as lease, resumable_from_here():
        return session.drive(runs.take_up(campaign, run.run_id), plan.watermarks, lease)


def _engine(options: RunOptions, settings: ExecutionSettings) -> Engine:
    if options.engine is not None and not isinstance(options.engine, str):
        return options.engine
    workers = options.workers if options.workers is not None else settings.workers
    return plugins.engine(options.engine or settings.engine, workers)


class _Session:
    """One process's work on a run."""

    def __init__(self, campaign: Campaign, options: RunOptions, progress: Progress, stop: StopSignal) -> None:
        settings = campaign.settings.execution
        self.campaign = campaign
        self.progress = progress
        self.signal = stop
        self.options = options
        self.engine = _engine(options, settings)
        self.began = time.monotonic()
        self.stopping: StopReason | None = None
        self.error: MigratorError | None = None
        self.told = 0

    # --- a real run ---

    def drive(self, run: Run, watermarks: Watermarks, lease: Lease) -> RunSummary:
        """Work until the run is complete or has to stop; then say where it stands."""
        todo = shards.cut(self.campaign, run, self.engine.workers)
        budget = self._budget(run)
        journal = Journal(self.campaign, run.run_id)
        self.error = journal.seal() or journal.anchor(self.progress)
        if self.error is not None:
            self.stopping = StopReason.AUDIT_LOG
            return self._conclude(run, journal)
        self._announce(run)
        queue = Queue(
            [self._assignment(run.run_id, run.plan_id, run.generation, watermarks, shard) for shard in todo],
            self.engine,
        )
        try:
            while queue.busy:
                persist(lambda: self._look_around(run, lease, budget, journal), DatabaseUnavailableError)
                self._take(queue.step(paused=self.stopping is not None))
            self._look_around(run, lease, budget, journal)
        finally:
            queue.close()
        return self._conclude(run, journal)

    def _take(self, results: Sequence[ShardResult | MigratorError]) -> None:
        for result in results:
            if isinstance(result, MigratorError) and self.error is None:
                self.error = result

    def _look_around(self, run: Run, lease: Lease, budget: int, journal: Journal) -> None:
        """Everything that may end a session before its shards do."""
        moved, failures = self._committed(run)
        self.progress.advance(moved - self.told)
        self.told = moved
        failed = journal.keep()
        self.error = self.error or failed
        reason = self.signal.requested
        if lease.lost.is_set():
            self.error = self.error or LeaseHeldError("the campaign's lease was lost to another process")
        if self.error is not None:
            reason = StopReason.AUDIT_LOG if isinstance(self.error, AuditLogError) else StopReason.SERVICE_DOWN
        elif failures > budget:
            reason = StopReason.ERROR_BUDGET
        elif self._time_is_over():
            reason = StopReason.MAX_DURATION
        if reason is not None and self.stopping is None:
            self.stopping = reason
            self.progress.note(f"stopping ({reason.value}): waiting for the next checkpoint")
            runs.request_stop(self.campaign, run, reason)
            self.error = self.error or journal.seal()

    def _conclude(self, run: Run, journal: Journal) -> RunSummary:
        worked = time.monotonic() - self.began
        with self.campaign.database.read() as connection:
            found = summary_of(connection, run, worked_seconds=worked, moved=self.told)
        if found.pending == 0 and self.error is None:
            runs.complete(self.campaign, run, found.counts, worked)
        elif self.stopping is not None or self.error is not None:
            runs.stop(self.campaign, run, self.stopping or StopReason.SERVICE_DOWN, worked)
        else:
            runs.stop(self.campaign, run, StopReason.SERVICE_DOWN, worked)
            raise IntegrityError(
                f"{found.pending} conversations of the plan have no outcome though every shard is finished",
                hint="this is a bug in migrator; nothing of them was shown",
                changed=RESUMABLE,
            )
        unsigned = journal.seal()
        self.error = self.error or unsigned or journal.anchor(self.progress)
        if self.error is not None:
            raise resumable(self.error)
        with self.campaign.database.read() as connection:
            return summary_of(connection, runs.find(connection, run.run_id), moved=0)

    def _time_is_over(self) -> bool:
        limit = self.options.max_duration_seconds
        return limit is not None and time.monotonic() - self.began >= limit

    def _committed(self, run: Run) -> tuple[int, int]:
        """Messages and failures that this generation's workers have committed."""
        shard = tables.shard
        query = sa.select(sa.func.sum(shard.c.messages), sa.func.sum(shard.c.failures)).where(
            shard.c.run_id == run.run_id, shard.c.generation == run.generation
        )
        with self.campaign.database.read() as connection:
            messages, failures = connection.execute(query).one()
        return int(messages or 0), int(failures or 0)

    def _budget(self, run: Run) -> int:
        """How many conversations may fail in this session before it stops."""
        share = Share.parse(self.options.max_failures or self.campaign.settings.execution.max_failures)
        with self.campaign.database.read() as connection:
            total = connection.scalar(
                sa.select(tables.plan.c.conversations).where(tables.plan.c.plan_id == run.plan_id)
            )
        return share.count if share.count is not None else max(_MIN_BUDGET, share.of(total or 0))

    def _announce(self, run: Run) -> None:
        planned, item = tables.plan_item, tables.item
        with self.campaign.database.read() as connection:
            total = connection.scalar(
                sa.select(sa.func.sum(planned.c.messages)).where(
                    planned.c.plan_id == run.plan_id, planned.c.decision.in_(("rewrap", "extend"))
                )
            )
            done = connection.scalar(
                sa.select(sa.func.sum(item.c.messages + item.c.gaps)).where(
                    item.c.run_id == run.run_id, item.c.outcome.like("rewrapped%")
                )
            )
        self.progress.phase("re-wrapping", total=int(total or 0), done=int(done or 0))

    # --- a dry run ---

    def rehearse(self, plan_id: str, watermarks: Watermarks) -> RunSummary:
        """Go the same way with every conversation, and write nothing."""
        opens = cutover_reached(self.campaign) or not self.campaign.in_production
        todo = shards.cut_dry(self.campaign, plan_id, self.engine.workers)
        self.progress.phase("rehearsing", total=len(todo), unit="shards")
        queue = Queue(
            [self._assignment("dry-run", plan_id, 0, watermarks, shard, dry=True, opens=opens) for shard in todo],
            self.engine,
        )
        counts: dict[str, OutcomeCount] = {}
        try:
            while queue.busy:
                for result in queue.step(paused=self.stopping is not None):
                    if isinstance(result, MigratorError):
                        raise result
                    self.progress.advance(1)
                    for outcome, count in result.counts.items():
                        counts.setdefault(outcome, OutcomeCount()).merge(count)
                self.stopping = self.stopping or self.signal.requested
                if self._time_is_over():
                    self.stopping = self.stopping or StopReason.MAX_DURATION
        finally:
            queue.close()
        elapsed = time.monotonic() - self.began
        messages = sum(c.messages for outcome, c in counts.items() if outcome.startswith("rewrapped"))
        return RunSummary(
            run_id="dry-run",
            plan_id=plan_id,
            state=RunState.STOPPED if self.stopping else RunState.COMPLETED,
            dry_run=True,
            counts=counts,
            messages_per_second=round(messages / elapsed, 1) if elapsed > 0 else 0.0,
            elapsed_seconds=round(elapsed, 3),
            stop_reason=self.stopping,
        )

    def _assignment(
        self,
        run_id: str,
        plan_id: str,
        generation: int,
        watermarks: Watermarks,
        shard: shards.Shard,
        *,
        dry: bool = False,
        opens: bool = True,
    ) -> Assignment:
        return Assignment(
            spec=self.campaign.spec,
            run_id=run_id,
            plan_id=plan_id,
            generation=generation,
            shard_no=shard.shard_no,
            token=1,
            first_no=shard.first_no,
            last_no=shard.last_no,
            watermarks=watermarks,
            dry_run=dry,
            opens=opens,
        )
