"""Where a run stands, from its rows alone."""

from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.lifecycle import AT_WORK, RunState, StopReason
from migrator.core.load import NOTHING, Metered
from migrator.database import tables
from migrator.execution.attendance import Attendance, attendance
from migrator.execution.runs import Run, RunSummary, Worked, find, outcome_counts
from migrator.execution.watching.samples import so_far
from migrator.lease import LeaseHolder, holder_of
from migrator.planning import arrivals


def summary(campaign: Campaign, run_id: str | None) -> RunSummary:
    """The summary of a run that works, rests or has ended."""
    with campaign.database.read() as connection:
        run = find(connection, run_id)
        found = summary_of(connection, run, so_far(connection, run) if run.state in AT_WORK else None)
        return replace(found, arrivals=arrivals.newest(connection))


def summary_of(connection: sa.Connection, run: Run, worked: Worked | None = None) -> RunSummary:
    """The summary of a run; `worked`: what a session that is at work has done beyond what the run's row says."""
    counts = outcome_counts(connection, run.run_id)
    planned = connection.scalar(sa.select(tables.plan.c.conversations).where(tables.plan.c.plan_id == run.plan_id)) or 0
    elapsed = run.worked_seconds + (worked.seconds if worked else 0.0)
    if worked is not None and worked.messages:
        messages, seconds = worked.messages, worked.seconds - worked.held_seconds
    else:
        messages = sum(c.messages for outcome, c in counts.items() if outcome.startswith("rewrapped"))
        seconds = elapsed - run.held_seconds
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
        waiting=run.waiting if run.state in AT_WORK else None,
        max_rate=run.max_rate if run.state in AT_WORK else None,
        pending=planned - sum(count.conversations for count in counts.values()),
        retry_of=run.retry.run_id if run.retry else None,
        limits=run.limits.shown(),
        stuck_since=attendance(connection, run).stuck_since,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What the workers of a run's present generation have committed, and what holds them up."""

    messages: int
    failures: int
    held_seconds: float
    """Of all workers together."""
    waiting: str | None
    """What one of them waits for."""
    database: Metered = NOTHING
    keys: Metered = NOTHING
    """What they have found of the load."""


_FOUND = ("commits", "commit_us", "database_errors", "key_calls", "key_us", "key_errors")


def committed(connection: sa.Connection, run: Run) -> Committed:
    """The sums over the shards of a run's generation."""
    shard = tables.shard
    row = connection.execute(
        sa.select(
            sa.func.sum(shard.c.messages),
            sa.func.sum(shard.c.failures),
            sa.func.sum(shard.c.held_ms),
            sa.func.max(shard.c.waiting),
            *[sa.func.sum(shard.c[name]) for name in _FOUND],
        ).where(shard.c.run_id == run.run_id, shard.c.generation == run.generation)
    ).one()
    messages, failures, held_ms, waiting, *found = row
    counted = [int(number or 0) for number in found]
    return Committed(
        messages=int(messages or 0),
        failures=int(failures or 0),
        held_seconds=float(held_ms or 0) / 1000,
        waiting=waiting,
        database=Metered(*counted[:3]),
        keys=Metered(*counted[3:]),
    )


def lease_holder(campaign: Campaign) -> LeaseHolder | None:
    """Who works on the campaign at this moment."""
    with campaign.database.read() as connection:
        return holder_of(connection, campaign.name)


def why_it_waits(campaign: Campaign, run: RunSummary) -> str:
    """One sentence on what the run waits for, for people."""
    with campaign.database.read() as connection:
        found = attendance(connection, find(connection, run.run_id))
    if found.stuck_since is not None:
        return _stuck(run.state, found, found.stuck_since)
    match run.state:
        case RunState.RUNNING:
            at_work = f"waiting: {run.waiting}" if run.waiting else f"at work: {_who(found)}"
            return at_work if run.max_rate is None else f"{at_work}; paced to {run.max_rate:,.10g} messages/s"
        case RunState.PAUSING:
            return f"pausing: its workers leave at their next commit ({_who(found)})"
        case RunState.ABORTING:
            return f"aborting: what is half done is being removed ({_who(found)})"
        case RunState.STOPPED:
            why = _STOPPED[run.stop_reason] if run.stop_reason else "stopped: `migrator resume` goes on"
            return f"{run.stop_detail}; {why}" if run.stop_detail else why
        case RunState.COMPLETED:
            return "complete: `migrator verify` proves it"
        case RunState.ROLLING_BACK:
            return "being rolled back: `migrator rollback` goes on where it was left"
        case RunState.ROLLED_BACK:
            return "rolled back: a new plan would begin afresh"


def _who(found: Attendance) -> str:
    return found.holder.holder if found.holder is not None else "nobody"


def _stuck(state: RunState, found: Attendance, since: datetime) -> str:
    """What to do about a run of which nothing is heard: its process is dead, or out of reach."""
    way = "`migrator abort` finishes it" if state is RunState.ABORTING else "`migrator resume` goes on"
    if found.holder is None:
        return f"stuck since {format_time(since)}: its process was killed: {way}"
    return (
        f"stuck since {format_time(since)}: no heartbeat of {found.holder.holder}; where that is gone for good, "
        f"`migrator unlock`, and then {way}"
    )


_STOPPED = {
    StopReason.INTERRUPTED: "interrupted by an operator: `migrator resume` goes on",
    StopReason.TERMINATED: "terminated by a signal: `migrator resume` goes on",
    StopReason.MAX_DURATION: "its time was over: `migrator resume` goes on",
    StopReason.ERROR_BUDGET: "too many conversations failed: look at `migrator report`, then `migrator resume`",
    StopReason.SERVICE_DOWN: "a service it needs is down: when it is back, `migrator resume` goes on",
    StopReason.AUDIT_LOG: "the audit log can't be written: mend it, then `migrator resume` goes on",
    StopReason.PAUSED: "paused by an operator: `migrator resume` goes on",
    StopReason.ABORTED: "aborted by an operator, without what was half done: `migrator resume` goes on",
    StopReason.CRITICAL_LOAD: "a service it needs was overloaded: when it is not, `migrator resume` goes on",
}
