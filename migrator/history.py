"""Server history as it is stored: a conversation's data key, its messages and gaps in message order, and their opening.

Rows travel as plain tuples, a page at a time. What is asked within one connection is one transaction's view.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.envelope import DataKey, associated_data, open_message
from migrator.core.errors import IntegrityError, MigratorError, NotConfiguredKeyServiceError
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.keyservices.interface import KeyRefusal
from migrator.lookups import rows_among

StoredMessage = tuple[int, str, str, str, int, bytes]
"""(sent_at in ms, message id, sender id, content type, key id, ciphertext)."""

StoredGap = tuple[int, str, str]
"""(sent_at in ms, message id, reason)."""

Place = tuple[int, str]
"""(sent_at in ms, message id): where a message stands in its conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A living data key as its row has it: wrapped, with the exact text that its wrapping is bound to."""

    conversation_no: int
    key_id: int
    key_service: str
    context: str
    wrapped_keyset: bytes = field(repr=False)

    @property
    def ref(self) -> str | None:
        """The conversation's keyed reference, as the context names it; to be trusted once the key unwraps."""
        return context_ref(self.context)


def storable(identifier: str) -> bool:
    """Whether any database could hold it: no NUL, no bytes of the command line that are not UTF-8."""
    return "\0" not in identifier and not any("\ud800" <= character <= "\udfff" for character in identifier)


def context_ref(context: str) -> str | None:
    """The keyed reference in a data key's context; None where the text is none of ours."""
    try:
        value = json.loads(context)
    except (ValueError, RecursionError):
        return None
    ref = value.get("conversation") if isinstance(value, dict) else None
    return ref if isinstance(ref, str) else None


def living_keys(connection: sa.Connection, conversation_nos: Sequence[int]) -> dict[int, list[StoredKey]]:
    """The data keys of some conversations that were not destroyed."""
    table = tables.data_key
    found: dict[int, list[StoredKey]] = {}
    query = (
        sa.select(
            table.c.conversation_no,
            table.c.key_id,
            table.c.key_service,
            table.c.context,
            sa.cast(table.c.wrapped_keyset, sa.LargeBinary),
        )
        .where(table.c.wrapped_keyset.is_not(None))
        .order_by(table.c.conversation_no, table.c.key_id)
    )
    for number, key_id, service, context, wrapped in rows_among(
        connection, query, table.c.conversation_no, conversation_nos
    ):
        key = StoredKey(
            conversation_no=number,
            key_id=key_id,
            key_service=service,
            context=context,
            wrapped_keyset=bytes(wrapped),
        )
        found.setdefault(number, []).append(key)
    return found


def unwrap(campaign: Campaign, keys: Sequence[StoredKey]) -> list[DataKey | MigratorError]:
    """Unwrap data keys afresh: one call for each key service. An error in a key's place says why it can't be used.

    What is wrong with a service as a whole is raised: it says nothing about the keys.
    """
    results: dict[int, DataKey | MigratorError] = {}
    by_service: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        by_service.setdefault(key.key_service, []).append(index)
    for name, indexes in by_service.items():
        answers = _answers(campaign, name, [keys[index] for index in indexes])
        results.update(zip(indexes, answers, strict=True))
    return [results[index] for index in range(len(keys))]


def _answers(campaign: Campaign, service: str, keys: Sequence[StoredKey]) -> list[DataKey | MigratorError]:
    try:
        found = campaign.key_services.named(service)
    except NotConfiguredKeyServiceError as error:
        return [error for _ in keys]
    unwrapped = found.unwrap([(key.wrapped_keyset, key.context.encode("utf-8", "surrogatepass")) for key in keys])
    return [_data_key(key, answer) for key, answer in zip(keys, unwrapped, strict=True)]


def _data_key(stored: StoredKey, answer: bytes | KeyRefusal) -> DataKey | MigratorError:
    if isinstance(answer, KeyRefusal):
        return IntegrityError(f"the key service does not unwrap a data key: {answer.detail}")
    try:
        return DataKey.from_keyset(answer, stored.key_id)
    except IntegrityError as error:
        return error


_COLUMNS = (
    tables.message.c.sent_at,
    tables.message.c.message_id,
    tables.message.c.sender_id,
    tables.message.c.content_type,
    tables.message.c.key_id,
    # SQLite keeps whatever type was put in: as a blob it can be read, and does not open.
    sa.cast(tables.message.c.ciphertext, sa.LargeBinary),
)


