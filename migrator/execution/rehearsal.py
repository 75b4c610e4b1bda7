"""A dry run: the same way with every conversation, and nothing written."""

import time
from collections.abc import Callable

from migrator.campaign import Campaign
from migrator.core.errors import MigratorError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import Progress
from migrator.core.run_limits import RunLimits
from migrator.engines.interface import Engine
from migrator.execution import shards
from migrator.execution.assignment import Assignment, OutcomeCount, Retry
from migrator.execution.dispatch import Queue
from migrator.execution.gates import cutover_reached
from migrator.execution.runs import RunSummary
from migrator.execution.throttle import Throttle
from migrator.planning.stored import StoredPlan


def rehearse(
    campaign: Campaign,
    plan: StoredPlan,
    engine: Engine,
    progress: Progress,
    stop: Callable[[], StopReason | None],
    limits: RunLimits,
    retry: Retry | None = None,
) -> RunSummary:
    """Go the way of a run with a plan, until its end or until `stop` says why not; what would come of it.

    Its workers share the limit on the pace evenly; what throttles a run holds its shards back as well. `retry`: what
    failed in another run, and nothing else.
    """
    began = time.monotonic()
    assignments = _assignments(campaign, plan, engine.workers, limits.rate, retry)
    progress.phase("rehearsing", total=len(assignments), unit="shards")
    queue = Queue(assignments, engine)
    try:
        counts, reason = _work_off(queue, Throttle(campaign, None), limits, progress, stop)
    finally:
        queue.close()
    elapsed = time.monotonic() - began
    messages = sum(c.messages for outcome, c in counts.items() if outcome.startswith("rewrapped"))
    return RunSummary(
        run_id="dry-run",
        plan_id=plan.plan_id,
        state=RunState.STOPPED if reason else RunState.COMPLETED,
        dry_run=True,
        counts=counts,
        messages_per_second=round(messages / elapsed, 1) if elapsed > 0 else 0.0,
        elapsed_seconds=round(elapsed, 3),
        stop_reason=reason,
        retry_of=retry.run_id if retry else None,
    )


def _assignments(
    campaign: Campaign, plan: StoredPlan, workers: int, limit: float | None, retry: Retry | None
) -> list[Assignment]:
    """A shard each, for workers that share the limit evenly."""
    opens = cutover_reached(campaign) or not campaign.in_production
    return [
        Assignment(
            spec=campaign.spec, run_id="dry-run", plan_id=plan.plan_id, generation=0, shard_no=shard.shard_no, token=1,
            first_no=shard.first_no, last_no=shard.last_no, watermarks=plan.watermarks, dry_run=True, opens=opens,
            rate=None if limit is None else limit / max(1, workers), cohort=plan.cohort, retry=retry,
        )
        for shard in shards.cut_dry(campaign, plan.plan_id, workers)
    ]  # fmt: skip


def _work_off(
    queue: Queue,
    throttle: Throttle,
    limits: RunLimits,
    progress: Progress,
    stop: Callable[[], StopReason | None],
) -> tuple[dict[str, OutcomeCount], StopReason | None]:
    """Have all shards worked through, or those at work when `stop` says why; the counts by outcome."""
    counts: dict[str, OutcomeCount] = {}
    reason: StopReason | None = None
    waited: tuple[str, ...] = ()
    while queue.busy:
        waits = throttle.look(limits).waits
        if waits != waited:
            progress.note(f"waiting: {'; '.join(waits)}" if waits else "at work again")
            waited = waits
        for result in queue.step(paused=reason is not None, held=bool(waits)):
            if isinstance(result, MigratorError):
                raise result
            progress.advance(1)
            for outcome, count in result.counts.items():
                counts.setdefault(outcome, OutcomeCount()).merge(count)
        reason = reason or stop()
    return counts, reason
