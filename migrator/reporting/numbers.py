"""The summary of a run: every number is counted from the rows, in one read transaction (G6).

No ids of accounts or conversations, no content: what it says may be shown to anybody who may see the campaign.
"""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from migrator import __version__, config
from migrator.audit.events import EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.execution import runs
from migrator.execution.runs import Run
from migrator.notices import status
from migrator.reporting.four_eyes import approvals_of

SCHEMA: Final = "migrator.report/1"


def summary(campaign: Campaign, run_id: str | None) -> dict[str, Any]:
    """The summary of a run, the latest unless one is named."""
    with campaign.database.read() as connection:
        return summary_of(campaign, connection, runs.find(connection, run_id))


def summary_of(campaign: Campaign, connection: sa.Connection, run: Run) -> dict[str, Any]:
    """The summary of a run as one transaction sees it."""
    outcomes = {
        outcome: count.to_json() for outcome, count in sorted(runs.outcome_counts(connection, run.run_id).items())
    }
    plan = _plan(connection, run.plan_id)
    history = _server_history(connection, run.run_id)
    return {
        "schema": SCHEMA,
        "campaign": campaign.name,
        "environment": campaign.settings.campaign.environment.value,
        "cutover_at": format_time(campaign.settings.campaign.cutover_at),
        "created_at": format_time(campaign.clock.now()),
        "tool_version": __version__,
        "rules_sha256": config.rules_digest(campaign.settings),
        "run": _run(connection, run),
        "plan": plan,
        "approvals": approvals_of(connection, run.plan_id, plan["digest"]),
        "outcomes": outcomes,
        "totals": _totals(outcomes),
        "pending": plan["conversations"] - sum(count["conversations"] for count in outcomes.values()),
        "server_history": history,
        "gaps": _gaps(connection, run.run_id),
        "attachments": _attachments(connection, run.run_id),
        "data_keys": _data_keys(connection),
        "authorizations": _authorizations(connection),
        "exports": _exports(connection),
        "notices": _counts(connection, tables.notice.c.state),
        "notice_campaign": _notice_campaign(connection, campaign.clock.now()),
        "verification": _verification(connection, run.run_id),
        "audit": _audit(campaign, connection, run.run_id),
        "reconciles": _reconciles(run, outcomes, plan, history),
    }


def _run(connection: sa.Connection, run: Run) -> dict[str, Any]:
    finished_at = connection.scalar(sa.select(tables.run.c.finished_at).where(tables.run.c.run_id == run.run_id))
    return {
        "run_id": run.run_id,
        "state": run.state.value,
        "stop_reason": run.stop_reason.value if run.stop_reason else None,
        "started_at": format_time(run.started_at),
        "finished_at": finished_at,
        "worked_seconds": run.worked_seconds,
        "sessions": run.generation,
        "retry_of": run.retry.run_id if run.retry else None,
        "retry_outcomes": list(run.retry.outcomes) if run.retry else None,
    }


def _plan(connection: sa.Connection, plan_id: str) -> dict[str, Any]:
    table = tables.plan
    row = connection.execute(sa.select(table).where(table.c.plan_id == plan_id)).one()
    document = json.loads(row.document)
    return {
        "plan_id": plan_id,
        "digest": row.digest,
        "created_at": row.created_at,
        "decided_as_of": row.decided_as_of,
        "conversations": row.conversations,
        "messages": row.messages,
        "counts": document.get("counts"),
        "coverage": document.get("coverage"),
        **{name: document.get(name) for name in ("cohort", "limit", "extend", "arrivals")},
    }


def _totals(outcomes: dict[str, dict[str, int]]) -> dict[str, int]:
    return {what: sum(count[what] for count in outcomes.values()) for what in ("conversations", "messages", "gaps")}


def _server_history(connection: sa.Connection, run_id: str) -> dict[str, int]:
    """What this run shows now: as the conversations count it, and as the rows themselves are counted."""
    conversation = tables.conversation
    mine = (conversation.c.run_id == run_id, conversation.c.mode == "server")
    conversations, messages, gaps = connection.execute(
        sa.select(
            sa.func.count(), sa.func.sum(conversation.c.message_count), sa.func.sum(conversation.c.gap_count)
        ).where(*mine)
    ).one()
    rows = {}
    for name, table in (("message_rows", tables.message), ("gap_rows", tables.gap)):
        query = sa.select(sa.func.count()).join_from(
            conversation, table, table.c.conversation_no == conversation.c.conversation_no
        )
        rows[name] = connection.scalar(query.where(*mine)) or 0
    gone = sa.select(sa.func.count()).where(conversation.c.run_id == run_id, conversation.c.mode == "destroyed")
    return {
        "conversations": conversations,
        "messages": int(messages or 0),
        "gaps": int(gaps or 0),
        **rows,
        "destroyed_conversations": connection.scalar(gone) or 0,
    }


def _gaps(connection: sa.Connection, run_id: str) -> dict[str, int]:
    gap, conversation = tables.gap, tables.conversation
    query = (
        sa.select(gap.c.reason, sa.func.count())
        .join(conversation, conversation.c.conversation_no == gap.c.conversation_no)
        .where(conversation.c.run_id == run_id, conversation.c.mode == "server")
        .group_by(gap.c.reason)
        .order_by(gap.c.reason)
    )
    return dict(connection.execute(query).all())


