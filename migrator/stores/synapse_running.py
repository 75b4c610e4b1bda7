"""What an operator should know of a homeserver's database before a campaign reads it.

A running homeserver is no fault: reads have a snapshot each, and what comes later is for the next plan. But SQLite has
one writer and long reads hold its checkpoints up, and a campaign is to be made final on something that stands still.
"""

import os
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from migrator.stores.interface import Doubt
from migrator.stores.source_database import SourceDatabase, raw_rows
from migrator.stores.synapse_queries import HELD_BACK
from migrator.stores.synapse_schema import pending_updates
from migrator.stores.synapse_tables import events

_PROCESSES: Final = Path("/proc")
_COPY: Final = "read a copy that was made while Synapse was stopped (the file and its -wal)"
_OTHERS: Final = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' AND application_name NOT LIKE 'migrator%' AND NOT pg_is_in_recovery()"
)


def doubts(database: SourceDatabase) -> list[Doubt]:
    """Each with what to do about it."""
    found = _on_sqlite(Path(database.location())) if database.is_sqlite else []
    if database.is_postgresql and database.run(_others):
        found.append(Doubt("others are at work in the homeserver's database", "read a replica, or stop Synapse"))
    updates = pending_updates(database)
    if updates:
        found.append(
            Doubt(
                f"Synapse has {len(updates)} background updates to finish, such as {min(updates)}",
                "let it finish them: indexes may be missing, and reading is slower",
            )
        )
    held_back = database.run(_held_back)
    if held_back:
        found.append(
            Doubt(
                f"{held_back} encrypted events lie above the position of one of several event writers",
                "they count once that writer has moved on. In a copy of a homeserver that is stopped nothing is under "
                "way: delete the idle writer's row from its stream_positions, as Synapse does when it starts",
            )
        )
    return found


def _on_sqlite(path: Path) -> list[Doubt]:
    log = path.with_name(f"{path.name}-wal")
    if _open_elsewhere(path):
        return [Doubt("another process has the homeserver's database open", _COPY)]
    if log.is_file() and log.stat().st_size:
        return [Doubt("the homeserver's database has a write-ahead log: Synapse runs, or was killed", _COPY)]
    return []


def _open_elsewhere(path: Path) -> bool:
    """Whether a process that this user may look at has the file open; where there is no /proc, nobody can tell."""
    wanted = str(path.resolve())
    for process in _PROCESSES.iterdir() if _PROCESSES.is_dir() else ():
        if not process.name.isdigit() or process.name == str(os.getpid()):
            continue
        try:
            if any(os.readlink(file) == wanted for file in (process / "fd").iterdir()):  # noqa: PTH115 - text of a link
                return True
        except OSError:
            continue  # it ended, or is another user's
    return False


def _others(connection: sa.Connection) -> int:
    return int(connection.execute(_OTHERS).scalar_one())


def _held_back(connection: sa.Connection) -> int:
    query: sa.Select[Any] = sa.select(sa.func.count()).select_from(events).where(HELD_BACK)
    return int(raw_rows(connection, query)[0][0])
