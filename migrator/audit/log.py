"""The sequencer: moves committed events from the outbox into `wal.jsonl`, each exactly once (G3, G8).

1. A batch's lines are written and fsynced, then one transaction numbers the outbox rows and moves the
   acknowledged end of the file (`migrator_audit_state`). Only then do the lines count.
2. Bytes beyond the acknowledged end are what a crash left between the two. They are cut off and written
   again, provided that every whole line of them is an event that still waits in the outbox.
3. Anything else that differs from what the database remembers (a shorter file, another last line, lines that the
   database does not know) is a lost or restored log or database: refused, never repaired.
4. One process at a time, by a lock on the file; a second host is found out by compare-and-swap on the state.

A leaf is the exact bytes of one line without its newline; `seq` is its index from 0. Whoever builds on the log (tiles,
checkpoints, queries) reads `lines()`, which gives acknowledged lines only.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from migrator.audit import wal
from migrator.core.encoding import canonical_json
from migrator.core.errors import AuditLogError
from migrator.database import tables
from migrator.database.bulk import chunks, update_rows
from migrator.database.connect import Database

TYPE_PREFIX: Final = "dev.migrator."
BATCH: Final = 5000
"""Events in one write, one fsync and one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """How far the log goes, as the database remembers it: lines, bytes, and the digest of the last line."""

    size: int = 0
    wal_bytes: int = 0
    last_line_sha256: str = ""


