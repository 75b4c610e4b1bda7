"""When a campaign may be made final; each check raises `GateError`, and none can be passed over.

1. An operator has typed the campaign's name, in staging as well: nothing brings ciphertext back.
2. No run is unfinished, and the run that was named is the latest: nobody finalises what they did not mean.
3. Every run whose conversations readers see was completed before the rollback window began, and its newest
   verification opened all of it and found nothing wrong.
4. The source is the one that the latest run was planned for: a wrong `source.url` deletes nothing elsewhere.
5. No conversation was only ever left out of cohorts and limits: with its owner's export it could never be migrated.
6. For what stayed sealed: its grace period is over.
"""

import json
from datetime import datetime, timedelta

import sqlalchemy as sa

from migrator import left_out
from migrator.audit.events import EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time, parse_time
from migrator.core.errors import GateError
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.database.clock import database_time
from migrator.execution import runs
from migrator.execution.runs import Run
from migrator.finalization import state
from migrator.finalization.state import What


def require_confirmed(campaign: Campaign, confirm: str | None) -> None:
    """The campaign's name, whole."""
    if confirm != campaign.name:
        raise GateError(
            "making a campaign final asks for its name",
            hint=f"type it when asked, or give --confirm {campaign.name}; --dry-run shows what would go",
        )


def require_source(connection: sa.Connection, campaign: Campaign) -> None:
    """The source that the latest run was planned for; one that was moved gets a plan and a run of its own first."""
    run, plan = tables.run, tables.plan
    document = connection.scalar(
        sa.select(plan.c.document).join(run, run.c.plan_id == plan.c.plan_id).order_by(run.c.run_no.desc()).limit(1)
    )
    if document is not None and json.loads(document)["source"]["identity_sha256"] != campaign.store.identity():
        raise GateError(
            "the source is not the one that was migrated",
            hint="check source.url; for a source that was moved, plan, execute and verify once more",
        )


def require_final(connection: sa.Connection, campaign: Campaign, run_id: str | None) -> Run:
    """The latest run, if everything that readers see was verified and can't be wanted back any more."""
    latest = runs.find(connection, None)
    if run_id is not None and run_id != latest.run_id:
        raise GateError(f"{run_id} is not the latest run", hint=f"`migrator finalize {latest.run_id}` means the latest")
    run = tables.run
    unfinished = connection.scalar(
        sa.select(run.c.run_id)
        .where(run.c.state.not_in((RunState.COMPLETED.value, RunState.ROLLED_BACK.value)))
        .order_by(run.c.run_no)
        .limit(1)
    )
    if unfinished is not None:
        raise GateError(f"run {unfinished} is unfinished", hint=f"`migrator resume {unfinished}`, or roll it back")
    conversation = tables.conversation
    showing = sa.select(conversation.c.run_id).where(conversation.c.mode == "server").distinct()
    for row in connection.execute(sa.select(run).where(run.c.run_id.in_(showing)).order_by(run.c.run_no)):
        _require_window_over(connection, campaign, row.run_id, parse_time(row.finished_at))
        _require_verified(connection, row.run_id)
    return latest


def require_retired_before(connection: sa.Connection) -> None:
    """What was migrated is final first."""
    row = state.newest(connection, What.MIGRATED)
    if row is None or not row.completed:
        raise GateError(
            "what was migrated is not final yet", hint="`migrator finalize` first; then `migrator finalize --sealed`"
        )


def require_all_decided(connection: sa.Connection) -> None:
    """A campaign is final for everybody: exports and recipient keys go with what was migrated."""
    waiting = left_out.count(connection)
    if waiting:
        raise GateError(
            f"no run decided about {waiting} conversations: they were only ever out of a cohort, limit or retry",
            hint="`migrator plan` without --cohort and --limit, execute that, and verify",
        )


def grace_ends(campaign: Campaign) -> datetime:
    """Until then what stayed sealed is kept: its owners may still fetch it."""
    settings = campaign.settings.campaign
    return settings.cutover_at + timedelta(days=settings.sealed_grace_days)


def require_grace_over(connection: sa.Connection, campaign: Campaign) -> None:
    """What stayed sealed is kept until then: its owners may still fetch it."""
    end = grace_ends(campaign)
    if _now(connection, campaign) < end:
        raise GateError(
            f"what stayed sealed is kept until {format_time(end)}",
            hint="campaign.sealed_grace_days after the cutover; until then its owners may fetch it",
        )


def _require_window_over(connection: sa.Connection, campaign: Campaign, run_id: str, finished: datetime) -> None:
    end = finished + timedelta(days=campaign.settings.campaign.rollback_window_days)
    if _now(connection, campaign) < end:
        raise GateError(
            f"run {run_id} may be rolled back until {format_time(end)}",
            hint="campaign.rollback_window_days after its end; `migrator rollback` undoes it",
        )


def _require_verified(connection: sa.Connection, run_id: str) -> None:
    """By the newest finished verification, in the order of their events."""
    event, table = tables.outbox, tables.verification
    newest = connection.scalar(
        sa.select(event.c.data)
        .where(event.c.run_id == run_id, event.c.type == EventType.VERIFICATION_COMPLETED.value)
        .order_by(event.c.outbox_no.desc())
        .limit(1)
    )
    row = None
    if newest is not None:
        verification_id = json.loads(newest)["verification_id"]
        row = connection.execute(
            sa.select(table.c.ok, table.c.sample).where(table.c.verification_id == verification_id)
        ).one_or_none()
    if row is None:
        lacking = "it was not verified"
    elif not row.ok:
        lacking = "its verification found a mismatch"
    elif row.sample != "all":
        lacking = f"only {row.sample} of it was opened"
    else:
        return
    raise GateError(
        f"run {run_id} has not passed a whole verification: {lacking}", hint=f"`migrator verify {run_id} --all`"
    )


def _now(connection: sa.Connection, campaign: Campaign) -> datetime:
    """The earlier of two clocks in production: one that runs ahead ends no period."""
    now = campaign.clock.now()
    return min(now, database_time(connection)) if campaign.in_production else now
