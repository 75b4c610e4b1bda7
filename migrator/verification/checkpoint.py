"""Where a verification stands, so that one that was killed goes on: a page of conversations is one transaction.

1. Only the verification of a completed run goes on where it was left; any other may have moved underneath.
2. A finished one is never touched again: the same run verified anew is a new verification.
3. Each save names the place that it goes on from (compare-and-swap), so two processes can't share one.
"""

import json
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.errors import RESUMABLE, LeaseHeldError
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.execution.runs import Run
from migrator.verification.findings import Findings, Mismatch, MismatchKind, Verification


@dataclass(slots=True)
class Checkpoint:
    """The row of one verification that is under way."""

    verification_id: str
    run: Run
    through_no: int
    findings: Findings


def begin(campaign: Campaign, run: Run, sample: str) -> Checkpoint:
    """A new verification, or the one that was interrupted."""
    table = tables.verification
    with campaign.database.write("verification-begin") as connection:
        unfinished = connection.execute(
            sa.select(table)
            .where(table.c.run_id == run.run_id, table.c.sample == sample, table.c.finished_at.is_(None))
            .order_by(table.c.started_at.desc(), table.c.verification_id)
            .limit(1)
        ).one_or_none()
        if unfinished is not None and run.state is RunState.COMPLETED:
            checked = json.loads(unfinished.checked)
            findings = Findings(mismatch_count=checked.pop("mismatches"))
            findings.checked.update(checked)
            return Checkpoint(unfinished.verification_id, run, unfinished.through_no, findings)
        now = campaign.clock.now()
        verification_id = f"verification-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        connection.execute(
            table.insert().values(
                verification_id=verification_id,
                run_id=run.run_id,
                sample=sample,
                through_no=0,
                checked=_text(Findings()),
                ok=None,
                started_at=format_time(now),
                finished_at=None,
            )
        )
    return Checkpoint(verification_id, run, 0, Findings())


def save(campaign: Campaign, checkpoint: Checkpoint, through_no: int) -> None:
    """Everything up to a conversation number is checked."""
    with campaign.database.write("verification-page") as connection:
        _save(connection, checkpoint, through_no)
    checkpoint.findings.unsaved.clear()


def finish(campaign: Campaign, checkpoint: Checkpoint) -> Verification:
    """The result, together with its event."""
    findings = checkpoint.findings
    now = campaign.clock.now()
    ok = findings.mismatch_count == 0
    event = Event(
        type=EventType.VERIFICATION_COMPLETED,
        subject=checkpoint.run.run_id,
        run_id=checkpoint.run.run_id,
        data={
            "verification_id": checkpoint.verification_id,
            "ok": ok,
            "mismatches": findings.mismatch_count,
            "checked": dict(sorted(findings.checked.items())),
        },
    )
    with campaign.database.write("verification-complete") as connection:
        _save(connection, checkpoint, checkpoint.through_no, ok=ok, finished_at=format_time(now))
        outbox.record(connection, [event], actor=campaign.actor, now=now)
        mismatches = listed(connection, checkpoint.verification_id)
    findings.unsaved.clear()
    return Verification(
        verification_id=checkpoint.verification_id,
        run_id=checkpoint.run.run_id,
        ok=ok,
        checked=dict(sorted(findings.checked.items())),
        mismatch_count=findings.mismatch_count,
        mismatches=mismatches,
    )


def listed(connection: sa.Connection, verification_id: str) -> tuple[Mismatch, ...]:
    """The mismatches of a verification that were kept."""
    table = tables.verification_mismatch
    query = (
        sa.select(table.c.conversation_no, table.c.kind, table.c.detail)
        .where(table.c.verification_id == verification_id)
        .order_by(table.c.mismatch_no)
    )
    return tuple(
        Mismatch(conversation_no=number, kind=MismatchKind(kind), detail=detail)
        for number, kind, detail in connection.execute(query)
    )


def _save(
    connection: sa.Connection,
    checkpoint: Checkpoint,
    through_no: int,
    *,
    ok: bool | None = None,
    finished_at: str | None = None,
) -> None:
    table = tables.verification
    moved = connection.execute(
        table.update()
        .where(
            table.c.verification_id == checkpoint.verification_id,
            table.c.through_no == checkpoint.through_no,
            table.c.finished_at.is_(None),
        )
        .values(through_no=through_no, checked=_text(checkpoint.findings), ok=ok, finished_at=finished_at)
    )
    if moved.rowcount != 1:
        raise LeaseHeldError(
            "another process works on this verification", hint="let one of the two finish", changed=RESUMABLE
        )
    unsaved = checkpoint.findings.unsaved
    if unsaved:
        connection.execute(
            tables.verification_mismatch.insert(),
            [
                {
                    "verification_id": checkpoint.verification_id,
                    "mismatch_no": number,
                    "conversation_no": mismatch.conversation_no,
                    "kind": mismatch.kind.value,
                    "detail": mismatch.detail,
                }
                for number, mismatch in unsaved
            ],
        )
    checkpoint.through_no = through_no


def _text(findings: Findings) -> str:
    return canonical_json({**findings.checked, "mismatches": findings.mismatch_count}).decode()
