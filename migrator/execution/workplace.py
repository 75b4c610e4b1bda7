"""What has to be right around a worker before it opens anything. Each check raises an error that says what is wrong.

1. Its migrator database is the coordinator's: it knows the run, and an SQLite file is that of the same machine.
2. Its clock agrees with the database's: it decides whether a notice period is over, and what has expired.
3. In a cluster, where each machine has an environment of its own, every configured key service wraps for it. Without
   that, each conversation would fail for want of a key.
"""

import secrets
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import FixedClock
from migrator.core.encoding import canonical_json
from migrator.core.errors import ConfigError, ExitStatus, KeyServiceError, MigratorError
from migrator.database import tables
from migrator.database.clock import apart, database_time
from migrator.execution.assignment import Assignment
from migrator.keyservices.interface import KeyRefusal
from migrator.lease import boot_id

CLOCK_LIMIT: Final = timedelta(seconds=60)


class WrongClockError(MigratorError):
    """A worker's clock is too far from the database's."""

    code = "worker_clock"
    exit_status = ExitStatus.SERVICE_DOWN


def require_same_database(campaign: Campaign, assignment: Assignment) -> None:
    """Raise `ConfigError` unless this process sees the migrator database that the coordinator works in."""
    if campaign.database.is_sqlite and boot_id() != assignment.machine:
        raise ConfigError(
            "the migrator database is an SQLite file, which workers on other machines can't share",
            hint="a cluster needs PostgreSQL as database.url",
        )
    table = tables.plan if assignment.dry_run else tables.run
    with campaign.database.read() as connection:
        known = connection.scalar(sa.select(table.c.plan_id).where(table.c.plan_id == assignment.plan_id))
    if known is None:
        raise ConfigError(
            f"the migrator database that this worker sees does not hold the run of plan {assignment.plan_id}",
            hint="database.url, and what it refers to, must lead to the same database on every machine",
        )


def require_clock(campaign: Campaign) -> None:
    """Raise `WrongClockError` where the clock that this worker decides by is off; `--now` stands still on purpose."""
    if isinstance(campaign.clock, FixedClock):
        return
    with campaign.database.read() as connection:
        before = campaign.clock.now()
        theirs = database_time(connection)
        off = apart(theirs, before, campaign.clock.now())
    if off > CLOCK_LIMIT:
        raise WrongClockError(
            f"a worker's clock is {off.total_seconds():.0f} s from the database's",
            hint="set both by NTP: they decide what has expired and whether a notice period is over",
        )


def require_key_services(campaign: Campaign) -> None:
    """Raise `KeyServiceError` where a configured key service does not wrap for this worker."""
    context = canonical_json({"campaign": campaign.name, "purpose": "worker"})
    for service in campaign.key_services.all():
        answer = service.wrap([(secrets.token_bytes(32), context)])[0]
        if isinstance(answer, KeyRefusal):
            raise KeyServiceError(
                f"{service.name} refuses a worker: {answer.detail}",
                hint="every machine of the cluster needs the key service's credentials",
            )
