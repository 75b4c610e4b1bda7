"""Everything that `status` shows of a run, from its rows alone, so that it is the same from any shell.

Times of work (samples, commits, heartbeats, checkpoints) are real ones; dates of the campaign go by its own clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core import estimate
from migrator.core.clock import parse_time
from migrator.core.errors import UsageError
from migrator.core.estimate import Advance, Eta, EtaState, Rate
from migrator.core.lifecycle import RunState
from migrator.core.next_steps import Step, next_steps
from migrator.database import tables
from migrator.execution import runs
from migrator.execution.hooks.calls import HookCall, last_trouble
from migrator.execution.options import limits_of as limits_by_settings
from migrator.execution.runs import Run, RunSummary
from migrator.execution.status import committed, summary_of
from migrator.execution.watching import samples
from migrator.execution.watching.situation import STAGES, situation
from migrator.lease import LeaseHolder, holder_of, is_this_process


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is safe: when a worker committed last, and how far the audit log is written and signed."""

    committed_at: datetime | None = None
    log_size: int = 0
    signed_size: int = 0
    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run as whoever watches sees it, as of `now`, a real time. Of a dry run, most of it is unknown."""

    phase: str
    advance: Advance
    planned: int
    """Conversations of the plan."""
    rate: Rate | None
    eta: Eta
    waiting: str | None
    lease: LeaseHolder | None
    checkpoint: Checkpoint
    next: Sequence[Step]
    limits: Mapping[str, str]
    hook_trouble: HookCall | None
    now: datetime

    @property
    def at_work(self) -> bool:
        """Whether a living process works on the run."""
        return self.phase in _AT_WORK


_AT_WORK: Final = ("starting", "working", "waiting", "stopping", "finishing")
_PURPOSES: Final = ("execute", "resume")
"""What the campaign's lease is held for by who works on a run."""
PHASES: Final = (*_AT_WORK, "killed", *(state.value for state in STAGES))
"""What a run may be busy with (closed)."""


def watch(campaign: Campaign, summary: RunSummary, *, now: datetime | None = None) -> Watched:
    """What there is to see of a run whose summary was made just now. `now`: the real time, unless a test says so."""
    now = now or datetime.now(UTC)
    if summary.dry_run:
        return _rehearsed(summary, now)
    with campaign.database.read() as connection:
        return _watched(connection, campaign, runs.find(connection, summary.run_id), summary, now)


def before_any(campaign: Campaign, *, now: datetime | None = None) -> Watched | None:
    """What there is to see of a campaign without a run; None where it has one."""
    now = now or datetime.now(UTC)
    with campaign.database.read() as connection:
        try:
            runs.find(connection, None)
        except UsageError:
            return Watched(
                phase="not_begun",
                advance=Advance(done=0, total=None),
                planned=0,
                rate=None,
                eta=Eta(state=EtaState.NONE),
                waiting=None,
                lease=holder_of(connection, campaign.name),
                checkpoint=_checkpoint(connection, campaign, None),
                next=next_steps(situation(connection, campaign, None, alive=False), campaign.clock.now()),
                limits=limits_of(campaign, None),
                hook_trouble=None,
                now=now,
            )
    return None


def own_summary(campaign: Campaign) -> RunSummary | None:
    """The run that this very process works on; None before it has begun, and in a dry run."""
    with campaign.database.read() as connection:
        lease = holder_of(connection, campaign.name)
        if lease is None or not is_this_process(lease):
            return None
        try:
            run = runs.find(connection, None)
        except UsageError:
            return None
        return summary_of(connection, run, samples.so_far(connection, run)) if run.state not in STAGES else None


def limits_of(campaign: Campaign, summary: RunSummary | None) -> dict[str, str]:
    """The limits in force: name → text."""
    return dict(limits_by_settings(campaign.settings).shown() if summary is None else summary.limits)


def _watched(connection: sa.Connection, campaign: Campaign, run: Run, summary: RunSummary, now: datetime) -> Watched:
    lease = holder_of(connection, campaign.name)
    phase = _phase(connection, run, summary, alive=lease is not None and lease.alive and lease.purpose in _PURPOSES)
    at_work = phase in _AT_WORK
    row = connection.execute(
        sa.select(tables.run.c.expected, tables.run.c.earlier).where(tables.run.c.run_id == run.run_id)
    ).one()
    advance = Advance(
        done=row.earlier + committed(connection, run).messages,
        total=row.expected,
        complete=run.state is RunState.COMPLETED,
    )
    rate = estimate.rate(samples.taken(connection, run.run_id, run.generation), now) if at_work else None
    waiting = run.waiting if at_work else None
    checkpoint = _checkpoint(connection, campaign, run)
    facts = situation(connection, campaign, run, alive=at_work)
    return Watched(
        phase=phase,
        advance=advance,
        planned=summary.pending + sum(count.conversations for count in summary.counts.values()),
        rate=rate,
        eta=estimate.eta(
            advance, rate, now, at_work=at_work, waiting=waiting is not None, moved_at=checkpoint.committed_at
        ),
        waiting=waiting,
        lease=lease,
        checkpoint=checkpoint,
        next=next_steps(facts, campaign.clock.now()),
        limits=limits_of(campaign, summary),
        hook_trouble=last_trouble(connection, run.plan_id),
        now=now,
    )


def _phase(connection: sa.Connection, run: Run, summary: RunSummary, *, alive: bool) -> str:
    """What the run is busy with: its state, and of one that is running more than that."""
    if run.state in STAGES:
        return run.state.value
    if not alive:
        return "killed"
    if run.state is not RunState.RUNNING or run.stop_reason is not None:
        return "stopping"
    shard = tables.shard
    cut = connection.scalar(
        sa.select(shard.c.shard_no).where(shard.c.run_id == run.run_id, shard.c.generation == run.generation).limit(1)
    )
    if summary.pending == 0:
        return "finishing"
    if cut is None:
        return "starting"
    return "waiting" if run.waiting else "working"


def _checkpoint(connection: sa.Connection, campaign: Campaign, run: Run | None) -> Checkpoint:
    """Kept of earlier sessions in the run's row, of this one in its shards."""
    committed_at = None
    if run is not None:
        table = tables.run
        kept = connection.scalar(sa.select(table.c.committed_at).where(table.c.run_id == run.run_id))
        committed_at = max(filter(None, (kept, samples.last_commit(connection, run.run_id))), default=None)
    state = tables.audit_state
    log = connection.execute(
        sa.select(state.c.size, state.c.checkpoint_size, state.c.checkpoint_at).where(
            state.c.origin == campaign.settings.origin
        )
    ).one_or_none()
    return Checkpoint(
        committed_at=parse_time(committed_at) if committed_at else None,
        log_size=log.size if log else 0,
        signed_size=log.checkpoint_size if log else 0,
        signed_at=parse_time(log.checkpoint_at) if log and log.checkpoint_at else None,
    )


def _rehearsed(summary: RunSummary, now: datetime) -> Watched:
    return Watched(
        phase="rehearsed" if summary.stop_reason is None else "rehearsal_stopped",
        advance=Advance(done=0, total=None),
        planned=sum(count.conversations for count in summary.counts.values()),
        rate=None,
        eta=Eta(state=EtaState.NONE),
        waiting=None,
        lease=None,
        checkpoint=Checkpoint(),
        next=(),
        limits={},
        hook_trouble=None,
        now=now,
    )
