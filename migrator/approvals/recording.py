"""Keeps approvals, each with its event, and revokes them until the plan is executed."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from migrator.approvals import standing
from migrator.approvals.rehearsals import RehearsalReport
from migrator.approvals.signing import NAMESPACE
from migrator.approvals.standing import Rehearsal, Standing
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core import sshsig
from migrator.core.clock import format_time
from migrator.core.errors import GateError, PlanError, UsageError
from migrator.core.sshsig import SshSignature, SshSignatureError
from migrator.database import tables
from migrator.planning.stored import StoredPlan

_MAX_REASON: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A plan's approvals after a command; `already`: it had this one."""

    plan_id: str
    digest: str
    approvals: tuple[Standing, ...]
    rehearsal: Rehearsal | None
    signer: str
    already: bool = False


def approve(
    campaign: Campaign,
    plan: StoredPlan,
    signature: bytes,
    *,
    rehearsed: RehearsalReport | None = None,
    waiver: str | None = None,
) -> Approved:
    """Record an operator's approval; with the first comes the plan's rehearsal, or the reason to do without one.

    `GateError` where the signature is not an allowed signer's over this plan, or where the plan is neither rehearsed
    nor waived; `PlanError` where it was executed.
    """
    digest = plan.digest
    now = campaign.clock.now()
    try:
        parsed = SshSignature.parse(signature)
        parsed.require_valid(digest.encode(), NAMESPACE)
        signer = standing.signer_of(parsed, standing.allowed(campaign.spec), now)
    except SshSignatureError as error:
        raise GateError(f"this approves nothing: {error}", hint=_hint(campaign)) from None
    fingerprint = sshsig.fingerprint(parsed.public_key)
    table = tables.approval
    with campaign.database.write("approve") as connection:
        _require_waiting(connection, plan.plan_id)
        events = _record_rehearsal(connection, campaign, plan.plan_id, rehearsed, waiver)
        before = standing.standing(connection, campaign, plan.plan_id, digest)
        already = any(not one.objection and one.fingerprint == fingerprint for one in before)
        if not already:
            connection.execute(
                table.insert().values(
                    plan_id=plan.plan_id, signer=signer.name, fingerprint=fingerprint,
                    signature=signature.decode("ascii"), approved_at=format_time(now), recorded_by=campaign.actor,
                )
            )  # fmt: skip
            data = {"digest": digest, "signer": signer.name, "key": fingerprint}
            events.append(Event(type=EventType.PLAN_APPROVED, subject=plan.plan_id, data=data))
        outbox.record(connection, events, actor=campaign.actor, now=now)
        result = _result(connection, campaign, plan, signer.name, already=already)
    campaign.audit.flush()
    return result


def revoke(campaign: Campaign, plan: StoredPlan, signer: str) -> Approved:
    """Take back what an operator approved; any operator may, as long as the plan was not executed."""
    now = campaign.clock.now()
    table = tables.approval
    with campaign.database.write("revoke-approval") as connection:
        _require_waiting(connection, plan.plan_id)
        revoked = connection.execute(
            table.update()
            .where(table.c.plan_id == plan.plan_id, table.c.signer == signer, table.c.revoked_at.is_(None))
            .values(revoked_at=format_time(now))
        )
        if revoked.rowcount:
            data = {"digest": plan.digest, "signer": signer}
            event = Event(type=EventType.APPROVAL_REVOKED, subject=plan.plan_id, data=data)
            outbox.record(connection, [event], actor=campaign.actor, now=now)
        elif not _was_there(connection, plan.plan_id, signer):
            raise UsageError(
                f"{plan.plan_id} has no approval by {signer!r}", hint=f"`migrator show {plan.plan_id}` lists them"
            )
        result = _result(connection, campaign, plan, signer, already=not revoked.rowcount)
    campaign.audit.flush()
    return result


