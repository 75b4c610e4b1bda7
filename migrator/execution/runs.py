"""A run's row: how it begins, is resumed, limited, told to stop, and ends. States: `migrator.core.lifecycle`."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from migrator.approvals.standing import require_approved
from migrator.audit import outbox
from migrator.audit.events import Event, EventData, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError, LeaseHeldError, PlanError
from migrator.core.lifecycle import RunState, StopReason, require_transition
from migrator.core.run_limits import UNLIMITED, RunLimits, differences
from migrator.database import locks, tables
from migrator.execution.assignment import OutcomeCount, Retry
from migrator.execution.half_done import forget_staged
from migrator.execution.run import Run, RunSummary, Worked, find
from migrator.planning.stored import StoredPlan

__all__ = [
    "Run", "RunSummary", "Worked", "begin", "complete", "find", "limit", "note", "outcome_counts", "record_stop",
    "request_stop", "stop", "take_up",
]  # fmt: skip


def begin(
    campaign: Campaign,
    plan: StoredPlan,
    *,
    limits: RunLimits = UNLIMITED,
    lease_token: int | None = None,
    retry: Retry | None = None,
) -> Run:
    """Consume a plan: from here on it belongs to this run. `lease_token`: of the lease that the caller holds."""
    now = campaign.clock.now()
    run_id = f"run-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    run, table = tables.run, tables.plan
    with campaign.database.write("run-begin") as connection:
        consumed = connection.execute(
            table.update()
            .where(table.c.plan_id == plan.plan_id, table.c.consumed_by.is_(None))
            .values(consumed_by=run_id)
        )
        if consumed.rowcount != 1:
            raise PlanError(f"plan {plan.plan_id} was executed at this moment", hint="`migrator status` shows by what")
        require_approved(connection, campaign, plan.plan_id, plan.digest)
        _require_not_finalizing(connection)
        forget_staged(connection)
        connection.execute(
            run.insert().values(
                run_id=run_id,
                run_no=(connection.scalar(sa.select(sa.func.max(run.c.run_no))) or 0) + 1,
                plan_id=plan.plan_id,
                state=RunState.RUNNING.value,
                stop_reason=None,
                generation=1,
                started_at=format_time(now),
                worked_ms=0,
                max_rate=limits.rate,
                limits=limits.to_json(),
                lease_token=lease_token,
                seen_at=_real_time(),
                retry_of=retry.run_id if retry else None,
                retry_outcomes=" ".join(retry.outcomes) if retry else None,
            )
        )
        data = {"plan_id": plan.plan_id, "digest": plan.digest}
        if retry is not None:
            data["retry_of"] = retry.run_id
        _record(connection, campaign, run_id, EventType.RUN_STARTED, data)
        return find(connection, run_id)


def _require_not_finalizing(connection: sa.Connection) -> None:
    """A finalisation passed its gates for the runs of its time: what a new one migrates was never verified."""
    table = tables.finalization
    found = connection.scalar(sa.select(table.c.finalization_id).where(table.c.state != "completed").limit(1))
    if found is not None:
        raise GateError(f"{found} is unfinished: nothing is migrated beside it", hint="`migrator finalize` ends it")


def take_up(
    campaign: Campaign, run_id: str, *, changes: Mapping[str, str] | None = None, lease_token: int | None = None
) -> Run:
    """Go on with a run that stopped or was killed, as a new generation: older workers are fenced off.

    `changes`: limits that are other ones from now on, by name.
    """
    table = tables.run
    with campaign.database.write("run-resume") as connection:
        locks.ahead_of_sharers(connection, table)
        run = find(connection, run_id)
        require_transition(run.run_id, run.state, RunState.RUNNING)
        forget_staged(connection)
        connection.execute(
            table.update()
            .where(table.c.run_id == run_id)
            .values(
                state=RunState.RUNNING.value,
                stop_reason=None,
                stop_detail=None,
                waiting=None,
                throttled=False,
                generation=run.generation + 1,
                lease_token=lease_token,
                seen_at=_real_time(),
            )
        )
        _record(connection, campaign, run_id, EventType.RUN_RESUMED, {"generation": run.generation + 1})
        limit(connection, campaign, run, run.limits.but(changes or {}))
        return find(connection, run_id)


def request_stop(campaign: Campaign, run: Run, reason: StopReason) -> None:
    """Tell the workers of this generation: they leave at their next commit."""
    table = tables.run
    with campaign.database.write("run-stop-request") as connection:
        locks.ahead_of_sharers(connection, table)
        connection.execute(
            table.update()
            .where(table.c.run_id == run.run_id, table.c.generation == run.generation)
            .values(stop_reason=reason.value)
        )


def limit(connection: sa.Connection, campaign: Campaign, run: Run, limits: RunLimits) -> dict[str, tuple[str, str]]:
    """Give a run other limits, with their event, in the caller's transaction, which holds its row.

    What was changed: by name, what it was and what it is; where nothing is, nothing is written.
    """
    found = differences(run.limits, limits)
    if found:
        table = tables.run
        connection.execute(
            table.update().where(table.c.run_id == run.run_id).values(limits=limits.to_json(), max_rate=limits.rate)
        )
        data = {
            "old": {name: old for name, (old, _) in found.items()},
            "new": {name: new for name, (_, new) in found.items()},
        }
        _record(connection, campaign, run.run_id, EventType.RUN_LIMITS_CHANGED, data)
    return found


def note(campaign: Campaign, run: Run, *, waiting: str | None, sharing: int, throttled: bool = False) -> None:
    """Keep for whoever looks what the run waits for (None: it works), and how many workers share its limit.

    `throttled`: no worker begins anything until it is told otherwise.
    """
    table = tables.run
    with campaign.database.write("run-note") as connection:
        locks.ahead_of_sharers(connection, table)
        connection.execute(
            table.update()
            .where(table.c.run_id == run.run_id, table.c.generation == run.generation)
            .values(waiting=waiting, sharing=max(1, sharing), throttled=throttled, seen_at=_real_time())
        )


def stop(campaign: Campaign, run: Run, reason: StopReason, worked: Worked, *, detail: str | None = None) -> bool:
    """The run rests, resumable. `detail`: the error that stopped it, for people.

    False, and nothing changed, where it was told to abort meanwhile: what is half done has to go first.
    """
    with campaign.database.write("run-stop") as connection:
        locks.ahead_of_sharers(connection, tables.run)
        if reason is not StopReason.ABORTED and find(connection, run.run_id).state is RunState.ABORTING:
            return False
        _end(connection, campaign, run, RunState.STOPPED, reason, worked, detail)
        record_stop(connection, campaign, run.run_id, reason)
    return True


def complete(campaign: Campaign, run: Run, counts: Mapping[str, OutcomeCount], worked: Worked) -> None:
    """Every conversation of the plan has its outcome."""
    with campaign.database.write("run-complete") as connection:
        _end(connection, campaign, run, RunState.COMPLETED, None, worked)
        data = {outcome: count.conversations for outcome, count in sorted(counts.items())}
        _record(connection, campaign, run.run_id, EventType.RUN_COMPLETED, {"counts": data})


def outcome_counts(connection: sa.Connection, run_id: str) -> dict[str, OutcomeCount]:
    """Counts by outcome, from the rows themselves."""
    item = tables.item
    query = (
        sa.select(item.c.outcome, sa.func.count(), sa.func.sum(item.c.messages), sa.func.sum(item.c.gaps))
        .where(item.c.run_id == run_id)
        .group_by(item.c.outcome)
    )
    return {
        outcome: OutcomeCount(conversations, int(messages), int(gaps))
        for outcome, conversations, messages, gaps in connection.execute(query)
    }


def _end(
    connection: sa.Connection,
    campaign: Campaign,
    run: Run,
    state: RunState,
    reason: StopReason | None,
    worked: Worked,
    detail: str | None = None,
) -> None:
    table = tables.run
    locks.ahead_of_sharers(connection, table)
    now = find(connection, run.run_id)
    if now.generation != run.generation:
        raise LeaseHeldError(
            f"another process has taken up run {run.run_id}", hint="`migrator status` shows where it stands"
        )
    require_transition(run.run_id, now.state, state)
    connection.execute(
        table.update()
        .where(table.c.run_id == run.run_id)
        .values(
            state=state.value,
            stop_reason=reason.value if reason else None,
            stop_detail=detail,
            waiting=None,
            throttled=False,
            finished_at=format_time(campaign.clock.now()) if state is RunState.COMPLETED else None,
            worked_ms=round((run.worked_seconds + worked.seconds) * 1000),
            held_ms=round((run.held_seconds + worked.held_seconds) * 1000),
        )
    )


def record_stop(connection: sa.Connection, campaign: Campaign, run_id: str, reason: StopReason) -> None:
    """The event of a run that rests."""
    kind = EventType.RUN_ABORTED if reason is StopReason.ABORTED else EventType.RUN_PAUSED
    _record(connection, campaign, run_id, kind, {"reason": reason.value})


def _real_time() -> str:
    """As leases have it: never the campaign's clock."""
    return format_time(datetime.now(UTC))


def _record(
    connection: sa.Connection,
    campaign: Campaign,
    run_id: str,
    kind: EventType,
    data: EventData,
) -> None:
    event = Event(type=kind, subject=run_id, run_id=run_id, data=data)
    outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
