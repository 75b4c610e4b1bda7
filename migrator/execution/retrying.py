"""Retrying: a run of a new plan that opens only what failed in another run.

The plan is one like any other: made now, newest, approved where production asks for it. The run opens less of it than
was approved, never more: the work whose conversation ended as failed in the other run. All other work of the plan ends
as `skipped:out_of_cohort`, so that every conversation has its outcome and all counts agree.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import GateError, UsageError
from migrator.core.lifecycle import RunState
from migrator.core.outcomes import Outcome
from migrator.core.plan import EXTEND, REWRAP
from migrator.database import tables
from migrator.execution import runs
from migrator.execution.assignment import Retry

FAILED: Final = tuple(outcome.value for outcome in Outcome if outcome.failed)


def retry_of(campaign: Campaign, plan_id: str, run_id: str, only: Sequence[str]) -> Retry:
    """What a run of a plan retries of another; `only`: of these outcomes alone.

    `UsageError` where an outcome is none of a failure, or where nothing of the plan's work failed so in that run;
    `GateError` where the run was rolled back.
    """
    unknown = sorted(set(only) - set(FAILED))
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no way to fail", hint=f"--only takes {', '.join(FAILED)}")
    retry = Retry(run_id=run_id, outcomes=tuple(only) or FAILED)
    item = tables.plan_item
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        if run.state in (RunState.ROLLING_BACK, RunState.ROLLED_BACK):
            raise GateError(
                f"run {run_id} was rolled back: nothing of it is left to retry",
                hint="execute the plan without --retry-failed; it takes up everything",
            )
        found = connection.scalar(
            sa.select(item.c.conversation_no).where(item.c.plan_id == plan_id, is_for_run(retry)).limit(1)
        )
    if found is None:
        raise UsageError(
            f"nothing that plan {plan_id} opens ended as {' or '.join(retry.outcomes)} in run {run_id}",
            hint="`migrator report RUN --save DIR` lists outcomes; what the plan leaves it says with `migrator show`",
        )
    return retry


def is_for_run(retry: Retry | None) -> sa.ColumnElement[bool]:
    """Of plan items: whether a run opens them, so far as the policy agrees then."""
    planned, item = tables.plan_item, tables.item.alias("retried")
    work = planned.c.decision.in_((REWRAP, EXTEND))
    if retry is None:
        return work
    failed = (
        sa.select(sa.literal(1))
        .where(
            item.c.run_id == retry.run_id,
            item.c.conversation_no == planned.c.conversation_no,
            item.c.outcome.in_(retry.outcomes),
        )
        .exists()
    )
    return sa.and_(work, failed)
