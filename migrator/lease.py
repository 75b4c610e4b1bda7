"""The campaign's leases: one coordinator and one sender of notices at a time, by compare-and-swap in the database.

1. A lease is free when nobody holds it, when its holder's heartbeat is older than `EXPIRY`, or when the holder was a
   process of this boot of this machine that no longer lives.
2. Taking it raises the token; every later write of the lease names the token.
3. A holder whose heartbeat finds another token has lost the lease and stops.

Leases use the machine's clock, never the campaign's. The campaign's own lease bears its name; a lease for other work
bears a name that no campaign can have (`SENDING`).
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time, parse_time
from migrator.core.errors import RESUMABLE, DatabaseError, LeaseHeldError
from migrator.database import locks, tables
from migrator.database.bulk import insert_unless_there
from migrator.database.connect import Database

HEARTBEAT = timedelta(seconds=15)
OVERDUE = timedelta(seconds=60)
"""Some heartbeats: who has been silent for so long is said to be stuck, though the lease is still theirs."""
EXPIRY = timedelta(minutes=4)
SENDING: Final = ":notices"
"""The lease of who sends notices: runs don't wait for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that this process holds, until `lost` is set."""

    token: int
    lost: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """Who holds a lease, for people."""

    holder: str
    purpose: str
    heartbeat_at: datetime
    alive: bool
    token: int = 0

    @property
    def overdue(self) -> bool:
        """Whether heartbeats are missing, be the lease theirs or not."""
        return not self.alive or datetime.now(UTC) - self.heartbeat_at >= OVERDUE


@contextmanager
def hold(campaign: Campaign, *, purpose: str, name: str | None = None) -> Iterator[Lease]:
    """Hold the campaign's lease, or one of another name, while the block runs; `LeaseHeldError` where somebody does."""
    name = name or campaign.name
    lease = Lease(_take(campaign.database, name, purpose))
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(campaign.database, name, lease, ended), daemon=True)
    beat.start()
    try:
        yield lease
    finally:
        ended.set()
        beat.join()
        with suppress(DatabaseError):  # a lease that can't be given back lapses with its process
            _release(campaign.database, name, lease)


def require_free(campaign: Campaign) -> None:
    """Raise `LeaseHeldError` while somebody is at work: that comes before anything else there is to say."""
    with campaign.database.read() as connection:
        _refuse_held(holder_of(connection, campaign.name), campaign.name)


def require(connection: sa.Connection, name: str, lease: Lease, *, hint: str) -> None:
    """The fence: the caller's transaction counts only while the lease is its process's; else `LeaseHeldError`."""
    table = tables.lease
    token = connection.scalar(locks.shared(sa.select(table.c.token).where(table.c.campaign == name)))
    if lease.lost.is_set() or token != lease.token:
        raise LeaseHeldError("the campaign's lease was lost to another process", hint=hint, changed=RESUMABLE)


def is_held(connection: sa.Connection, name: str, lease: Lease) -> bool:
    """Whether a lease is still the caller's, as of the caller's transaction."""
    table = tables.lease
    return connection.scalar(sa.select(table.c.token).where(table.c.campaign == name)) == lease.token


def holder_of(connection: sa.Connection, campaign_name: str) -> LeaseHolder | None:
    """Who holds the campaign's lease; None where it is free."""
    row = connection.execute(sa.select(tables.lease).where(tables.lease.c.campaign == campaign_name)).one_or_none()
    if row is None or row.holder is None:
        return None
    beat = parse_time(row.heartbeat_at)
    return LeaseHolder(
        holder=row.holder,
        purpose=row.purpose or "",
        heartbeat_at=beat,
        alive=_lives(row.holder, beat),
        token=row.token,
    )


def last_heartbeat(connection: sa.Connection, name: str, token: int) -> datetime | None:
    """When the holder of a token was last heard of, be they gone or not; None where somebody has had it since."""
    table = tables.lease
    found = connection.scalar(sa.select(table.c.heartbeat_at).where(table.c.campaign == name, table.c.token == token))
    return None if found is None else parse_time(found)


