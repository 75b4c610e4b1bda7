"""One process's work on a run: cuts shards, keeps workers busy, writes the audit log, and knows when to stop.

1. Shards go to the engine, a few more than it has workers. A shard whose worker died is handed out again under a higher
   fencing token (`dispatch`); when that happens again and again, the run stops.
2. While it waits it moves the outbox into the audit log, looks at the clock, the error budget, the lease, and whether
   an operator wants it to stop. A stop is a request to the workers, which leave at their next commit.
3. The run is complete when the outcomes are as many as the plan's conversations, never because a loop ended (G6).
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from migrator import lease as leases
from migrator.attachments import strays
from migrator.campaign import Campaign
from migrator.core.errors import (
    RESUMABLE,
    AuditLogError,
    BlobsUnavailableError,
    DatabaseUnavailableError,
    IntegrityError,
    LeaseHeldError,
    MigratorError,
    UsageError,
    resumable,
)
from migrator.core.lifecycle import StopReason
from migrator.core.outcomes import SkipReason
from migrator.core.progress import Progress
from migrator.core.quantities import Share
from migrator.core.run_limits import RunLimits
from migrator.database import tables
from migrator.execution import half_done, runs, shards
from migrator.execution.assignment import Assignment, Retry, ShardResult
from migrator.execution.control import stopping
from migrator.execution.dispatch import Queue
from migrator.execution.journal import Journal
from migrator.execution.options import RunOptions, StopSignal, engine_of
from migrator.execution.outlook import Noted, Outlook, Seen
from migrator.execution.retrying import is_for_run, retry_of
from migrator.execution.runs import Run, RunSummary, Worked
from migrator.execution.status import Committed, committed, summary_of
from migrator.execution.watching.observer import Observer
from migrator.lease import Lease
from migrator.patience import persist
from migrator.planning.stored import StoredPlan

_MIN_BUDGET = 10
"""A percentage of a small population would stop at the first failure."""


class Session:
    """One process's work on a run."""

    def __init__(
        self,
        campaign: Campaign,
        options: RunOptions,
        limits: RunLimits,
        progress: Progress,
        stop: StopSignal,
        observer: Observer,
    ) -> None:
        self.campaign = campaign
        self.observer = observer
        self.progress = progress
        self.signal = stop
        self.options = options
        self.limits = limits
        self.engine = engine_of(campaign, replace(options, workers=limits.most_workers or options.workers))
        self.began = self.counted_at = time.monotonic()
        self.stopping: StopReason | None = None
        self.detail: str | None = None
        self.planned: int | None = None
        self.error: MigratorError | None = None
        self.done = Committed(messages=0, failures=0, held_seconds=0.0, waiting=None)
        self.held_seconds = 0.0
        self.noted = Noted()

    def retry(self, plan: StoredPlan) -> Retry | None:
        """What the options say of another run."""
        failed, only = self.options.retry_failed, self.options.only
        if failed is None and only:
            raise UsageError("--only says what of a run is retried", hint="give the run with --retry-failed")
        return None if failed is None else retry_of(self.campaign, plan.plan_id, failed, only)

    def drive(self, run: Run, plan: StoredPlan, lease: Lease) -> RunSummary:
        """Work until the run is complete or has to stop; then say where it stands."""
        self.observer.begun(run)
        strays.abandon(self.campaign, run.run_id)  # workers of earlier sessions commit nothing any more
        todo = shards.cut(self.campaign, run, self.engine.workers)
        outlook = Outlook(self.campaign, run)
        journal = Journal(self.campaign, run.run_id)
        self.error = journal.seal() or journal.anchor(self.progress)
        if self.error is not None:
            self.stopping = StopReason.AUDIT_LOG
            return self._conclude(run, lease, journal)
        self._announce(run)
        self._note(run, Noted(sharing=self.engine.workers))
        queue = Queue(
            [
                Assignment(
                    spec=self.campaign.spec, run_id=run.run_id, plan_id=run.plan_id, generation=run.generation,
                    shard_no=shard.shard_no, token=1, first_no=shard.first_no, last_no=shard.last_no,
                    watermarks=plan.watermarks, cohort=plan.cohort, retry=run.retry,
                )
                for shard in todo
            ],
            self.engine,
        )  # fmt: skip
        try:
            while queue.busy:
                persist(
                    lambda: self._look_around(run, lease, outlook, journal, queue),
                    DatabaseUnavailableError,
                    told=lambda error: self.progress.note(f"waiting: {error}"),
                )
                self._take(queue.step(paused=self.stopping is not None, held=self.noted.throttled))
            self._look_around(run, lease, outlook, journal, queue)
        finally:
            queue.close()
        return self._conclude(run, lease, journal)

    def wanted(self) -> StopReason | None:
        """Why somebody wants the session to stop, or its time is over."""
        limit = self.limits.duration
        over = limit is not None and time.monotonic() - self.began >= limit
        return StopReason.MAX_DURATION if over else self.signal.requested

    def _take(self, results: Sequence[ShardResult | MigratorError]) -> None:
        for result in results:
            if isinstance(result, MigratorError) and self.error is None:
                self.error = result

    def _look_around(self, run: Run, lease: Lease, outlook: Outlook, journal: Journal, queue: Queue) -> None:
        """Everything that may end a session before its shards do."""
        seen = self._count(run, outlook, queue)
        failed = journal.keep()
        self.error = self.error or failed
        reason = self._asked(run, seen) or self.wanted()
        if lease.lost.is_set() or seen.deposed:
            self.error = self.error or LeaseHeldError("the campaign's lease was lost to another process")
        if self.error is not None:
            reason = StopReason.AUDIT_LOG if isinstance(self.error, AuditLogError) else StopReason.SERVICE_DOWN
        elif reason is None and self.done.failures > self.budget(run):
            reason = StopReason.ERROR_BUDGET
        if reason is not None and self._goes_further(reason):
            self.stopping = reason
            self.progress.note(f"stopping ({reason.value}): waiting for the next checkpoint")
            runs.request_stop(self.campaign, run, reason)
            self.error = self.error or journal.seal()

    def _goes_further(self, reason: StopReason) -> bool:
        """Whether it is worth saying: the first reason stays, but for an abort."""
        return self.stopping is None or (reason is StopReason.ABORTED and self.stopping is not reason)

    def _asked(self, run: Run, seen: Seen) -> StopReason | None:
        """Why the run is to stop, by what stands in its row, lies beside it, or lasts for too long."""
        if seen.verdict.panic is not None and seen.told is not StopReason.ABORTED:
            stopping.aborting(self.campaign, run, by="panic_flag_file")
            self.detail = f"panic flag file: {seen.verdict.panic}"
            return StopReason.ABORTED
        if seen.told is None and self.stopping is None and seen.verdict.critical is not None:
            self.detail = seen.verdict.critical
            return StopReason.CRITICAL_LOAD
        return seen.told

    def _count(self, run: Run, outlook: Outlook, queue: Queue) -> Seen:
        """What the workers have done; and tell whoever watches, here or from another shell, what they wait for."""
        with self.campaign.database.read() as connection:
            now = committed(connection, run)
            seen = outlook.look(runs.find(connection, run.run_id), now)
        self.progress.advance(now.messages - self.done.messages)
        self._count_held((now.held_seconds - self.done.held_seconds) / self.noted.sharing)
        self.done = now
        if seen.limits != self.limits:
            self.progress.note(f"limits: {', '.join(f'{name} {text}' for name, text in seen.limits.shown().items())}")
            self.limits = seen.limits
        queue.most = self.limits.most_workers
        deserted = "no worker of the engine can be reached" if queue.deserted else None
        waiting = seen.waits or deserted or now.waiting or seen.silent
        self._note(run, Noted(waiting=waiting, sharing=max(1, queue.at_work), throttled=bool(seen.waits)))
        self.observer.look(messages=now.messages, held_seconds=self.held_seconds, waiting=waiting)
        return seen

    def _count_held(self, by_services: float) -> None:
        """Time in which nothing could be done: all of it while the run was throttled, else what workers waited."""
        at = time.monotonic()
        held = at - self.counted_at if self.noted.throttled else by_services
        self.counted_at = at
        if held:
            self.held_seconds += held
            self.progress.held_up(held)

    def _note(self, run: Run, found: Noted) -> None:
        """Write it down where it is something else; mere figures, and that it still waits, not all the time."""
        if not found.worth_writing_after(self.noted):
            return
        if found.waiting != self.noted.waiting:
            self.progress.note(f"waiting: {found.waiting}" if found.waiting else "at work again")
        self.noted = found
        runs.note(self.campaign, run, waiting=found.waiting, sharing=found.sharing, throttled=found.throttled)

    def _conclude(self, run: Run, lease: Lease, journal: Journal) -> RunSummary:
        worked = Worked(
            seconds=time.monotonic() - self.began, held_seconds=self.held_seconds, messages=self.done.messages
        )
        self._sweep(run, lease)
        with self.campaign.database.read() as connection:
            found = summary_of(connection, run, worked)
        if found.pending == 0 and self.error is None:
            runs.complete(self.campaign, run, found.counts, worked)
        elif self.stopping is not None or self.error is not None:
            self._rest(run, lease, self.stopping or StopReason.SERVICE_DOWN, worked)
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
            return summary_of(connection, runs.find(connection, run.run_id))

    def _sweep(self, run: Run, lease: Lease) -> None:
        """Remove blobs of attachments that nothing shows; where their store is away, they stay noted for later.

        Not where the lease is another's: what is noted may be what the workers of that one are writing.
        """

        def fence(connection: sa.Connection) -> None:
            leases.require(connection, self.campaign.name, lease, hint="`migrator status` shows who has it")

        try:
            strays.abandon(self.campaign, run.run_id, fence)
            strays.sweep(self.campaign)
        except LeaseHeldError as error:
            self.progress.note(f"blobs that nothing shows are for somebody else: {error.message}")
        except BlobsUnavailableError as error:
            self.progress.note(f"blobs that nothing shows stay for now: {error.message}")

    def _rest(self, run: Run, lease: Lease, reason: StopReason, worked: Worked) -> None:
        """Stop; where somebody wants the run aborted, without what is half done."""
        detail = self.error.message if self.error is not None else self.detail
        if reason is not StopReason.ABORTED and runs.stop(self.campaign, run, reason, worked, detail=detail):
            return

        def fence(connection: sa.Connection) -> None:
            leases.require(connection, self.campaign.name, lease, hint="`migrator abort` goes on where it was left")

        half_done.remove(self.campaign, run.run_id, fence)
        self._sweep(run, lease)
        runs.stop(self.campaign, run, StopReason.ABORTED, worked, detail=detail)

    def budget(self, run: Run) -> int:
        """How many conversations may fail in this session before it stops; a percentage is of what the run is for."""
        share = self.limits.failures or Share.parse(self.campaign.settings.execution.max_failures)
        if share.count is not None:
            return share.count
        if self.planned is None:
            planned = tables.plan_item
            concerned = planned.c.decision != SkipReason.OUT_OF_COHORT.outcome
            if run.retry is not None:
                concerned = is_for_run(run.retry)
            query = sa.select(sa.func.count()).where(planned.c.plan_id == run.plan_id, concerned)
            with self.campaign.database.read() as connection:
                self.planned = connection.scalar(query) or 0
        return max(_MIN_BUDGET, share.of(self.planned))

    def _announce(self, run: Run) -> None:
        planned, item = tables.plan_item, tables.item
        with self.campaign.database.read() as connection:
            total = connection.scalar(
                sa.select(sa.func.sum(planned.c.messages)).where(
                    planned.c.plan_id == run.plan_id, is_for_run(run.retry)
                )
            )
            done = connection.scalar(
                sa.select(sa.func.sum(item.c.messages + item.c.gaps)).where(
                    item.c.run_id == run.run_id, item.c.outcome.like("rewrapped%")
                )
            )
        self.progress.phase("re-wrapping", total=int(total or 0), done=int(done or 0))
