"""Gives back the campaign's lease for a holder that is dead or out of reach.

1. Who is heard of within `lease.OVERDUE` keeps it, unless somebody insists who has typed the campaign's name.
2. The token rises, so that the old holder's next heartbeat, and whatever it writes behind the lease, fails.
3. The generation of the run that it worked on rises in the same transaction, so that no worker of it commits any more,
   nor says that the run is complete. The run stays as it is: it is resumed, paused or aborted like that of a killed
   process.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator import lease as leases
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError, LeaseHeldError, MigratorError, resumable
from migrator.core.lifecycle import AT_WORK
from migrator.database import locks, tables
from migrator.execution import runs
from migrator.lease import LeaseHolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocking:
    """Whose lease it was and what for; None: nobody's. `forced`: it was taken from somebody who may live."""

    holder: str | None = None
    purpose: str | None = None
    heartbeat_at: datetime | None = None
    forced: bool = False

    @property
    def already(self) -> bool:
        """Whether the lease was free."""
        return self.holder is None


def unlock(campaign: Campaign, run_id: str | None, *, force: bool = False, confirm: str | None = None) -> Unlocking:
    """Free the lease; with a run's id, only if it is held for that run.

    `force` takes it from a holder who is heard of, where `confirm` is the campaign's name. `LeaseHeldError` for one who
    is, `GateError` for another name, or a lease that is held for something else.
    """
    with campaign.database.write("unlock") as connection:
        locks.ahead_of_sharers(connection, tables.run)
        wanted = None if run_id is None else runs.find(connection, run_id)
        holder = leases.holder_of(connection, campaign.name)
        if holder is None:
            return Unlocking()
        if wanted is not None and wanted.lease_token != holder.token:
            raise GateError(
                f"the lease is not held for run {wanted.run_id}: {_told(holder)}",
                hint="`migrator unlock` without a run frees it, whatever it is held for",
            )
        forced = not holder.overdue
        if forced:
            _require_force(campaign, holder, force=force, confirm=confirm)
        leases.take_away(connection, campaign.name, holder)
        _fence(connection, holder)
        _record(connection, campaign, holder, forced=forced)
    try:
        campaign.audit.flush()
    except MigratorError as error:
        raise resumable(error) from None
    return Unlocking(holder=holder.holder, purpose=holder.purpose, heartbeat_at=holder.heartbeat_at, forced=forced)


def _require_force(campaign: Campaign, holder: LeaseHolder, *, force: bool, confirm: str | None) -> None:
    if not force:
        raise LeaseHeldError(
            f"the campaign's lease is {_told(holder)}",
            hint="wait for it to end, or pause it; where that is out of the question, --force takes the lease away",
        )
    if confirm != campaign.name:
        raise GateError(
            "taking the lease from a living holder asks for the campaign's name",
            hint=f"type it when asked, or give --confirm {campaign.name}",
        )


def _told(holder: LeaseHolder) -> str:
    return f"held by {holder.holder} ({holder.purpose}), last heard of at {format_time(holder.heartbeat_at)}"


def _fence(connection: sa.Connection, holder: LeaseHolder) -> None:
    """No worker of the holder commits any more; what it was at waits for whoever comes."""
    table = tables.run
    connection.execute(
        table.update()
        .where(table.c.lease_token == holder.token, table.c.state.in_(sorted(state.value for state in AT_WORK)))
        .values(generation=table.c.generation + 1, waiting=None, throttled=False)
    )


def _record(connection: sa.Connection, campaign: Campaign, holder: LeaseHolder, *, forced: bool) -> None:
    data: dict[str, str | int] = {
        "holder": holder.holder,
        "purpose": holder.purpose,
        "heartbeat_at": format_time(holder.heartbeat_at),
        "token": holder.token,
    }
    kind = EventType.LEASE_RELEASED
    if forced:
        kind, data = EventType.OVERRIDE_USED, {"override": "lease", **data}
    outbox.record(connection, [Event(type=kind, data=data)], actor=campaign.actor, now=campaign.clock.now())
