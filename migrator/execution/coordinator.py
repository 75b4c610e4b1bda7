"""The coordinator: checks what has to hold, takes the lease, and has a session work on the run.

1. Plan and gates are checked before anything is written; then the plan is consumed by a run.
2. While it holds the lease, a `session` keeps workers busy, writes the audit log, and knows when to stop.
"""

from migrator import lease as leases
from migrator.campaign import Campaign
from migrator.core.errors import resumable_from_here
from migrator.core.lifecycle import RunState
from migrator.core.progress import Progress
from migrator.execution import runs
from migrator.execution.gates import require_attachments, require_cutover, require_open
from migrator.execution.options import RunOptions, StopSignal, changed, limits_of, resumed_with
from migrator.execution.rehearsal import rehearse
from migrator.execution.runs import RunSummary
from migrator.execution.session import Session
from migrator.execution.status import summary_of
from migrator.execution.throttle import require_no_panic
from migrator.execution.watching.observer import Observer
from migrator.planning import stored

__all__ = ["RunOptions", "StopSignal", "execute", "resume"]


def execute(campaign: Campaign, plan: str, options: RunOptions, progress: Progress, stop: StopSignal) -> RunSummary:
    """Run a plan, given by file or id."""
    found = stored.load(campaign, plan)
    require_attachments(campaign)
    limits = changed(limits_of(campaign.settings), options.limits())
    observer = Observer(campaign, options, progress, found.plan_id)
    session = Session(campaign, options, limits, progress, stop, observer)
    if options.dry_run:
        stored.require_current(campaign, found)
        observer.rehearse()
        return rehearse(campaign, found, session.engine, progress, session.wanted, limits, session.retry(found))
    require_no_panic(campaign, None)
    leases.require_free(campaign)
    stored.require_executable(campaign, found)
    require_open(campaign, found, options.confirm)
    retry = session.retry(found)
    campaign.audit.check(replay=True)
    with observer.told(), leases.hold(campaign, purpose="execute") as lease, resumable_from_here():
        observer.ask(None, stop)
        begun = runs.begin(campaign, found, limits=limits, lease_token=lease.token, retry=retry)
        return session.drive(begun, found, lease)


def resume(
    campaign: Campaign, run_id: str | None, options: RunOptions, progress: Progress, stop: StopSignal
) -> RunSummary:
    """Go on with a run that stopped or was killed; one that is complete says so."""
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        if run.state is RunState.COMPLETED:
            return summary_of(connection, run)
    require_attachments(campaign)
    changes = resumed_with(campaign.settings, options)
    observer = Observer(campaign, options, progress, run.plan_id)
    session = Session(campaign, options, changed(run.limits, changes), progress, stop, observer)
    plan = stored.load(campaign, run.plan_id)
    stored.require_current(campaign, plan)
    require_cutover(campaign)
    require_no_panic(campaign, run.run_id)
    campaign.audit.check(replay=True)
    with observer.told(), leases.hold(campaign, purpose="resume") as lease, resumable_from_here():
        observer.ask(run.run_id, stop)
        taken = runs.take_up(campaign, run.run_id, changes=changes, lease_token=lease.token)
        return session.drive(taken, plan, lease)
