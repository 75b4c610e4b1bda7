"""A Synapse homeserver's own database, SQLite or PostgreSQL, read only: its encrypted rooms (formats, section 2).

A conversation is a room that has or had `m.room.encryption`, or holds encrypted events; its id is the room's, opaque,
and it has no owner. Messages are its `m.room.encrypted` events in the order (origin_server_ts, event id), as rows

    (sent_at, message_id, sender_id, ciphertext, algorithm, session_id, sender_key, redacted, owners, admit_unknown)

with the values of the event's content as they stand there, and None for what is not text. `redacted` rows have no
ciphertext and are never opened: the event was redacted (whatever its JSON still holds), by itself or with a ban, its
sender was erased, or the server rejected it or keeps it from clients (soft-failed). A state event, and one whose JSON
can't be understood, has neither ciphertext nor algorithm. `owners`: Curve25519 key → user id, for all devices that the
server knows of whoever was in the room. `admit_unknown`: whether a key that is nobody's may have sent.

What the database means stands in `synapse_rows`, the walk over rooms in `synapse_walk`, pages in `synapse_messages`.

Measured on SQLite, in processor time, on two cores with four times as much other work as they can do, events of 900
bytes of JSON: `page` 45 to 48 µs a message, 16 of them `json.loads`, out of a room of 200,000 whose times are in no
order, peak memory of the process 173 MiB, of which 70 before the first read; whole small rooms 36 µs a message; the
walk 3 to 4 µs an event in 5,001 rooms of 250,000 events, peak 120 MiB; `key_slots` 29 µs a message, `some_key_slot`
190 µs a room.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar

import sqlalchemy as sa

from migrator.core.encoding import canonical_json
from migrator.core.errors import SourceError
from migrator.core.model import Account, Conversation, Cursor, Device, MessageRow, Quorum
from migrator.core.settings import SourceSettings
from migrator.stores import synapse_clear, synapse_people, synapse_rows, synapse_running, synapse_schema
from migrator.stores.identifiers import identifiers
from migrator.stores.interface import Doubt, KeySlot
from migrator.stores.source_database import SourceDatabase, raw_rows
from migrator.stores.synapse_backup import SynapseKeyBackup
from migrator.stores.synapse_erasing import SynapseEraser
from migrator.stores.synapse_media import media_paths
from migrator.stores.synapse_messages import MessageReader
from migrator.stores.synapse_people import PeopleReader
from migrator.stores.synapse_schema import Features
from migrator.stores.synapse_tables import users
from migrator.stores.synapse_walk import PopulationWalk, RoomReader

_OLDEST_USERS = 8


class SynapseStore:
    """Reads a homeserver's database. Each process opens its own."""

    kind: ClassVar[str] = "synapse"
    scheme: ClassVar[str] = "megolm"
    quorums: ClassVar[frozenset[Quorum]] = frozenset({Quorum.ANY_PARTICIPANT, Quorum.EVERY_PARTICIPANT})

    def __init__(
        self, source: SourceSettings, database: SourceDatabase, features: Features, population_page: int
    ) -> None:
        self._source = source
        self._database = database
        self._population_page = population_page
        self._domain = source.local_domain or ""
        self._rooms = RoomReader(features)
        self._messages = MessageReader(database, features, admit=source.unverifiable_senders == "open")
        self._people = PeopleReader(database, features, self._domain)

    @classmethod
    def open(cls, source: SourceSettings, *, population_page: int = 5000) -> "SynapseStore":
        """Open the database; `SourceError` if it isn't there, or is no homeserver's of a version that is known."""
        database = SourceDatabase(source.url)
        try:
            features = synapse_schema.require(database, source.local_domain or "")
        except SourceError:
            database.close()
            raise
        return cls(source, database, features, population_page)

    @classmethod
    def open_eraser(cls, source: SourceSettings) -> SynapseEraser:
        """Open what counts ciphertext that is left."""
        return SynapseEraser.open(source)

    def identity(self) -> str:
        """SHA-256 in hex over the kind, the location, the domain and the oldest users.

        Not over rooms: those are purged when a campaign is made final, and users never are.
        """
        order = (users.c.creation_ts, self._database.bytewise(users.c.name))
        query = sa.select(users.c.name).order_by(*order).limit(_OLDEST_USERS)
        facts = {
            "kind": self.kind,
            "location": self._database.location(),
            "local_domain": self._domain,
            "oldest_users": [repr(row[0]) for row in self._database.run(partial(raw_rows, statement=query))],
        }
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def population(self) -> Iterator[list[Conversation]]:
        """Every encrypted room once, a page at a time."""
        return PopulationWalk(self._database, self._rooms, self._population_page).pages()

    def conversations(self, conversation_ids: Sequence[str]) -> dict[str, Conversation]:
        """The present state of some rooms; one with a faulty id is missing, its id leads nowhere."""
        wanted = list(filter(synapse_rows.is_sound, identifiers(conversation_ids)))
        found = self._database.run(partial(self._rooms.read, room_ids=wanted))
        return {conversation.conversation_id: conversation for conversation in found}

    def accounts(self, account_ids: Sequence[str]) -> dict[str, Account]:
        """Some local users; others are missing from the result."""
        return self._people.accounts(account_ids)

    def all_accounts(self) -> Iterator[list[Account]]:
        """Every local user in order of its id, a page at a time."""
        return self._people.pages(self._population_page)

    def on_hold(self, account_ids: Sequence[str], now: datetime) -> set[str]:
        """Which of these accounts `source.legal_holds` names."""
        return synapse_people.held(self._source.legal_holds, account_ids, now, self._people, self._domain)

    def devices(self, device_ids: Sequence[str]) -> dict[str, Device]:
        """Some devices of local users."""
        return self._people.devices(device_ids)

    def devices_of(self, account_ids: Sequence[str]) -> list[Device]:
        """The devices of some local users, by account and id."""
        return self._people.devices_of(account_ids)

    def attachments(self, conversation_ids: Sequence[str]) -> int:
        """None: attachments of encrypted rooms are known only once their messages are opened."""
        del conversation_ids
        return 0

    def locations(self, uris: Sequence[str]) -> dict[str, str | None]:
        """Where attachments lie below `source.media`, the homeserver's `media_store`."""
        return media_paths(self._database, self._domain, uris)

    def key_backup(self, account_id: str, conversation_ids: Collection[str]) -> SynapseKeyBackup:
        """What the homeserver keeps of a user's keys, limited to some rooms."""
        return SynapseKeyBackup(self._database, account_id, list(filter(synapse_rows.is_sound, conversation_ids)))

    def key_slots(self, conversation_ids: Sequence[str]) -> dict[str, set[KeySlot]]:
        """The session ids of some rooms' messages; those that must not be opened need none."""
        return {
            room_id: set(found) for room_id, found in self._messages.sessions(identifiers(conversation_ids)).items()
        }

    def some_key_slot(self, conversation_ids: Sequence[str]) -> dict[str, KeySlot]:
        """A session id of each room's newest messages; none where those need none."""
        return dict(self._messages.newest_sessions(identifiers(conversation_ids)))

    def messages(self, conversation_ids: Sequence[str]) -> Mapping[str, list[MessageRow]]:
        """All messages of some small rooms in message order, in one read."""
        return self._messages.whole(list(filter(synapse_rows.is_sound, identifiers(conversation_ids))))

    def page(self, conversation_id: str, after: Cursor | None, limit: int) -> list[MessageRow]:
        """At most `limit` messages of a room that follow a position, in message order.

        Events without a time, which only a damaged database has, can't be reached: the count shows it.
        """
        if not synapse_rows.is_sound(conversation_id):
            return []
        return self._messages.page(conversation_id, None if after is None else (after[0], after[1]), limit)

    def cursor(self, row: MessageRow) -> Cursor:
        """The position of a message whose time is an integer and whose id is text."""
        return (row[0], row[1])

    def doubts(self) -> list[Doubt]:
        """Whether the homeserver runs, what it has not finished, and what is not passed yet."""
        return synapse_running.doubts(self._database)

    def clear_text(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        """How many messages of some rooms were never encrypted."""
        return self._database.run(partial(synapse_clear.count, room_ids=conversation_ids))

    def relations(self, conversation_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        """`m.relates_to` beside the ciphertext of some events, as JSON text."""
        return self._database.run(partial(synapse_clear.relations, room_id=conversation_id, event_ids=message_ids))

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()
