"""Where a run stands, from its rows alone."""

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.lifecycle import RunState, StopReason
from migrator.database import tables
from migrator.execution.runs import Run, RunSummary, find, outcome_counts
from migrator.lease import LeaseHolder, holder_of


def summary(campaign: Campaign, run_id: str | None) -> RunSummary:
    """The summary of a run that works, rests or has ended."""
    with campaign.database.read() as connection:
        return summary_of(connection, find(connection, run_id))


def summary_of(connection: sa.Connection, run: Run, *, worked_seconds: float = 0.0, moved: int = 0) -> RunSummary:
    """The summary of a run; `worked_seconds` and `moved` messages are those of a session that is at work."""
    counts = outcome_counts(connection, run.run_id)
    planned = connection.scalar(sa.select(tables.plan.c.conversations).where(tables.plan.c.plan_id == run.plan_id)) or 0
    elapsed = run.worked_seconds + worked_seconds
    messages = moved or sum(c.messages for outcome, c in counts.items() if outcome.startswith("rewrapped"))
    seconds = worked_seconds if moved else elapsed
    return RunSummary(
        run_id=run.run_id,
        plan_id=run.plan_id,
        state=run.state,
        dry_run=False,
        counts=counts,
        messages_per_second=round(messages / seconds, 1) if seconds > 0 else 0.0,
        elapsed_seconds=round(elapsed, 3),
        stop_reason=run.stop_reason if run.state is RunState.STOPPED else None,
        stop_detail=run.stop_detail if run.state is RunState.STOPPED else None,
        waiting=run.waiting if run.state is RunState.RUNNING else None,
        pending=planned - sum(count.conversations for count in counts.values()),
    )


def lease_holder(campaign: Campaign) -> LeaseHolder | None:
    """Who works on the campaign at this moment."""
    with campaign.database.read() as connection:
        return holder_of(connection, campaign.name)


def why_it_waits(campaign: Campaign, run: RunSummary) -> str:
    """One sentence on what the run waits for, for people."""
    holder = lease_holder(campaign)
    match run.state:
        case RunState.RUNNING if holder is not None and holder.alive:
            return f"waiting: {run.waiting}" if run.waiting else f"at work: {holder.holder}"
        case RunState.RUNNING:
            return "its process was killed: `migrator resume` goes on"
        case RunState.STOPPED:
            why = _STOPPED[run.stop_reason] if run.stop_reason else "stopped: `migrator resume` goes on"
            return f"{run.stop_detail}; {why}" if run.stop_detail else why
        case RunState.COMPLETED:
            return "complete: `migrator verify` proves it"
        case RunState.ROLLING_BACK:
            return "being rolled back: `migrator rollback` goes on where it was left"
        case RunState.ROLLED_BACK:
            return "rolled back: a new plan would begin afresh"


_STOPPED = {
    StopReason.INTERRUPTED: "interrupted by an operator: `migrator resume` goes on",
    StopReason.TERMINATED: "terminated by a signal: `migrator resume` goes on",
    StopReason.MAX_DURATION: "its time was over: `migrator resume` goes on",
    StopReason.ERROR_BUDGET: "too many conversations failed: look at `migrator report`, then `migrator resume`",
    StopReason.SERVICE_DOWN: "a service it needs is down: when it is back, `migrator resume` goes on",
    StopReason.AUDIT_LOG: "the audit log can't be written: mend it, then `migrator resume` goes on",
}
