"""Homeservers' databases made by hand, with the tables and indexes of a real one: rooms, members, encrypted events.

The laboratory's homeserver (`fixtures.synapse_lab`) is unpacked once a process and copied. Rows are put in as they are:
SQLite takes anything.
"""

import base64
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from fixtures import synapse_lab
from migrator.core.settings import SourceSettings
from migrator.stores import synapse_tables
from migrator.stores.synapse import SynapseStore

DOMAIN: Final = "a.example"
TABLES: Final = (*[table.name for table in synapse_tables.REQUIRED], synapse_tables.room_ban_redactions.name)
_FOLDERS: Final[list[tempfile.TemporaryDirectory[str]]] = []


@cache
def lab() -> Path:
    """The laboratory's folder, to be read only."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="migrator-test-"))
    return synapse_lab.unpack(Path(_FOLDERS[-1].name)).parent


def lab_copy(folder: Path) -> Path:
    """A copy of the laboratory's database that a test may change."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(lab() / synapse_lab.DATABASE, folder / synapse_lab.DATABASE))


def source(url: str, *, domain: str = DOMAIN, **values: Any) -> SourceSettings:
    """A homeserver's settings."""
    return SourceSettings(kind="synapse", url=url, local_domain=domain, **values)


@contextmanager
def opened(settings: SourceSettings, *, population_page: int = 5000) -> Iterator[SynapseStore]:
    """A store, open."""
    with closing(SynapseStore.open(settings, population_page=population_page)) as store:
        yield store


@cache
def _empty() -> bytes:
    """A homeserver's database without a row but its schema version."""
    with closing(sqlite3.connect(lab() / synapse_lab.DATABASE)) as there, closing(sqlite3.connect(":memory:")) as made:
        marks = ", ".join("?" * len(TABLES))
        rows = there.execute(
            f"SELECT sql FROM sqlite_master WHERE tbl_name IN ({marks}) AND sql IS NOT NULL "
            "AND type IN ('table', 'index') ORDER BY type DESC",
            TABLES,
        )
        for (definition,) in rows:
            made.execute(definition)
        made.execute("INSERT INTO schema_version (version, upgraded) VALUES (94, 0)")
        made.execute("INSERT INTO schema_compat_version (compat_version) VALUES (84)")
        made.commit()
        return made.serialize()


def key_of(number: int) -> str:
    """A public key in unpadded base64."""
    return base64.b64encode(number.to_bytes(32)).decode().rstrip("=")


