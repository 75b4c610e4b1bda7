"""Limits of a run from any shell: they count at the next look of whoever works on it, and are kept over resume."""

from collections.abc import Mapping
from dataclasses import dataclass

from migrator.campaign import Campaign
from migrator.core.errors import GateError, MigratorError, resumable
from migrator.core.lifecycle import UNFINISHED
from migrator.database import locks, tables
from migrator.execution import runs
from migrator.execution.attendance import attendance
from migrator.execution.options import changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiting:
    """A run's limits by name, as they are now, and each that was changed: what it was and what it is."""

    run_id: str
    limits: Mapping[str, str]
    changes: Mapping[str, tuple[str, str]]


def limits(campaign: Campaign, run_id: str | None) -> Limiting:
    """What a run, the latest unless one is named, is limited to."""
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
    return Limiting(run_id=run.run_id, limits=run.limits.shown(), changes={})


def throttle(campaign: Campaign, run_id: str | None, changes: Mapping[str, str]) -> Limiting:
    """Change limits, by name; `off` takes one away. Each change and its event are one transaction.

    `UsageError` for what says nothing, `GateError` for a run that has ended.
    """
    with campaign.database.write("throttle") as connection:
        locks.ahead_of_sharers(connection, tables.run)
        run = runs.find(connection, run_id)
        wanted = changed(run.limits, changes)
        if run.state not in UNFINISHED:
            raise GateError(
                f"run {run.run_id} is {run.state.value}: there is nothing to limit",
                hint="`migrator status` shows what may be done with it",
            )
        found = runs.limit(connection, campaign, run, wanted)
        attended = attendance(connection, run).holder is not None
    if found and not attended:
        try:
            campaign.audit.flush()
        except MigratorError as error:
            raise resumable(error) from None
    return Limiting(run_id=run.run_id, limits=wanted.shown(), changes=found)