def take_away(connection: sa.Connection, name: str, holder: LeaseHolder) -> None:
    """Free a lease whoever holds it, under a higher token; `LeaseHeldError` where somebody else has it by now."""
    table = tables.lease
    taken = connection.execute(
        table.update()
        .where(table.c.campaign == name, table.c.token == holder.token)
        .values(token=holder.token + 1, holder=None, purpose=None)
    )
    if taken.rowcount != 1:
        raise LeaseHeldError("the campaign's lease was taken at this moment", hint="`migrator status` shows by whom")


def is_this_process(holder: LeaseHolder) -> bool:
    """Whether a lease is held by the process that asks."""
    return holder.holder == _this_process()


def _take(database: Database, campaign_name: str, purpose: str) -> int:
    table = tables.lease
    with database.write("lease-take") as connection:
        _refuse_held(holder_of(connection, campaign_name), campaign_name)
        token = connection.scalar(sa.select(table.c.token).where(table.c.campaign == campaign_name))
        values = {
            "token": (token or 0) + 1,
            "holder": _this_process(),
            "purpose": purpose,
            "heartbeat_at": format_time(datetime.now(UTC)),
        }
        if token is None:
            take: sa.Insert | sa.Update = insert_unless_there(connection, table).values(
                campaign=campaign_name, **values
            )
        else:
            take = table.update().where(table.c.campaign == campaign_name, table.c.token == token).values(values)
        if connection.execute(take, execution_options={"preserve_rowcount": True}).rowcount != 1:
            raise LeaseHeldError("the campaign's lease was taken at this moment", hint="try again")
    return (token or 0) + 1


def _refuse_held(held: LeaseHolder | None, name: str) -> None:
    if held is not None and held.alive:
        which = "sender's lease" if name == SENDING else "campaign's lease"
        raise LeaseHeldError(
            f"the {which} is held by {held.holder} ({held.purpose})",
            hint=f"wait for it to end; its last heartbeat was at {format_time(held.heartbeat_at)}",
        )


def _beat(database: Database, campaign_name: str, lease: Lease, ended: threading.Event) -> None:
    """Renew the lease until the end; a heartbeat that can't be written counts as missed, not as lost."""
    last = datetime.now(UTC)
    while not ended.wait(HEARTBEAT.total_seconds()):
        try:
            with database.write("lease-heartbeat") as connection:
                if not _write(connection, campaign_name, lease, heartbeat_at=format_time(datetime.now(UTC))):
                    lease.lost.set()
                    return
            last = datetime.now(UTC)
        except DatabaseError:
            if datetime.now(UTC) - last > EXPIRY:
                lease.lost.set()
                return


def _release(database: Database, campaign_name: str, lease: Lease) -> None:
    with database.write("lease-release") as connection:
        _write(connection, campaign_name, lease, holder=None, purpose=None)


def _write(connection: sa.Connection, campaign_name: str, lease: Lease, **values: str | None) -> bool:
    table = tables.lease
    statement = table.update().where(table.c.campaign == campaign_name, table.c.token == lease.token).values(**values)
    return connection.execute(statement).rowcount == 1


def _this_process() -> str:
    pid = os.getpid()
    return f"{socket.gethostname()}/{boot_id()}/{pid}/{_start_time(pid)}"


def _lives(holder: str, heartbeat_at: datetime) -> bool:
    """A process of this boot is asked for directly; any other is believed while its heartbeat is fresh."""
    parts = holder.split("/")
    if len(parts) == 4 and parts[:2] == [socket.gethostname(), boot_id()] and boot_id():
        return _start_time(int(parts[2])) == parts[3] != ""
    return datetime.now(UTC) - heartbeat_at < EXPIRY


def boot_id() -> str:
    """What tells machines and their boots apart: the id that the kernel drew; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Clock ticks after boot at which a process began (proc(5), field 22); empty if it doesn't live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
