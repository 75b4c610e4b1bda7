"""A migrator database with an audit log beside it, and events to put in."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.audit.log import AuditLog
from migrator.audit.signing_key import FileSigner
from migrator.database import tables
from migrator.database.connect import Database

ORIGIN = "example.org/migrator/dm"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)


def open_database(folder: Path, *, read_only: bool = False) -> Database:
    """The database in a folder, as one process opens it."""
    return Database(f"sqlite:///{folder}/migrator.db", read_only=read_only)


def open_log(folder: Path, *, read_only: bool = False) -> AuditLog:
    """The log in a folder on a database connection of its own."""
    return log_of(open_database(folder, read_only=read_only), folder)


def log_of(database: Database, folder: Path, **values: Any) -> AuditLog:
    """The log in a folder on a given database connection."""
    return AuditLog(database, folder / "audit", origin=ORIGIN, load_signer=lambda: FileSigner(KEY), **values)


def make_log(folder: Path) -> AuditLog:
    """A new, empty log."""
    database = open_database(folder)
    database.make_file()
    tables.metadata.create_all(database.engine)
    log = open_log(folder)
    log.create()
    return log


def record(folder: Path, count: int, *, type: EventType = EventType.KEY_CREATED, start: int = 0, **values: Any) -> None:  # noqa: A002 - as in Event
    """Commit events to the outbox, numbered in their data."""
    events = [Event(**{"type": type, "data": {"n": start + n}, **values}) for n in range(count)]
    with open_database(folder).write("test") as connection:
        outbox.record(connection, events, actor="tester", now=NOW)


def entries(folder: Path) -> list[dict[str, Any]]:
    """Every line of the file, parsed."""
    return [json.loads(line) for line in (folder / "audit" / "wal.jsonl").read_bytes().splitlines()]


def numbers(folder: Path) -> list[int]:
    """The numbers that `record` gave, in the order of the file."""
    return [entry["data"]["n"] for entry in entries(folder)]