def overview(campaign: Campaign, plan: StoredPlan) -> Approved:
    """The approvals that a plan has now."""
    with campaign.database.read() as connection:
        return _result(connection, campaign, plan, "", already=True)


def _result(connection: sa.Connection, campaign: Campaign, plan: StoredPlan, signer: str, *, already: bool) -> Approved:
    digest = plan.digest
    return Approved(
        plan_id=plan.plan_id,
        digest=digest,
        approvals=tuple(standing.standing(connection, campaign, plan.plan_id, digest)),
        rehearsal=standing.rehearsal(connection, plan.plan_id),
        signer=signer,
        already=already,
    )


def _require_waiting(connection: sa.Connection, plan_id: str) -> None:
    """Hold the plan's row, so that it is not executed at this moment; `PlanError` where it was."""
    table = tables.plan
    consumed_by = connection.scalar(sa.select(table.c.consumed_by).where(table.c.plan_id == plan_id).with_for_update())
    if consumed_by is not None:
        raise PlanError(
            f"plan {plan_id} was executed by run {consumed_by}: it can't be approved or revoked any more",
            hint=f"`migrator status {consumed_by}` shows the run",
        )


def _record_rehearsal(
    connection: sa.Connection, campaign: Campaign, plan_id: str, rehearsed: RehearsalReport | None, waiver: str | None
) -> list[Event]:
    """Keep what the plan rests on, once; the event of a waiver. The same again is fine, another is refused."""
    waiver = waiver.strip() if waiver is not None else None
    if standing.rehearsal(connection, plan_id) is not None:
        _refuse_another(connection, plan_id, rehearsed, waiver)
        return []
    if rehearsed is None and not waiver:
        raise GateError(
            f"{plan_id} was neither rehearsed in staging nor is that waived",
            hint="the first approval brings --rehearsal DIR, a report that staging saved, or --waive-rehearsal REASON",
        )
    if waiver is not None and len(waiver) > _MAX_REASON:
        raise UsageError(f"a reason has at most {_MAX_REASON:,} characters", hint="say it in fewer words")
    connection.execute(
        tables.rehearsal.insert().values(
            plan_id=plan_id,
            run_id=rehearsed.run_id if rehearsed else None,
            summary_sha256=rehearsed.summary_sha256 if rehearsed else None,
            waiver=None if rehearsed else waiver,
            recorded_at=format_time(campaign.clock.now()),
            recorded_by=campaign.actor,
        )
    )
    if rehearsed is not None:
        return []
    data = {"override": "rehearsal", "reason": waiver}
    return [Event(type=EventType.OVERRIDE_USED, subject=plan_id, data=data)]


def _refuse_another(
    connection: sa.Connection, plan_id: str, rehearsed: RehearsalReport | None, waiver: str | None
) -> None:
    """Whoever brings a rehearsal or a waiver of their own would believe that the plan rests on that."""
    table = tables.rehearsal
    row = connection.execute(sa.select(table).where(table.c.plan_id == plan_id)).one()
    given = (rehearsed.summary_sha256 if rehearsed else None), (None if rehearsed else waiver)
    if given not in ((None, None), (row.summary_sha256, row.waiver and row.waiver.strip())):
        rests = f"its rehearsal is waived ({row.waiver})" if row.waiver else f"it rests on the rehearsal {row.run_id}"
        raise GateError(
            f"{plan_id} has an approval already by which {rests}, recorded by {row.recorded_by}",
            hint="who agrees approves without --rehearsal and --waive-rehearsal; who does not makes a new plan",
        )


def _was_there(connection: sa.Connection, plan_id: str, signer: str) -> bool:
    table = tables.approval
    query = sa.select(table.c.approval_no).where(table.c.plan_id == plan_id, table.c.signer == signer).limit(1)
    return connection.scalar(query) is not None


def _hint(campaign: Campaign) -> str:
    return (
        f"who may approve stands in {campaign.settings.approval.allowed_signers}, with `namespaces` if any: {NAMESPACE}"
    )