def _attachments(connection: sa.Connection, run_id: str) -> dict[str, Any]:
    """Attachments of the conversations that this run shows: sealed ones with the bytes of their content, and gaps."""
    table, conversation = tables.attachment, tables.conversation
    query = (
        sa.select(table.c.reason, sa.func.count(), sa.func.sum(table.c.size))
        .join(conversation, conversation.c.conversation_no == table.c.conversation_no)
        .where(conversation.c.run_id == run_id, conversation.c.mode == "server", table.c.staged.is_(False))
        .group_by(table.c.reason)
        .order_by(table.c.reason)
    )
    found: dict[str, Any] = {"sealed": 0, "bytes": 0, "gaps": {}}
    for reason, count, size in connection.execute(query):
        if reason is None:
            found["sealed"], found["bytes"] = count, int(size or 0)
        else:
            found["gaps"][reason] = count
    return found


def _data_keys(connection: sa.Connection) -> dict[str, Any]:
    """Data keys of the campaign, by the key service that wrapped them."""
    table = tables.data_key
    living = table.c.wrapped_keyset.is_not(None)
    query = (
        sa.select(table.c.key_service, living, sa.func.count())
        .group_by(table.c.key_service, living)
        .order_by(table.c.key_service)
    )
    found: dict[str, Any] = {"living": 0, "destroyed": 0, "by_key_service": {}}
    for service, alive, count in connection.execute(query):
        state = "living" if alive else "destroyed"
        found[state] += count
        found["by_key_service"].setdefault(service, {"living": 0, "destroyed": 0})[state] = count
    return found


def _authorizations(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Records by answer; those that a consent service signed stand apart."""
    table = tables.authorization
    by_issuer = table.c.issuer.is_not(None)
    query = sa.select(by_issuer, table.c.answer, sa.func.count()).group_by(by_issuer, table.c.answer)
    found: dict[str, dict[str, int]] = {"signed_by_device": {}, "signed_by_issuer": {}}
    for issuer, answer, count in connection.execute(query.order_by(table.c.answer)):
        found["signed_by_issuer" if issuer else "signed_by_device"][answer] = count
    return found


def _exports(connection: sa.Connection) -> dict[str, Any]:
    table = tables.export
    refused: dict[str, int] = dict(
        connection.execute(
            sa.select(table.c.refused, sa.func.count())
            .where(table.c.refused.is_not(None))
            .group_by(table.c.refused)
            .order_by(table.c.refused)
        ).all()
    )
    return {"by_kind": _counts(connection, table.c.kind), "refused": refused}


def _counts(connection: sa.Connection, column: sa.Column[Any]) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).group_by(column).order_by(column)
    return dict(connection.execute(query).all())


def _notice_campaign(connection: sa.Connection, now: datetime) -> dict[str, Any]:
    """Each notice as `notify status` counts it, with the digests of its texts; no addresses, no accounts."""
    notice, template = tables.notice.c, tables.notice_template.c
    found: dict[str, Any] = {}
    for notice_id in connection.scalars(sa.select(notice.notice_id).distinct().order_by(notice.notice_id)).all():
        counted = asdict(status.counts(connection, notice_id, now))
        texts = sa.select(template.version, template.locale, template.sha256).where(template.notice_id == notice_id)
        counted["templates"] = {f"{version}.{locale}": sha256 for version, locale, sha256 in connection.execute(texts)}
        found[notice_id] = counted
    return found


def _verification(connection: sa.Connection, run_id: str) -> dict[str, Any] | None:
    """The run's newest finished verification, by the order of their events; else one that is under way."""
    table, event = tables.verification, tables.outbox
    newest = connection.scalar(
        sa.select(event.c.data)
        .where(event.c.run_id == run_id, event.c.type == EventType.VERIFICATION_COMPLETED.value)
        .order_by(event.c.outbox_no.desc())
        .limit(1)
    )
    query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.started_at.desc()).limit(1)
    if newest is not None:
        query = query.where(table.c.verification_id == json.loads(newest)["verification_id"])
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    checked = json.loads(row.checked)
    return {
        "verification_id": row.verification_id,
        "sample": row.sample,
        "ok": row.ok,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "mismatches": checked.pop("mismatches", 0),
        "checked": checked,
    }


def _audit(campaign: Campaign, connection: sa.Connection, run_id: str) -> dict[str, Any]:
    """How far the log goes, what still waits for it, and this run's events by type."""
    state, table = tables.audit_state, tables.outbox
    size = connection.scalar(sa.select(state.c.size).where(state.c.origin == campaign.settings.origin))
    waiting = connection.scalar(sa.select(sa.func.count()).where(table.c.seq.is_(None)))
    events = (sa.select(table.c.type, sa.func.count()).where(table.c.run_id == run_id).group_by(table.c.type)).order_by(
        table.c.type
    )
    return {
        "origin": campaign.settings.origin,
        "size": size or 0,
        "waiting": waiting or 0,
        "events": dict(connection.execute(events).all()),
    }


def _reconciles(run: Run, outcomes: dict[str, dict[str, int]], plan: dict[str, Any], history: dict[str, int]) -> bool:
    """Whether the numbers of this report agree with each other; `migrator verify` proves far more."""
    done = sum(count["conversations"] for count in outcomes.values())
    complete = done == plan["conversations"] if run.state is RunState.COMPLETED else done <= plan["conversations"]
    rows = history["messages"] == history["message_rows"] and history["gaps"] == history["gap_rows"]
    shown = [count for outcome, count in outcomes.items() if outcome.startswith("rewrapped")]
    # Later runs may have added to its conversations and taken them over; nothing of a rolled-back run is left.
    most = {what: sum(count[what] for count in shown) for what in ("conversations", "messages")}
    within = all(history[what] <= number for what, number in most.items())
    return complete and rows and within and (run.state is not RunState.ROLLED_BACK or history["conversations"] == 0)
