"""What a worker process keeps open from shard to shard: the campaign, and what opens its exports."""

from dataclasses import dataclass

from migrator.campaign import Campaign, opened
from migrator.core.errors import MigratorError
from migrator.engines import remote
from migrator.execution import workplace
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.pacing import Pace
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader


@dataclass(frozen=True, slots=True)
class _Open:
    """What is open for the one session of a run that this process works for."""

    session: tuple[str, int, bool]
    campaign: Campaign
    exports: ExportReader
    pace: Pace


_open: list[_Open] = []
"""None or one."""


def run_shard(assignment: Assignment) -> ShardResult:
    """What an engine calls in a worker: `work_through`, with one unwrap a recipient key and process.

    An error that concerns the run says which machine of a cluster it comes from.
    """
    try:
        return _run(assignment)
    except MigratorError as error:
        if remote.in_cluster():
            error.message = f"{error.message} (worker {remote.this_worker()})"
            error.args = (error.message,)
        raise


def _run(assignment: Assignment) -> ShardResult:
    session = (assignment.run_id, assignment.generation, assignment.dry_run)
    if not _open or _open[0].session != session:
        close()
        _open.append(_begin(session, assignment))
    here = _open[0]
    workplace.require_clock(here.campaign)
    return work_through(here.campaign, assignment, here.exports, here.pace)


def close() -> None:
    """Let go of what is open: connections, and the keys that were unwrapped."""
    while _open:
        _open.pop().campaign.close()


def _begin(session: tuple[str, int, bool], assignment: Assignment) -> _Open:
    campaign = opened(assignment.spec, read_only=assignment.dry_run)
    try:
        workplace.require_same_database(campaign, assignment)
        if remote.in_cluster():
            workplace.require_key_services(campaign)
    except BaseException:
        campaign.close()
        raise
    return _Open(session, campaign, ExportReader(campaign, last_export_no=assignment.watermarks.export_no), Pace())


remote.when_released(close)