def message_pages(connection: sa.Connection, conversation_no: int, size: int) -> Iterator[list[StoredMessage]]:
    """A conversation's stored messages in message order, `size` at a time; memory holds one page."""
    query = (
        sa.select(*_COLUMNS)
        .where(tables.message.c.conversation_no == conversation_no)
        .order_by(tables.message.c.sent_at, bytewise(connection, tables.message.c.message_id))
        .execution_options(yield_per=size)
    )
    for page in connection.execute(query).partitions():
        yield [(row[0], row[1], row[2], row[3], row[4], bytes(row[5])) for row in page]


def gap_pages(connection: sa.Connection, conversation_no: int, size: int) -> Iterator[list[StoredGap]]:
    """A conversation's gaps in message order, `size` at a time; memory holds one page."""
    table = tables.gap
    query = (
        sa.select(table.c.sent_at, table.c.message_id, table.c.reason)
        .where(table.c.conversation_no == conversation_no)
        .order_by(table.c.sent_at, bytewise(connection, table.c.message_id))
        .execution_options(yield_per=size)
    )
    for page in connection.execute(query).partitions():
        yield [(row[0], row[1], row[2]) for row in page]


def messages_of(connection: sa.Connection, conversation_nos: Sequence[int]) -> dict[int, list[StoredMessage]]:
    """All stored messages of some small conversations, each in message order."""
    table = tables.message
    found: dict[int, list[StoredMessage]] = {number: [] for number in conversation_nos}
    query = sa.select(table.c.conversation_no, *_COLUMNS).order_by(
        table.c.conversation_no, table.c.sent_at, bytewise(connection, table.c.message_id)
    )
    rows = rows_among(connection, query, table.c.conversation_no, conversation_nos)
    for number, sent_at, message_id, sender, content_type, key_id, ciphertext in rows:
        found[number].append((sent_at, message_id, sender, content_type, key_id, bytes(ciphertext)))
    return found


def messages_at(connection: sa.Connection, conversation_no: int, places: Sequence[Place]) -> dict[Place, StoredMessage]:
    """The stored messages at some places of one conversation."""
    table = tables.message
    found: dict[Place, StoredMessage] = {}
    for chunk in chunks(places):
        query = sa.select(*_COLUMNS).where(
            table.c.conversation_no == conversation_no,
            sa.tuple_(table.c.sent_at, table.c.message_id).in_(chunk),
        )
        for sent_at, message_id, sender, content_type, key_id, ciphertext in connection.execute(query):
            found[sent_at, message_id] = (sent_at, message_id, sender, content_type, key_id, bytes(ciphertext))
    return found


def gaps_at(connection: sa.Connection, conversation_no: int, places: Sequence[Place]) -> dict[Place, str]:
    """Why the messages at some places of one conversation are gaps; other places are missing from the result."""
    table = tables.gap
    found: dict[Place, str] = {}
    for chunk in chunks(places):
        query = sa.select(table.c.sent_at, table.c.message_id, table.c.reason).where(
            table.c.conversation_no == conversation_no,
            sa.tuple_(table.c.sent_at, table.c.message_id).in_(chunk),
        )
        found.update(((sent_at, message_id), reason) for sent_at, message_id, reason in connection.execute(query))
    return found


def gaps_of(connection: sa.Connection, conversation_nos: Sequence[int]) -> dict[int, dict[Place, str]]:
    """All gaps of some small conversations."""
    table = tables.gap
    found: dict[int, dict[Place, str]] = {number: {} for number in conversation_nos}
    query = sa.select(table.c.conversation_no, table.c.sent_at, table.c.message_id, table.c.reason)
    rows = rows_among(connection, query, table.c.conversation_no, conversation_nos)
    for number, sent_at, message_id, reason in rows:
        found[number][sent_at, message_id] = reason
    return found


def open_row(key: DataKey, conversation_id: str, row: StoredMessage) -> bytes:
    """The content of a stored message; `IntegrityError` if it was altered or is not where it was written."""
    sent_at, message_id, sender_id, content_type, key_id, ciphertext = row
    if key_id != key.key_id:
        raise IntegrityError("a stored message names another data key than its conversation's")
    return open_message(key, ciphertext, associated_data(conversation_id, message_id, sender_id, sent_at, content_type))


def bytewise(connection: sa.Connection, column: sa.Column[str]) -> sa.ColumnElement[str]:
    """A text column in an order that no locale changes."""
    return sa.collate(column, "C") if connection.dialect.name == "postgresql" else column
