"""Whether a database is a homeserver's of a version that is known, and what of its optional parts it has."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from migrator.core.errors import SourceError
from migrator.stores import synapse_tables as tables
from migrator.stores.source_database import SourceDatabase, raw_rows

_SAMPLE_USERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What came with later schemas. `locks`: columns of `users`; `ban_redactions`: the table of that name."""

    schema: int
    locks: tuple[str, ...]
    ban_redactions: bool


def require(database: SourceDatabase, local_domain: str) -> Features:
    """The features of a homeserver's database; `SourceError` where it is none, none that is known, or another's."""
    database.require_tables(tables.REQUIRED)
    columns = database.columns_of([*[table.name for table in tables.REQUIRED], tables.room_ban_redactions.name])
    missing = [
        f"{table.name}.{column.name}"
        for table in tables.REQUIRED
        for column in table.columns
        if column.name not in columns[table.name]
    ]
    schema = _version(database)
    if missing:
        raise SourceError(f"the homeserver's database has no column {', '.join(missing)}", hint=_supported())
    _require_updates(database)
    _require_domain(database, local_domain)
    return Features(
        schema=schema,
        locks=tuple(name for name in tables.LOCKS if name in columns["users"]),
        ban_redactions=bool(columns[tables.room_ban_redactions.name]),
    )


def _version(database: SourceDatabase) -> int:
    version = _only(database, sa.select(tables.schema_version.c.version))
    compatible = _only(database, sa.select(tables.schema_compat_version.c.compat_version))
    if version < tables.OLDEST_SCHEMA:
        raise SourceError(
            f"the homeserver's schema is version {version}, which is older than what is known here",
            hint=f"upgrade Synapse, or a copy of it, to schema {tables.OLDEST_SCHEMA} or later; {_supported()}",
        )
    if compatible > tables.NEWEST_SCHEMA:
        raise SourceError(
            f"the homeserver's schema {version} can be read from version {compatible} on, which is not known here",
            hint=f"take a newer migrator; {_supported()}",
        )
    return version


def _only(database: SourceDatabase, query: sa.Select[Any]) -> int:
    rows = database.run(partial(raw_rows, statement=query))
    if len(rows) != 1 or type(rows[0][0]) is not int:
        raise SourceError("the homeserver's database does not say its schema version", hint=_supported())
    number: int = rows[0][0]
    return number


def _supported() -> str:
    return f"schemas {tables.OLDEST_SCHEMA} to {tables.NEWEST_SCHEMA} are read, and later ones compatible with them"


def pending_updates(database: SourceDatabase) -> set[str]:
    """The background updates that Synapse has not finished."""
    query = sa.select(tables.background_updates.c.update_name)
    return {str(row[0]) for row in database.run(partial(raw_rows, statement=query))}


def _require_updates(database: SourceDatabase) -> None:
    left = tables.REQUIRED_UPDATES & pending_updates(database)
    if left:
        raise SourceError(
            f"the homeserver has not finished its background update {', '.join(sorted(left))}",
            hint="until then rows don't say which events are state or were rejected: let Synapse finish it",
        )


def _require_domain(database: SourceDatabase, local_domain: str) -> None:
    """All of a homeserver's users are of one domain: another one here would make every account unresolvable."""
    query = sa.select(tables.users.c.name).order_by(tables.users.c.name).limit(_SAMPLE_USERS)
    names = [row[0] for row in database.run(partial(raw_rows, statement=query)) if isinstance(row[0], str)]
    if names and all(domain_of(name) != local_domain for name in names):
        raise SourceError(
            "no user of the homeserver is of source.local_domain",
            hint="it is Synapse's server_name: what stands behind the first colon of its users' ids",
        )


def domain_of(user_id: str) -> str:
    """What follows the first colon of a user id (Matrix specification, "User identifiers"); a port may be in it."""
    return user_id.partition(":")[2]
