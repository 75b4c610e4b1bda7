"""The row of a finalisation: how it begins, moves on and ends, always behind the campaign's lease.

Source and migrator database don't commit together. So before anything is deleted, the row says what is about to go and
how many messages of it there are (`pending`); after it went, the row takes the number in. Who finds a `pending` row
does the same deletion again, which does nothing twice, and takes the same number in: counts are exact however often
the process is killed.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from migrator import lease as leases
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.database import tables
from migrator.lease import Lease

_GOES_ON: Final = "`migrator finalize` goes on where it was left"


class What(StrEnum):
    """What a finalisation takes away."""

    MIGRATED = "migrated"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """A finalisation's row."""

    finalization_id: str
    run_id: str
    what: What
    completed: bool
    through: dict[str, Any]
    pending: dict[str, Any] | None
    counts: dict[str, int]
    started_at: str
    finished_at: str | None


_COUNTS: Final = ("conversations", "messages", "exports", "recipient_keys", "kept_conversations", "kept_exports")
_KEPT_SEALED: Final = ("kept_unannounced", "kept_messages")


def newest(connection: sa.Connection, what: What) -> Progressed | None:
    """The last one of its kind."""
    table = tables.finalization
    query = sa.select(table).where(table.c.what == what.value).order_by(table.c.finalization_no.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _value(row)


class Finalization:
    """A finalisation that this process works on."""

    def __init__(self, campaign: Campaign, lease: Lease, row: Progressed) -> None:
        self.campaign = campaign
        self.row = row
        self._lease = lease

    @classmethod
    def begin(
        cls, campaign: Campaign, connection: sa.Connection, lease: Lease, run_id: str, what: What
    ) -> "Finalization":
        """A new one, in the transaction in which its gates stood open."""
        leases.require(connection, campaign.name, lease, hint=_GOES_ON)
        table, now = tables.finalization, campaign.clock.now()
        number = (connection.scalar(sa.select(sa.func.max(table.c.finalization_no))) or 0) + 1
        finalization_id = f"finalization-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        connection.execute(
            table.insert().values(
                finalization_id=finalization_id, finalization_no=number, run_id=run_id, what=what.value,
                state="working", through="{}", started_at=format_time(now),
            )
        )  # fmt: skip
        found = newest(connection, what)
        assert found is not None  # noqa: S101 - it was made just now
        return cls(campaign, lease, found)

    @contextmanager
    def transaction(self, boundary: str) -> Iterator[sa.Connection]:
        """One write transaction behind the lease."""
        with self.campaign.database.write(f"finalize-{boundary}") as connection:
            leases.require(connection, self.campaign.name, self._lease, hint=_GOES_ON)
            yield connection

    def announce(self, pending: dict[str, Any]) -> None:
        """Say what is about to be deleted."""
        with self.transaction("pending") as connection:
            self.update(connection, pending=canonical_json(pending).decode())

    def update(self, connection: sa.Connection, *, add: dict[str, int] | None = None, **values: Any) -> None:
        """Change the row, and the copy of it here; `add` counts up."""
        table = tables.finalization
        counted = {name: table.c[name] + number for name, number in (add or {}).items()}
        connection.execute(
            table.update().where(table.c.finalization_id == self.row.finalization_id).values(**values, **counted)
        )
        row = connection.execute(sa.select(table).where(table.c.finalization_id == self.row.finalization_id)).one()
        self.row = _value(row)


def _value(row: sa.Row[Any]) -> Progressed:
    what = What(row.what)
    return Progressed(
        finalization_id=row.finalization_id,
        run_id=row.run_id,
        what=what,
        completed=row.state == "completed",
        through=json.loads(row.through),
        pending=None if row.pending is None else json.loads(row.pending),
        counts={name: getattr(row, name) for name in (*_COUNTS, *(_KEPT_SEALED if what is What.SEALED else ()))},
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
