"""Who works on a run, and since when nobody has been heard of.

A run's row has the token of the lease under which it was begun or taken up last. Whoever holds the campaign's lease
under that very token works on it; any other holder works on something else. A run that is at work by its state is
*stuck* while nobody does, or whoever does has been silent for `lease.OVERDUE`.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator import lease as leases
from migrator.core.lifecycle import AT_WORK
from migrator.database import tables
from migrator.execution.runs import Run
from migrator.lease import LeaseHolder

_RUNNERS = ("execute", "resume")
"""Purposes of a lease under which a run is worked on, for runs that know no token."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """`holder`: who works on the run and lives; `stuck_since`: when whoever did was last heard of, if too long ago."""

    holder: LeaseHolder | None = None
    stuck_since: datetime | None = None


def attendance(connection: sa.Connection, run: Run) -> Attendance:
    """Who works on a run, as of the caller's transaction."""
    if run.state not in AT_WORK:
        return Attendance()
    name = connection.scalar(sa.select(tables.campaign.c.name)) or ""
    holder = leases.holder_of(connection, name)
    if holder is not None and not _works_on(holder, run):
        holder = None
    if holder is not None and not holder.overdue:
        return Attendance(holder)
    heard = None if run.lease_token is None else leases.last_heartbeat(connection, name, run.lease_token)
    since = max(filter(None, (heard, run.seen_at)), default=run.started_at)
    return Attendance(holder if holder is not None and holder.alive else None, since)


def _works_on(holder: LeaseHolder, run: Run) -> bool:
    if run.lease_token is None:
        return holder.purpose in _RUNNERS
    return holder.token == run.lease_token
