"""What is kept of each call of a hook: one row, so that `status` shows the last that went wrong."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator.core.clock import format_time, parse_time
from migrator.database import tables
from migrator.execution.hooks.process import Ended, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """A call of a hook, and what came of it."""

    hook: str
    called_at: datetime
    result: Result
    exit_status: int | None


def record(
    connection: sa.Connection, hook: str, ended: Ended, *, plan_id: str, run_id: str | None, called_at: datetime
) -> None:
    """Keep a call. `called_at`: a real time."""
    connection.execute(
        tables.hook_call.insert().values(
            hook=hook, plan_id=plan_id, run_id=run_id, called_at=format_time(called_at),
            took_ms=round(ended.seconds * 1000), result=ended.result.value, exit_status=ended.exit_status,
        )
    )  # fmt: skip


def last_trouble(connection: sa.Connection, plan_id: str) -> HookCall | None:
    """The last call that a plan's run made of any hook, if that did not end well."""
    table = tables.hook_call
    query = sa.select(table).where(table.c.plan_id == plan_id).order_by(table.c.call_no.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None or row.result == Result.OK.value:
        return None
    return HookCall(
        hook=row.hook, called_at=parse_time(row.called_at), result=Result(row.result), exit_status=row.exit_status
    )
