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
    limit, throttle = limits.rate, Throttle(campaign, None)
    began = time.monotonic()
    opens = cutover_reached(campaign) or not campaign.in_production
    todo = shards.cut_dry(campaign, plan.plan_id, engine.workers)
    progress.phase("rehearsing", total=len(todo), unit="shards")
    queue = Queue(
        [
            Assignment(
                spec=campaign.spec, run_id="dry-run", plan_id=plan.plan_id, generation=0, shard_no=shard.shard_no,
                token=1, first_no=shard.first_no, last_no=shard.last_no, watermarks=plan.watermarks, dry_run=True,
                opens=opens, rate=None if limit is None else limit / max(1, engine.workers), cohort=plan.cohort,
                retry=retry,
            )
            for shard in todo
        ],
        engine,
    )  # fmt: skip
    counts: dict[str, OutcomeCount] = {}
    reason: StopReason | None = None
    waited: tuple[str, ...] = ()
    try:
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
