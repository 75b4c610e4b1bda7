"""The Labyrinth message store: a mailbox for each account, in any SQL database (formats, section 1).

The paper is *The Labyrinth Encrypted Message Storage Protocol* (Meta, December 2023). A conversation is one owner's
copy of a thread, its id `inbox_id/thread_id`. Messages are ordered by (sent_at, message_id). What rows mean stands in
`labyrinth_rows`, the walk over all conversations in `labyrinth_walk`.

The hot path: messages go as the driver's own tuples. From SQLite 1.6 µs a message of 250 bytes, by batch or by page;
the walk takes 8 µs a conversation of two members and ten messages (two-core virtual machine, objects of the imports
frozen out of garbage collection; 11 µs else).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar

import sqlalchemy as sa

from migrator.core.encoding import canonical_json
from migrator.core.errors import SourceError
from migrator.core.model import Account, Conversation, Cursor, Device, MessageRow, Quorum
from migrator.core.settings import SourceSettings
from migrator.lookups import rows_among
from migrator.stores import labyrinth_rows as meaning
from migrator.stores.identifiers import identifiers, is_identifier
from migrator.stores.interface import Doubt, KeySlot
from migrator.stores.labyrinth_erasing import LabyrinthEraser
from migrator.stores.labyrinth_queries import KeyedQuery
from migrator.stores.labyrinth_rows import Key
from migrator.stores.labyrinth_tables import (
    REQUIRED,
    account,
    attachment,
    device,
    legal_hold,
    message,
    thread,
    thread_member,
)
from migrator.stores.labyrinth_walk import PopulationWalk, conversations_of
from migrator.stores.source_database import SourceDatabase, bound, raw_rows

_OLDEST_ACCOUNTS = 8
_CIPHERTEXT = itemgetter(3)
_MESSAGE_COLUMNS = (
    message.c.sent_at,
    message.c.message_id,
    message.c.sender_id,
    message.c.encrypted_message_data,
    message.c.epoch_id,
    message.c.version,
)


class LabyrinthStore:
    """Reads a Labyrinth store. Each process opens its own."""

    kind: ClassVar[str] = "labyrinth"
    scheme: ClassVar[str] = "labyrinth"
    quorums: ClassVar[frozenset[Quorum]] = frozenset({Quorum.OWNER, Quorum.EVERY_PARTICIPANT})

    def __init__(self, database: SourceDatabase, population_page: int) -> None:
        self._database = database
        self._population_page = population_page
        message_id = database.bytewise(message.c.message_id)
        self._place = (message.c.sent_at, message_id)
        self._messages = KeyedQuery(message, sa.select(*_MESSAGE_COLUMNS).order_by(*self._place))

    @classmethod
    def open(cls, source: SourceSettings, *, population_page: int = 5000) -> "LabyrinthStore":
        """Open the store at a SQLAlchemy URL; `SourceError` if it isn't there or lacks a table."""
        database = SourceDatabase(source.url)
        try:
            database.require_tables(REQUIRED)
        except SourceError:
            database.close()
            raise
        return cls(database, population_page)

    @classmethod
    def open_eraser(cls, source: SourceSettings) -> LabyrinthEraser:
        """Open what deletes from the store; `SourceError` where that can't be."""
        return LabyrinthEraser.open(source.url)

    def identity(self) -> str:
        """SHA-256 in hex over the kind, the location and the oldest accounts.

        Accounts and messages that come later don't change it; another store, or another in the same place, does.
        """
        order = (self._database.bytewise(account.c.created_at), self._database.bytewise(account.c.account_id))
        query = sa.select(account.c.account_id).order_by(*order).limit(_OLDEST_ACCOUNTS)
        oldest = [repr(row[0]) for row in self._database.run(partial(raw_rows, statement=query))]
        facts = {"kind": self.kind, "location": self._database.location(), "oldest_accounts": oldest}
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def population(self) -> Iterator[list[Conversation]]:
        """Every conversation once, a page at a time."""
        return PopulationWalk(self._database, self._population_page).pages()

    def conversations(self, conversation_ids: Sequence[str]) -> dict[str, Conversation]:
        """The present state of some conversations; one with a faulty key is missing, its id leads nowhere."""
        keys = _keys(conversation_ids).values()
        return self._database.run(partial(_conversations, keys=list(keys)))

    def accounts(self, account_ids: Sequence[str]) -> dict[str, Account]:
        """Some accounts; unknown ones are missing from the result."""
        found = self._by_id(_ACCOUNTS, account.c.account_id, account_ids)
        return {row[0]: meaning.account(row) for row in found}

    def all_accounts(self) -> Iterator[list[Account]]:
        """Every account in order of its id, a page at a time; one whose id is not text is left out."""
        account_id = self._database.bytewise(account.c.account_id)
        query = _ACCOUNTS.where(account.c.account_id.is_not(None)).order_by(account_id)
        after: Any = None
        while True:
            statement = query if after is None else query.where(account_id > bound(after))
            rows = self._database.run(partial(raw_rows, statement=statement.limit(self._population_page)))
            page = [meaning.account(row) for row in rows if is_identifier(row[0])]
            if page:
                yield page
            if len(rows) < self._population_page:
                return
            after = rows[-1][0]

    def on_hold(self, account_ids: Sequence[str], now: datetime) -> set[str]:
        """Which of these accounts a legal hold is on."""
        self._database.require_tables((legal_hold,))
        found = self._by_id(_HOLDS, legal_hold.c.account_id, account_ids)
        return {account_id for account_id, released_at in found if not meaning.is_over(released_at, now)}

    def devices(self, device_ids: Sequence[str]) -> dict[str, Device]:
        """Some devices; unknown ones, and ones whose row can't be understood, are missing."""
        found = map(meaning.device, self._by_id(_DEVICES, device.c.device_id, device_ids))
        return {known.device_id: known for known in found if known is not None}

    def devices_of(self, account_ids: Sequence[str]) -> list[Device]:
        """The devices of some accounts, by account and id; ones whose row can't be understood are left out."""
        found = map(meaning.device, self._by_id(_DEVICES, device.c.account_id, account_ids))
        return sorted((known for known in found if known is not None), key=lambda d: (d.account_id, d.device_id))

    def attachments(self, conversation_ids: Sequence[str]) -> int:
        """Rows of attachments."""
        self._database.require_tables((attachment,))
        keys = list(_keys(conversation_ids).values())
        found = self._database.run(partial(_ATTACHMENTS.rows, keys=keys))
        return sum(rows[0][0] for rows in found.values() if rows)

    def key_slots(self, conversation_ids: Sequence[str]) -> dict[str, set[KeySlot]]:
        """The (epoch id, version) pairs of some conversations' messages; odd ones need no key and are left out."""
        keys = _keys(conversation_ids)
        found = self._database.run(partial(_SLOTS.rows, keys=list(keys.values())))
        return {
            conversation_id: {
                (epoch, version)
                for epoch, version in found.get(key, ())
                if is_identifier(epoch) and type(version) is int
            }
            for conversation_id, key in keys.items()
        }

    def some_key_slot(self, conversation_ids: Sequence[str]) -> dict[str, KeySlot]:
        """The slot of one message of each conversation; none where that message is an odd one."""
        keys = _keys(conversation_ids)
        found = self._database.run(partial(_SOME_SLOT.rows, keys=list(keys.values())))
        slots: dict[str, KeySlot] = {}
        for conversation_id, key in keys.items():
            for epoch, version in found.get(key, ()):
                if is_identifier(epoch) and type(version) is int:
                    slots[conversation_id] = (epoch, version)
        return slots

    def messages(self, conversation_ids: Sequence[str]) -> Mapping[str, list[MessageRow]]:
        """All messages of some small conversations in message order, in one read.

        Text that is not UTF-8 comes as bytes, so that it costs its own message only. An id that no sound conversation
        can have is missing from the result.
        """
        keys = _keys(conversation_ids)
        found = self._database.run(partial(self._messages.rows, keys=list(keys.values())))
        return {conversation_id: _plain(found.get(key, [])) for conversation_id, key in keys.items()}

    def page(self, conversation_id: str, after: Cursor | None, limit: int) -> list[MessageRow]:
        """At most `limit` messages of a conversation that follow a position, in message order.

        Rows behind one whose time or id is NULL (SQLite admits that) can't be reached: the count shows it.
        """
        key = meaning.key_of(conversation_id)
        if key is None:
            return []
        query = (
            sa.select(*_MESSAGE_COLUMNS)
            .where(message.c.inbox_id == key[0], message.c.thread_id == key[1])
            .order_by(*self._place)
            .limit(limit)
        )
        if after is not None:
            query = query.where(sa.tuple_(*self._place) > sa.tuple_(*map(bound, after)))
        return _plain(self._database.run(partial(raw_rows, statement=query)))

    def cursor(self, row: MessageRow) -> Cursor:
        """The position of a message whose time is an integer and whose id is text."""
        return (row[0], row[1])

    def doubts(self) -> list[Doubt]:
        """Nothing: it is read as it is, whoever writes to it meanwhile."""
        return []

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    def _by_id(
        self, query: sa.Select[Any], column: sa.ColumnElement[Any], wanted: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        keys = identifiers(wanted)
        return self._database.run(partial(rows_among, query=query, column=column, keys=keys))


_ACCOUNTS = sa.select(*[account.c[name] for name in meaning.ACCOUNT_COLUMNS])
_DEVICES = sa.select(*[device.c[name] for name in meaning.DEVICE_COLUMNS])
_HOLDS = sa.select(legal_hold.c.account_id, legal_hold.c.released_at)
_ATTACHMENTS = KeyedQuery(attachment, sa.select(sa.func.count()).group_by(attachment.c.inbox_id))
_SLOTS = KeyedQuery(message, sa.select(message.c.epoch_id, message.c.version).distinct())
_SOME_SLOT = KeyedQuery(
    message,
    # As literals, for a keyed query takes no parameters of its own.
    sa.select(message.c.epoch_id, message.c.version).limit(sa.literal_column("1")).offset(sa.literal_column("0")),
)
_KINDS = KeyedQuery(thread, sa.select(thread.c.kind))
_MEMBERS = KeyedQuery(thread_member, sa.select(thread_member.c.account_id))
_TALLIES = KeyedQuery(
    message,
    sa.select(sa.func.count(), sa.func.max(message.c.sent_at)).group_by(message.c.inbox_id, message.c.thread_id),
)


def _conversations(connection: sa.Connection, keys: Sequence[Key]) -> dict[str, Conversation]:
    kinds = {key: rows[0][0] or "" for key, rows in _KINDS.rows(connection, keys).items()}
    tallies = {key: (rows[0][0], rows[0][1]) for key, rows in _TALLIES.rows(connection, keys).items()}
    members = {key: [row[0] for row in rows] for key, rows in _MEMBERS.rows(connection, keys).items()}
    return {found.conversation_id: found for found in conversations_of(connection, kinds, members, tallies)}


def _keys(conversation_ids: Sequence[str]) -> dict[str, Key]:
    keys = {conversation_id: meaning.key_of(conversation_id) for conversation_id in conversation_ids}
    return {conversation_id: key for conversation_id, key in keys.items() if key is not None}


def _plain(rows: list[tuple[Any, ...]]) -> list[MessageRow]:
    """Some drivers give binary columns as views; what leaves the store owns its bytes."""
    if memoryview in set(map(type, map(_CIPHERTEXT, rows))):
        return [(*row[:3], bytes(row[3]), *row[4:]) if type(row[3]) is memoryview else row for row in rows]
    return rows
