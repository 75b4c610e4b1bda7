"""What the migrator database remembers of the log: its end, and every checkpoint that was signed.

It is the memory that a restored, cut or rewritten log is held against. Each change is a compare-and-swap: a second
sequencer that the file's lock does not reach is found out here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from migrator.audit import wal
from migrator.audit.sealing import Head, Signed
from migrator.core.clock import format_time
from migrator.core.errors import AuditLogError
from migrator.database import tables
from migrator.database.bulk import insert_rows, update_rows

_ROOT: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """How far the log goes, as the database remembers it: lines, bytes, digest of the last line, last checkpoint."""

    size: int = 0
    wal_bytes: int = 0
    last_line_sha256: str = ""
    head: Head = field(default_factory=Head)


def read(connection: sa.Connection, origin: str) -> LogState:
    """What is remembered of one log; `AuditLogError` for numbers that no log has."""
    table = tables.audit_state
    row = connection.execute(sa.select(table).where(table.c.origin == origin)).mappings().one_or_none()
    if row is None:
        return LogState()
    numbers = [row[n] for n in ("size", "wal_bytes", "checkpoint_size", "checkpoint_wal_bytes")]
    if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
        raise AuditLogError(
            f"what the database remembers of the audit log can't be: {numbers} in {table.name}",
            hint=wal.RESTORE,
            changed=wal.KEPT,
        )
    head = Head(size=numbers[2], root=str(row["checkpoint_root"]), wal_bytes=numbers[3])
    return LogState(size=numbers[0], wal_bytes=numbers[1], last_line_sha256=str(row["last_line_sha256"]), head=head)


def acknowledge(
    connection: sa.Connection, origin: str, before: LogState, after: LogState, outbox_nos: Sequence[int]
) -> None:
    """Lines that are safe in the file: move the end behind them, number their rows of the outbox."""
    table = tables.audit_state
    values: dict[str, Any] = {
        "size": after.size,
        "wal_bytes": after.wal_bytes,
        "last_line_sha256": after.last_line_sha256,
    }
    if before.size == 0:
        head = {"checkpoint_size": 0, "checkpoint_root": "", "checkpoint_wal_bytes": 0}
        connection.execute(table.insert().values(origin=origin, **values, **head))
    else:
        swap = table.update().where(table.c.origin == origin, table.c.size == before.size)
        if connection.execute(swap.values(values)).rowcount != 1:
            raise _overtaken()
    numbered = [(outbox_no, before.size + index) for index, outbox_no in enumerate(outbox_nos)]
    update_rows(connection, tables.outbox, "outbox_no", ("seq",), numbered)


def record_signed(connection: sa.Connection, origin: str, before: Head, signed: Signed) -> None:
    """Checkpoints that were published, the last of them as the log's head."""
    table, head = tables.audit_state, signed.head
    swap = table.update().where(
        table.c.origin == origin, table.c.checkpoint_size == before.size, table.c.size >= head.size
    )
    values = {
        "checkpoint_size": head.size,
        "checkpoint_root": head.root,
        "checkpoint_wal_bytes": head.wal_bytes,
        "checkpoint_at": format_time(datetime.now(UTC)),
    }
    if connection.execute(swap.values(values)).rowcount != 1:
        raise _overtaken()
    rows = [(origin, checkpoint.size, checkpoint.root.hex()) for checkpoint in signed.checkpoints]
    insert_rows(connection, tables.audit_checkpoint, ("origin", "size", "root"), rows)


def signed_checkpoints(connection: sa.Connection, origin: str, first: int, end: int) -> Iterator[tuple[int, str]]:
    """(size, root in hex) of every checkpoint over more than `first` and at most `end` entries, the smallest first."""
    table = tables.audit_checkpoint
    query = sa.select(table.c.size, table.c.root).where(
        table.c.origin == origin, table.c.size > first, table.c.size <= end
    )
    for size, root in connection.execute(query.order_by(table.c.size)):
        if isinstance(size, int):  # SQLite keeps whatever it is given
            yield size, root if isinstance(root, str) and _ROOT.match(root) else ""


def signed_beyond(connection: sa.Connection, origin: str, head: Head) -> int | None:
    """Size of a checkpoint that is remembered as signed after the last one; None, unless a part was set back."""
    table = tables.audit_checkpoint
    query = sa.select(table.c.size).where(table.c.origin == origin, table.c.size > head.size)
    return connection.scalar(query.order_by(table.c.size.desc()).limit(1))


def phantoms(connection: sa.Connection, size: int) -> int:
    """How many rows of the outbox have a number that no line of a log of that size has: never to be written."""
    table = tables.outbox
    query = sa.select(sa.func.count()).where(sa.or_(table.c.seq >= size, table.c.seq < 0))
    return connection.scalar(query) or 0


def _overtaken() -> AuditLogError:
    return AuditLogError(
        "another process has moved the audit log on in the meantime",
        hint="run one coordinator at a time, on one host",
        changed=wal.KEPT,
    )
