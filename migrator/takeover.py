"""Which campaign a migrator database belongs to, and how another one may take it over.

A database belongs to one campaign in one environment. Another one may have it only while nothing but a setup was
recorded there: whoever edits the name in a fresh `migrator.toml` runs `migrator init` again and is done. The audit log
of the first setup is moved aside, never deleted. Otherwise `ConfigError` says whose the database is.
"""

import os
from typing import Final

import sqlalchemy as sa

from migrator.audit.events import EventType
from migrator.campaign import Campaign
from migrator.core.errors import AuditLogError, ConfigError
from migrator.database import tables

_SETUP_TABLES: Final = (
    tables.campaign,
    tables.recipient_key,
    tables.outbox,
    tables.audit_state,
    tables.audit_checkpoint,
    tables.lease,
)
"""Tables that setup, and looking at what it made, fill; a row anywhere else is recorded work."""


def other_holder(connection: sa.Connection, campaign: Campaign) -> str | None:
    """Name of the campaign that holds the database, where it is another one or in another environment.

    None: nobody yet, or this very campaign. `ConfigError` if another one has records there. Changes nothing.
    """
    if not sa.inspect(connection).has_table(tables.campaign.name, schema=campaign.database.schema):
        return None
    held = connection.execute(sa.select(tables.campaign.c.name, tables.campaign.c.environment)).first()
    environment = campaign.settings.campaign.environment.value
    if held is None or (held.name, held.environment) == (campaign.name, environment):
        return None
    if _has_records(connection, campaign.database.schema):
        raise ConfigError(
            f"the migrator database holds campaign {held.name!r} ({held.environment}) and its records, "
            f"not {campaign.name!r} ({environment})",
            hint="give each campaign a database of its own: check campaign.name, campaign.environment and database.url",
        )
    return str(held.name)


def take_over(campaign: Campaign) -> None:
    """Forget another campaign's setup, if there is one. First its log goes aside, then its rows go."""
    with campaign.database.read() as connection:
        other = other_holder(connection, campaign)
    if other is None:
        return
    _move_audit_log_aside(campaign, other)
    with campaign.database.write("campaign-takeover") as connection:
        if other_holder(connection, campaign) is not None:  # refuses if records came in between
            for table in _SETUP_TABLES:
                connection.execute(table.delete())


def _has_records(connection: sa.Connection, schema_name: str | None) -> bool:
    """Whether anything but a setup was ever recorded; looks only at tables that an older schema has too."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names(schema=schema_name))
    work = [t for t in tables.metadata.sorted_tables if t not in _SETUP_TABLES and t.name in present]
    if any(connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() for table in work):
        return True
    events = sa.select(sa.literal(1)).where(tables.outbox.c.type != EventType.LOG_OPENED.value).limit(1)
    return connection.execute(events).first() is not None


def _move_audit_log_aside(campaign: Campaign, other: str) -> None:
    log = campaign.spec.directory / campaign.settings.audit.directory
    if not os.path.lexists(log):
        return
    home = campaign.spec.directory.resolve()
    if home.is_relative_to(log.resolve()):
        raise ConfigError(f"the audit log of campaign {other!r} lies in {log} among other files", hint="move it away")
    aside = next(p for n in range(1, 1_000_000) if not os.path.lexists(p := log.with_name(f"{log.name}.{other}.{n}")))
    try:
        log.rename(aside)
    except OSError as error:
        raise AuditLogError(
            f"the audit log of campaign {other!r} can't be moved to {aside}: {error.strerror}",
            hint="move it away, or give this campaign another audit.directory",
        ) from None
