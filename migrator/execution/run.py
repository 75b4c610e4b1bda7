"""A run as its row has it."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator.core.clock import parse_time
from migrator.core.errors import UsageError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.run_limits import UNLIMITED, RunLimits
from migrator.database import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a plan."""

    run_id: str
    plan_id: str
    state: RunState
    stop_reason: StopReason | None
    generation: int
    started_at: datetime
    worked_seconds: float
    stop_detail: str | None = None
    """What exactly a run stopped for; of a service that is down, which and where."""
    waiting: str | None = None
    """What it waits for at the moment, as its coordinator sees it."""
    max_rate: float | None = None
    """Messages a second that all workers together may move."""
    limits: RunLimits = UNLIMITED
    """What an operator limits it to; `max_rate` is one of them, as workers read it."""
    held_seconds: float = 0.0
    """Out of `worked_seconds`: how long a service held the workers up."""
    lease_token: int | None = None
    """Under which token of the campaign's lease it was begun or taken up last."""
    seen_at: datetime | None = None
    """When whoever worked on it last wrote its row, in real time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What a session has done so far: for so long, of which a service held it up so long, so many messages."""

    seconds: float = 0.0
    held_seconds: float = 0.0
    messages: int = 0


def find(connection: sa.Connection, run_id: str | None) -> Run:
    """A run by its id; without one, the latest. `UsageError` where there is none."""
    table = tables.run
    query = sa.select(table).order_by(table.c.run_no.desc()).limit(1)
    if run_id is not None:
        query = query.where(table.c.run_id == run_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        what = f"there is no run {run_id!r}" if run_id is not None else "there is no run yet"
        raise UsageError(what, hint="`migrator execute PLAN` begins one")
    return Run(
        run_id=row.run_id,
        plan_id=row.plan_id,
        state=RunState(row.state),
        stop_reason=StopReason(row.stop_reason) if row.stop_reason else None,
        generation=row.generation,
        started_at=parse_time(row.started_at),
        worked_seconds=row.worked_ms / 1000,
        stop_detail=row.stop_detail,
        waiting=row.waiting,
        max_rate=row.max_rate,
        limits=RunLimits.from_json(row.limits or "{}"),
        held_seconds=row.held_ms / 1000,
        lease_token=row.lease_token,
        seen_at=parse_time(row.seen_at) if row.seen_at else None,
    )
