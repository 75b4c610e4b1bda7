"""What the next steps of a campaign follow from (`core.next_steps`), read from its rows."""

import json
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from migrator.approvals import standing
from migrator.audit.events import EventType
from migrator.campaign import Campaign
from migrator.core.clock import parse_time
from migrator.core.errors import ConfigError
from migrator.core.lifecycle import RunState
from migrator.core.next_steps import Situation, Stage, Verified, Waiting
from migrator.database import tables
from migrator.execution.runs import Run

STAGES: Final = {
    RunState.STOPPED: Stage.STOPPED,
    RunState.COMPLETED: Stage.COMPLETED,
    RunState.ROLLING_BACK: Stage.ROLLING_BACK,
    RunState.ROLLED_BACK: Stage.ROLLED_BACK,
}
"""Of a run that is neither at work nor killed."""


def situation(connection: sa.Connection, campaign: Campaign, run: Run | None, *, alive: bool) -> Situation:
    """As of the caller's transaction. `alive`: whether somebody lives who works on the campaign."""
    settings = campaign.settings.campaign
    finalizations = {row.what: row.state for row in connection.execute(_finalizations())}
    if run is not None:
        table = tables.run
        finished = connection.scalar(sa.select(table.c.finished_at).where(table.c.run_id == run.run_id))
        newest = connection.scalar(sa.select(table.c.run_id).order_by(table.c.run_no.desc()).limit(1))
    return Situation(
        cutover_at=settings.cutover_at,
        rollback_window=timedelta(days=settings.rollback_window_days),
        sealed_grace=timedelta(days=settings.sealed_grace_days),
        plan=_waiting_plan(connection, campaign),
        run_id=run.run_id if run else None,
        stage=_stage(run, alive=alive) if run else None,
        latest=run is None or newest == run.run_id,
        finished_at=parse_time(finished) if run is not None and finished else None,
        verified=_verified(connection, run.run_id) if run else Verified.NO,
        final=bool(finalizations),
        unfinished_finalization=any(state != "completed" for state in finalizations.values()),
        shredded=finalizations.get("sealed") == "completed",
    )


def _stage(run: Run, *, alive: bool) -> Stage:
    found = STAGES.get(run.state)
    return found or (Stage.AT_WORK if alive else Stage.KILLED)


def _finalizations() -> sa.Select[tuple[str, str]]:
    """The newest of a kind comes last."""
    table = tables.finalization
    return sa.select(table.c.what, table.c.state).order_by(table.c.finalization_no)


def _waiting_plan(connection: sa.Connection, campaign: Campaign) -> Waiting | None:
    """The newest plan, where nobody has executed it."""
    table = tables.plan
    query = sa.select(table.c.plan_id, table.c.digest, table.c.state, table.c.consumed_by).where(
        table.c.state != "making"
    )
    row = connection.execute(query.order_by(table.c.plan_no.desc()).limit(1)).one_or_none()
    if row is None or row.consumed_by is not None or row.state != "ready":
        return None
    if not campaign.in_production:
        return Waiting(plan_id=row.plan_id)
    try:
        approvals = standing.standing(connection, campaign, row.plan_id, row.digest)
    except ConfigError:  # preflight and execute say what is wrong with the file of operators
        approvals = []
    signers = [approval.signer for approval in approvals if approval.signer is not None]
    enough = any(standing.different(one, other) for one in signers for other in signers)
    return Waiting(
        plan_id=row.plan_id,
        approvals_missing=0 if enough else standing.REQUIRED - bool(signers),
        rehearsal_missing=standing.rehearsal(connection, row.plan_id) is None,
    )


def _verified(connection: sa.Connection, run_id: str) -> Verified:
    """By the newest finished verification, in the order of their events, as `finalize` has it.

    The events are found by their subject, which has an index.
    """
    event, table = tables.outbox, tables.verification
    newest = connection.scalar(
        sa.select(event.c.data)
        .where(event.c.subject == run_id, event.c.type == EventType.VERIFICATION_COMPLETED.value)
        .order_by(event.c.outbox_no.desc())
        .limit(1)
    )
    if newest is None:
        return Verified.NO
    row = connection.execute(
        sa.select(table.c.ok, table.c.sample).where(table.c.verification_id == json.loads(newest)["verification_id"])
    ).one_or_none()
    if row is None:
        return Verified.NO
    if not row.ok:
        return Verified.MISMATCH
    return Verified.WHOLLY if row.sample == "all" else Verified.PARTLY
