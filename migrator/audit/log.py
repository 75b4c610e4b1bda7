"""The sequencer: moves committed events from the outbox into `wal.jsonl`, each exactly once (G3, G8).

1. A batch's lines are written and fsynced, then one transaction numbers the outbox rows and moves the
   acknowledged end of the file (`migrator_audit_state`). Only then do the lines count.
2. Bytes beyond the acknowledged end are what a crash left between the two. They are cut off and written
   again, provided that every whole line of them is an event that still waits in the outbox.
3. Anything else that differs from what the database remembers (a shorter file, another last line, lines that the
   database does not know) is a lost or restored log or database: refused, never repaired.
4. One process at a time, by a lock on the file; a second host is found out by compare-and-swap on the state.
5. Acknowledged lines become tiles and checkpoints (`migrator.audit.sealing`): at the end of every flush, or, while a
   run writes all the time, once `EVERY` leaves or `SECONDS` wait.

A leaf is the exact bytes of one line without its newline; `seq` is its index from 0. Whoever builds on the log reads
`lines()`, which gives acknowledged lines only.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from migrator.audit import remembered, wal
from migrator.audit.directory import LogDirectory
from migrator.audit.entries import entry_line, parse
from migrator.audit.remembered import LogState
from migrator.audit.sealing import Sealer
from migrator.audit.signing import LogSigner
from migrator.core.encoding import canonical_json
from migrator.core.errors import AuditLogError
from migrator.core.tiles import ENTRY_BYTES
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.database.connect import Database
from migrator.keyservices.interface import Signer

BATCH: Final = 5000
"""Events in one write, one fsync and one transaction."""


SECONDS: Final = 60.0
"""Longest that an acknowledged line waits for a checkpoint while somebody flushes."""


class AuditLog:
    """The audit log of one campaign. `load_signer` is called when something is to be signed, once."""

    def __init__(
        self,
        database: Database,
        directory: Path,
        *,
        origin: str,
        load_signer: Callable[[], Signer],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self.origin = origin
        self.source = quote(origin, safe="/:@!$&'()*+,;=?~")
        self.path = directory / "wal.jsonl"
        self.directory = LogDirectory(directory)
        self._sealer = Sealer(self.directory, origin, LogSigner(origin, load_signer))
        self._monotonic = monotonic
        self._unsigned_since: float | None = None

    def create(self) -> bool:
        """Make the directory and an empty log where there is none; False if the log is there and in order.

        Raises `AuditLogError` where the database remembers a log that is not there.
        """
        made = self.state().size == 0 and wal.make(self.path)
        self.check()
        return made

    def state(self) -> LogState:
        """What the database remembers."""
        with self._database.read() as connection:
            return remembered.read(connection, self.origin)

    def has_own_key(self) -> bool:
        """Whether `log.vkey` is that of `audit.signing_key`; raises whatever loading the key raises."""
        return self._sealer.has_own_key()

    def check(self, *, replay: bool = False, own_key: bool = True) -> None:
        """Compare the log with the database: both ends, tiles and checkpoint; raises `AuditLogError`, repairs nothing.

        Cheap, unless every line is to be hashed again (`replay`): then five seconds for a million. Without `own_key` it
        is not looked at whether `audit.signing_key` is the key of the log.
        """
        read_only = self._database.read_only
        with wal.locked(self.path, read_only=read_only) as file:
            state = self._compared(file, own_key=own_key and not read_only)
            if replay:
                self._sealer.replay(file, state.head)

    def flush(self, *, checkpoint: bool = True) -> int:
        """Move every committed event that waits into the log; returns how many. Not to be called in a transaction.

        `checkpoint`: sign everything now; False, for who flushes all the time: sign what is due. In a dry run it does
        nothing. Raises `AuditLogError`; the events then wait for the next time.
        """
        if self._database.read_only:
            return 0
        moved = 0
        with wal.locked(self.path) as file:
            state = self._compared(file, own_key=True)
            if file.size() > state.wal_bytes:
                file.cut(state.wal_bytes)
            while rows := self._waiting():
                state = self._seal(file, self._move(file, state, rows), everything=False)
                moved += len(rows)
            self._seal(file, state, everything=checkpoint or self._waited_long(state))
        return moved

    def lines(self) -> Iterator[bytes]:
        """Every acknowledged line in order, exact bytes without the newline; bounded memory, no lock."""
        return wal.read_lines(self.path, self.state().wal_bytes)

    @contextmanager
    def events(self, first: int, end: int) -> Iterator[Iterator[sa.RowMapping]]:
        """What the database has of the lines `first` to `end`: rows of the outbox in their order, a batch at a time."""
        table = tables.outbox
        query = sa.select(table).where(table.c.seq >= first, table.c.seq < end).order_by(table.c.seq)
        with (
            self._database.read() as connection,
            connection.execute(query.execution_options(yield_per=BATCH)) as rows,  # whoever reads may stop early
        ):
            yield iter(rows.mappings())

    @contextmanager
    def signed(self, first: int, end: int) -> Iterator[Iterator[tuple[int, str]]]:
        """(size, root in hex) of the checkpoints that the database remembers, over `first` + 1 to `end` entries."""
        with self._database.read() as connection:
            yield remembered.signed_checkpoints(connection, self.origin, first, end)

    def phantoms(self, size: int) -> int:
        """How many events of the database have a number, and are in no log of that size."""
        with self._database.read() as connection:
            return remembered.phantoms(connection, size)

    def _compared(self, file: wal.Wal, *, own_key: bool) -> LogState:
        """What the database remembers, once it was found in the files."""
        with self._database.read() as connection:
            state = remembered.read(connection, self.origin)
            if (beyond := remembered.signed_beyond(connection, self.origin, state.head)) is not None:
                raise wal.differs(
                    self.path,
                    f"a checkpoint over {beyond} entries was signed, the last one it knows covers {state.head.size}: "
                    "a part of the database was set back",
                )
            self._compare(connection, file, state)
        self._sealer.compare(file, state.head, state.size, own_key=own_key)
        return state

    # --- tiles and checkpoints ---

    def _seal(self, file: wal.Wal, state: LogState, *, everything: bool) -> LogState:
        """Sign what is due, and record it."""
        for signed in self._sealer.advance(file, state.head, state.size, everything=everything):
            with self._database.write("audit-checkpoint") as connection:
                remembered.record_signed(connection, self.origin, state.head, signed)
            state = replace(state, head=signed.head)
            self._unsigned_since = None
        return state

    def _waited_long(self, state: LogState) -> bool:
        """Whether lines without a checkpoint have waited for `SECONDS`, as far as this process knows."""
        if state.size == state.head.size:
            self._unsigned_since = None
            return False
        now = self._monotonic()
        if self._unsigned_since is None:
            self._unsigned_since = now
        return now - self._unsigned_since >= SECONDS

    # --- lines ---

    def _waiting(self) -> list[dict[str, Any]]:
        """The next events without a number; also those with a low `outbox_no` that were committed late."""
        table = tables.outbox
        query = sa.select(table).where(table.c.seq.is_(None)).order_by(table.c.outbox_no).limit(BATCH)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _move(self, file: wal.Wal, state: LogState, rows: Sequence[dict[str, Any]]) -> LogState:
        lines = [self._line(row, state.size + index) for index, row in enumerate(rows)]
        if (longest := max(map(len, lines))) > ENTRY_BYTES:
            raise AuditLogError(
                f"an event of {longest} bytes does not fit into the audit log, which takes {ENTRY_BYTES}",
                hint="this is a bug in migrator; nothing is lost: the event waits in the database",
                changed=wal.KEPT,
            )
        data = b"".join(line + b"\n" for line in lines)
        file.append(data)
        self._database.boundary("audit-wal-sync", "before")
        file.sync()
        self._database.boundary("audit-wal-sync", "after")
        after = replace(
            state,
            size=state.size + len(lines),
            wal_bytes=state.wal_bytes + len(data),
            last_line_sha256=hashlib.sha256(lines[-1]).hexdigest(),
        )
        with self._database.write("audit-acknowledge") as connection:
            numbers = [row["outbox_no"] for row in rows]
            remembered.acknowledge(connection, self.origin, state, after, numbers)
        return after

    def _line(self, row: dict[str, Any], seq: int) -> bytes:
        return entry_line(self.source, row, seq, canonical_json(json.loads(row["data"])).decode())

    def _compare(self, connection: sa.Connection, file: wal.Wal, state: LogState) -> None:
        size = file.size()
        if size < state.wal_bytes:
            raise wal.differs(
                self.path, f"it has {size} bytes, but {state.wal_bytes} were acknowledged: the end of the log is lost"
            )
        if state.size:
            last = file.line_before(state.wal_bytes)
            if last is None or hashlib.sha256(last).hexdigest() != state.last_line_sha256:
                raise wal.differs(self.path, f"its line {state.size} is not the one that was acknowledged")
            if _member(last, "seq") != state.size - 1:
                raise wal.differs(self.path, f"its last line does not have the number of line {state.size}")
        if size > state.wal_bytes:
            self._require_waiting(connection, file, state)

    def _require_waiting(self, connection: sa.Connection, file: wal.Wal, state: LogState) -> None:
        """Beyond the acknowledged end may stand what a crash leaves: events that still wait, and torn bytes."""
        if file.size() - state.wal_bytes > BATCH * (ENTRY_BYTES + 1):
            raise wal.differs(self.path, f"more bytes stand after line {state.size} than a crash can leave")
        table = tables.outbox
        waiting = table.c.seq.is_(None)
        if connection.execute(sa.select(table.c.outbox_no).where(waiting).limit(1)).first() is None:
            raise wal.differs(self.path, f"bytes stand after line {state.size}, but no event waits to be written")
        events = (identifier for line in file.lines(state.wal_bytes) if (identifier := _event_id(line)))
        for chunk in chunks(events):
            known = set(connection.scalars(sa.select(table.c.event_id).where(waiting, table.c.event_id.in_(chunk))))
            if not known.issuperset(chunk):
                raise wal.differs(self.path, f"lines stand after line {state.size} that the database does not know")


def _event_id(line: bytes) -> str | None:
    """Id of the event in a line; None for what a torn write left."""
    identifier = _member(line, "id") if line.endswith(b"\n") else None
    return identifier if isinstance(identifier, str) else None


def _member(line: bytes, name: str) -> object:
    """One attribute of an entry; None if it has none, or is no entry."""
    entry = parse(line)
    return None if entry is None else entry.get(name)