class Homeserver:
    """A homeserver's database in an SQLite file, at schema 94."""

    def __init__(self, path: Path, *, first: int = 2) -> None:
        """A new one, or one that is there already; `first`: the stream ordering to begin with."""
        self.path = path
        self.url = f"sqlite:///{path}"
        if not path.exists():
            path.write_bytes(_empty())
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = MEMORY")
        self._stream = count(first)
        self._keys = count(first)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def execute(self, statement: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row of parameters."""
        self._connection.executemany(statement, rows) if "?" in statement else self._connection.execute(statement)

    def insert(self, table: str, **values: Any) -> None:
        """Put a row into a table."""
        marks = ", ".join("?" * len(values))
        self.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", [tuple(values.values())])

    # --- people ---

    def user(self, name: Any, **values: Any) -> str:
        """A user of the local domain: its id."""
        user_id = f"@{name}:{DOMAIN}"
        self.insert("users", **{"name": user_id, "creation_ts": next(self._stream), **values})
        return user_id

    def device(self, user_id: str, device_id: str, *, keys: Any = None, added: Any = 1_700_000_000_000) -> str:
        """A device with keys of its own: its Curve25519 key."""
        curve, signing = key_of(next(self._keys) * 1000), key_of(next(self._keys))
        found = {
            "algorithms": [],
            "device_id": device_id,
            "user_id": user_id,
            "keys": {f"curve25519:{device_id}": curve, f"ed25519:{device_id}": signing},
        }
        text = json.dumps(found) if keys is None else keys
        self.insert("devices", user_id=user_id, device_id=device_id, hidden=0)
        self.insert("e2e_device_keys_json", user_id=user_id, device_id=device_id, ts_added_ms=added, key_json=text)
        return curve

    # --- rooms ---

    def event(self, room_id: Any, kind: str, content: Any, *, sender: Any = "", **values: Any) -> str:
        """An event with its JSON; `text` and `internal` as they are, if they are given."""
        stream = values.pop("stream_ordering", next(self._stream))
        event_id = values.pop("event_id", f"$event-{stream:06}")
        text = values.pop("text", json.dumps({"type": kind, "sender": sender, "content": content}))
        internal = values.pop("internal", "{}")
        row = {
            "stream_ordering": stream,
            "topological_ordering": stream,
            "event_id": event_id,
            "type": kind,
            "room_id": room_id,
            "processed": 1,
            "outlier": 0,
            "origin_server_ts": stream,
            "sender": sender,
            **values,
        }
        self.insert("events", **row)
        if text is not None:
            self.insert("event_json", event_id=event_id, room_id=room_id, internal_metadata=internal, json=text)
        return str(event_id)

    def room(self, room_id: str, *members: str, visibility: str | None = None) -> str:
        """An encrypted room that these people have joined."""
        self.event(room_id, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, state_key="")
        if visibility is not None:
            self.visibility(room_id, visibility)
        for user_id in members:
            self.member(room_id, user_id, "join")
        return room_id

    def visibility(self, room_id: str, value: Any, **values: Any) -> None:
        """The room's history visibility from here on."""
        self.event(room_id, "m.room.history_visibility", {"history_visibility": value}, state_key="", **values)

    def member(self, room_id: str, user_id: str, membership: str, **values: Any) -> None:
        """Somebody's membership from here on."""
        content = {"membership": membership}
        event_id = self.event(room_id, "m.room.member", content, sender=user_id, state_key=user_id, **values)
        self.insert(
            "room_memberships", event_id=event_id, room_id=room_id, user_id=user_id, sender=user_id,
            membership=membership,
        )  # fmt: skip

    def message(self, room_id: Any, sender: Any, *, session: str = "session-1", say: str = "", **values: Any) -> str:
        """An encrypted event: its id."""
        content = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": say or f"said-{next(self._keys)}",
            "session_id": session,
            "sender_key": key_of(1),
        }
        return self.event(room_id, "m.room.encrypted", values.pop("content", content), sender=sender, **values)

    def redact(self, room_id: str, event_id: str, *, sender: str = "", **values: Any) -> str:
        """A redaction: its id. The event's own JSON stays as it is."""
        redaction = self.event(room_id, "m.room.redaction", {"redacts": event_id}, sender=sender, **values)
        self.insert("redactions", event_id=redaction, redacts=event_id, have_censored=0)
        return redaction

    def purge(self, room_id: str) -> None:
        """What Synapse's `purge_history` with `delete_local_events` does to encrypted events."""
        mine = "(SELECT event_id FROM events WHERE room_id = ? AND type = 'm.room.encrypted')"
        self.execute(f"DELETE FROM event_json WHERE event_id IN {mine}", [(room_id,)])
        self.execute("DELETE FROM events WHERE room_id = ? AND type = 'm.room.encrypted'", [(room_id,)])


def copy_to_postgresql(path: Path, url: str) -> None:
    """Make the tables of an SQLite homeserver in a PostgreSQL database, by reflection, with rows and indexes."""
    engine, target = sa.create_engine(f"sqlite:///{path}"), sa.create_engine(url)
    metadata = sa.MetaData()
    metadata.reflect(engine, only=TABLES, resolve_fks=False)
    with engine.connect() as connection, target.begin() as written:
        for table in metadata.tables.values():
            for constraint in [
                c for c in table.constraints if isinstance(c, sa.ForeignKeyConstraint | sa.CheckConstraint)
            ]:
                table.constraints.discard(constraint)
            for column in table.columns:
                column.server_default = None
                column.foreign_keys.clear()
            for index in list(table.indexes):
                if index.dialect_options["sqlite"]["where"] is not None:
                    table.indexes.discard(index)
            table.create(written)
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            if rows:
                written.execute(table.insert(), rows)
    engine.dispose()
    target.dispose()
