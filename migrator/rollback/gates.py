"""When a run may not be rolled back: each check raises `GateError`, in the transaction that begins the rollback."""

import sqlalchemy as sa

from migrator.core.errors import GateError
from migrator.core.lifecycle import UNFINISHED
from migrator.core.outcomes import Outcome
from migrator.core.plan import EXTEND
from migrator.database import tables


def require_last(connection: sa.Connection, run_id: str) -> None:
    """Refuse while a later run has added to conversations of this one, or is unfinished and counts on them."""
    extension = tables.extension
    later = connection.scalar(
        sa.select(extension.c.run_id)
        .where(extension.c.prior_run_id == run_id, extension.c.run_id != run_id)
        .order_by(extension.c.run_id)
        .limit(1)
    )
    if later is None:
        later = connection.scalar(_waiting_run(run_id))
    if later is not None:
        raise GateError(
            f"run {later} builds on conversations that run {run_id} migrated",
            hint=f"`migrator rollback {later}` first",
        )


def _waiting_run(run_id: str) -> sa.Select[tuple[str]]:
    """An unfinished run whose plan takes conversations of this one for migrated."""
    run, planned, conversation, item = tables.run, tables.plan_item, tables.conversation, tables.item
    done = sa.and_(item.c.run_id == run.c.run_id, item.c.conversation_no == planned.c.conversation_no)
    return (
        sa.select(run.c.run_id)
        .join(planned, planned.c.plan_id == run.c.plan_id)
        .join(conversation, conversation.c.conversation_no == planned.c.conversation_no)
        .outerjoin(item, done)
        .where(
            run.c.run_id != run_id,
            run.c.state.in_(sorted(state.value for state in UNFINISHED)),
            planned.c.decision.in_((EXTEND, Outcome.ALREADY_SERVER.value)),
            conversation.c.run_id == run_id,
            item.c.run_id.is_(None),
        )
        .limit(1)
    )


def require_not_final(connection: sa.Connection, run_id: str) -> None:
    """Refuse from the moment in which the source's ciphertext begins to go: there is nothing left to go back to."""
    table = tables.finalization
    found = connection.scalar(sa.select(table.c.finalization_id).order_by(table.c.finalization_no).limit(1))
    if found is not None:
        raise GateError(
            f"run {run_id} is final: {found} has begun to retire the source of what was migrated",
            hint="its history exists only under server-side keys now",
        )