class AuditLog:
    """The audit log of one campaign."""

    def __init__(self, database: Database, directory: Path, *, origin: str) -> None:
        self._database = database
        self._origin = origin
        self.path = directory / "wal.jsonl"

    def create(self) -> bool:
        """Make the directory and an empty log where there is none; False if the log is there and in order.

        Raises `AuditLogError` where the database remembers a log that is not there.
        """
        if self.state().size == 0 and wal.make(self.path):
            return True
        self.check()
        return False

    def state(self) -> LogState:
        """What the database remembers."""
        with self._database.read() as connection:
            return self._state(connection)

    def check(self) -> None:
        """Compare the end of the file with the database, cheaply; raises `AuditLogError`, changes nothing."""
        with wal.locked(self.path, read_only=self._database.read_only) as file, self._database.read() as connection:
            self._compare(connection, file, self._state(connection))

    def flush(self) -> int:
        """Move every committed event that waits into the log; returns how many. Not to be called in a transaction.

        In a dry run it does nothing. Raises `AuditLogError`; the events then wait for the next time.
        """
        if self._database.read_only:
            return 0
        moved = 0
        with wal.locked(self.path) as file:
            with self._database.read() as connection:
                state = self._state(connection)
                self._compare(connection, file, state)
            if file.size() > state.wal_bytes:
                file.cut(state.wal_bytes)
            while rows := self._waiting():
                state = self._move(file, state, rows)
                moved += len(rows)
        return moved

    def lines(self) -> Iterator[bytes]:
        """Every acknowledged line in order, exact bytes without the newline; bounded memory, no lock."""
        return wal.read_lines(self.path, self.state().wal_bytes)

    def _state(self, connection: sa.Connection) -> LogState:
        table = tables.audit_state
        row = connection.execute(
            sa.select(table.c.size, table.c.wal_bytes, table.c.last_line_sha256).where(table.c.origin == self._origin)
        ).one_or_none()
        return LogState() if row is None else LogState(size=row[0], wal_bytes=row[1], last_line_sha256=row[2])

    def _waiting(self) -> list[dict[str, Any]]:
        """The next events without a number; also those with a low `outbox_no` that were committed late."""
        table = tables.outbox
        query = sa.select(table).where(table.c.seq.is_(None)).order_by(table.c.outbox_no).limit(BATCH)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _move(self, file: wal.Wal, state: LogState, rows: Sequence[dict[str, Any]]) -> LogState:
        lines = [self._line(row, state.size + index) for index, row in enumerate(rows)]
        data = b"".join(line + b"\n" for line in lines)
        file.append(data)
        self._database.boundary("audit-wal-sync", "before")
        file.sync()
        self._database.boundary("audit-wal-sync", "after")
        after = LogState(
            size=state.size + len(lines),
            wal_bytes=state.wal_bytes + len(data),
            last_line_sha256=hashlib.sha256(lines[-1]).hexdigest(),
        )
        self._acknowledge(state, after, rows)
        return after

    def _acknowledge(self, before: LogState, after: LogState, rows: Sequence[dict[str, Any]]) -> None:
        outbox, table = tables.outbox, tables.audit_state
        values = {
            "size": after.size,
            "wal_bytes": after.wal_bytes,
            "last_line_sha256": after.last_line_sha256,
        }
        with self._database.write("audit-acknowledge") as connection:
            if before.size == 0:
                connection.execute(table.insert().values(origin=self._origin, **values))
            else:
                swap = table.update().where(table.c.origin == self._origin, table.c.size == before.size)
                if connection.execute(swap.values(values)).rowcount != 1:
                    raise AuditLogError(
                        "another process has moved the audit log on in the meantime",
                        hint="run one coordinator at a time, on one host",
                        changed=wal.KEPT,
                    )
            numbered = [(row["outbox_no"], before.size + index) for index, row in enumerate(rows)]
            update_rows(connection, outbox, "outbox_no", ("seq",), numbered)

    def _line(self, row: dict[str, Any], seq: int) -> bytes:
        """CloudEvents attributes (CNCF CloudEvents 1.0.2, section 3) of one event; absent ones are left out."""
        attributes = {
            "specversion": "1.0",
            "id": row["event_id"],
            "source": quote(self._origin, safe="/:@!$&'()*+,;=?~"),
            "type": TYPE_PREFIX + row["type"],
            "subject": row["subject"],
            "time": row["time"],
            "dataschema": f"urn:migrator:event:{row['type']}:1",
            "data": json.loads(row["data"]),
            "seq": seq,
            "runid": row["run_id"],
            "actor": row["actor"],
        }
        return canonical_json({name: value for name, value in attributes.items() if value is not None})

    def _compare(self, connection: sa.Connection, file: wal.Wal, state: LogState) -> None:
        size = file.size()
        if size < state.wal_bytes:
            raise self._differs(
                f"it has {size} bytes, but {state.wal_bytes} were acknowledged: the end of the log is lost"
            )
        if state.size and file.last_line_sha256(state.wal_bytes) != state.last_line_sha256:
            raise self._differs(f"its line {state.size} is not the one that was acknowledged")
        if size > state.wal_bytes:
            self._require_waiting(connection, file, state)

    def _require_waiting(self, connection: sa.Connection, file: wal.Wal, state: LogState) -> None:
        """Beyond the acknowledged end may stand what a crash leaves: events that still wait, and torn bytes."""
        table = tables.outbox
        waiting = table.c.seq.is_(None)
        if connection.execute(sa.select(table.c.outbox_no).where(waiting).limit(1)).first() is None:
            raise self._differs(f"bytes stand after line {state.size}, but no event waits to be written")
        events = (identifier for line in file.lines(state.wal_bytes) if (identifier := _event_id(line)))
        for chunk in chunks(events):
            known = set(connection.scalars(sa.select(table.c.event_id).where(waiting, table.c.event_id.in_(chunk))))
            if not known.issuperset(chunk):
                raise self._differs(f"lines stand after line {state.size} that the database does not know")

    def _differs(self, finding: str) -> AuditLogError:
        return AuditLogError(
            f"the audit log {self.path} is not the one that the database remembers: {finding}",
            hint="one of the two is not this campaign's, or was restored from a backup: keep both as they are, and "
            "bring back the log and the database of the same moment; nothing is repaired by itself",
            changed=wal.KEPT,
        )


def _event_id(line: bytes) -> str | None:
    """Id of the event in a line; None for what a torn write left."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(event, dict):
        return None
    identifier = event.get("id")
    return identifier if isinstance(identifier, str) else None
