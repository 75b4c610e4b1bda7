"""A run as its row has it, and as commands tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from migrator.core.clock import parse_time
from migrator.core.errors import ExitStatus, UsageError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.outcomes import Outcome
from migrator.core.quantities import rate_text
from migrator.core.run_limits import UNLIMITED, RunLimits
from migrator.database import tables
from migrator.execution.assignment import OutcomeCount, Retry
from migrator.planning.arrivals import Arrivals


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
    retry: Retry | None = None
    """What of its plan it opens, where it retries what failed in another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What a session has done so far: for so long, of which a service held it up so long, so many messages."""

    seconds: float = 0.0
    held_seconds: float = 0.0
    messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Where a run stands: what `execute`, `resume` and `status` tell."""

    run_id: str
    plan_id: str
    state: RunState
    dry_run: bool
    counts: Mapping[str, OutcomeCount]
    messages_per_second: float
    elapsed_seconds: float
    stop_reason: StopReason | None = None
    stop_detail: str | None = None
    waiting: str | None = None
    max_rate: float | None = None
    pending: int = 0
    retry_of: str | None = None
    """The run of which it opens only what failed there."""
    arrivals: Arrivals | None = None
    """Messages that came after the flip and wait, of the campaign as a whole; only for whoever asks how it stands."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """What it is limited to, by name."""
    stuck_since: datetime | None = None
    """When whoever works on it was last heard of, where that is too long ago or they are dead."""

    @property
    def exit_status(self) -> ExitStatus:
        """What the command that worked on the run exits with."""
        if self.stop_reason is not None:
            return _EXIT_OF_STOP[self.stop_reason]
        failed = any(outcome in _FAILED and count.conversations for outcome, count in self.counts.items())
        return ExitStatus.SOME_FAILED if failed else ExitStatus.OK


_FAILED = frozenset(outcome.value for outcome in Outcome if outcome.failed)
_EXIT_OF_STOP = {
    StopReason.INTERRUPTED: ExitStatus.INTERRUPTED,
    StopReason.TERMINATED: ExitStatus.TERMINATED,
    StopReason.MAX_DURATION: ExitStatus.LIMIT_REACHED,
    StopReason.ERROR_BUDGET: ExitStatus.ERROR_BUDGET,
    StopReason.SERVICE_DOWN: ExitStatus.SERVICE_DOWN,
    StopReason.AUDIT_LOG: ExitStatus.AUDIT_LOG,
    StopReason.PAUSED: ExitStatus.STOPPED_BY_OPERATOR,
    StopReason.ABORTED: ExitStatus.STOPPED_BY_OPERATOR,
    StopReason.CRITICAL_LOAD: ExitStatus.SERVICE_DOWN,
}


def find(connection: sa.Connection, run_id: str | None) -> Run:
    """A run by its id; without one, the latest. `UsageError` where there is none."""
    table = tables.run
    query = sa.select(table).order_by(table.c.run_no.desc()).limit(1)
    if run_id is not None:
        query = query.where(table.c.run_id == run_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        if run_id is not None:
            raise UsageError(f"there is no run {run_id!r}", hint="leave RUN out for the latest one")
        raise UsageError("there is no run yet", hint="`migrator execute PLAN` begins one")
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
        limits=_limits(row.limits, row.max_rate),
        held_seconds=row.held_ms / 1000,
        lease_token=row.lease_token,
        seen_at=parse_time(row.seen_at) if row.seen_at else None,
        retry=Retry(run_id=row.retry_of, outcomes=tuple(row.retry_outcomes.split())) if row.retry_of else None,
    )


def _limits(text: str | None, rate: float | None) -> RunLimits:
    """Of a run that was begun before limits were kept as they were given, its pace alone is known, as a figure."""
    if text is not None:
        return RunLimits.from_json(text)
    return UNLIMITED if rate is None else RunLimits(max_rate=rate_text(rate))
