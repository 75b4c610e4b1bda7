"""Reads migrated history for an operator: every use is in the audit log before the first message is given.

The messages come from one read transaction, so that a rollback or an extension that runs meanwhile shows wholly or not
at all, and their number is compared with the conversation's at the end. `migrator.archiving` makes files of them, with
the gaps.
"""

import heapq
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import sqlalchemy as sa

from migrator import history
from migrator.attachments import StoredAttachment, attachments_at, open_attachment
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.envelope import DataKey
from migrator.core.errors import GateError, IntegrityError, MigratorError, UsageError
from migrator.database import tables
from migrator.history import Place, StoredMessage

MAX_REASON_CHARS: Final = 500
_PAGE: Final = 1000
_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, line and paragraph separators (Unicode general categories)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMessage:
    """One message of server history; `sent_at` in milliseconds, `content` as the client wrote it.

    `relation`: JSON text of what the source has beside the ciphertext (Matrix's `m.relates_to`); None where nobody was
    asked or the source does not know the message.
    """

    sent_at: int
    message_id: str
    sender_id: str
    content_type: str
    content: bytes = field(repr=False)
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class _Visible:
    conversation_no: int
    conversation_id: str
    message_count: int
    key: DataKey
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGap:
    """One message that stayed sealed, and why; who sent it is not known here."""

    sent_at: int
    message_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAttachment:
    """One attachment of a message, or with a `reason` why it was not taken over; `size` in bytes, of its content.

    `chunks` opens it from its beginning each time, in pieces; raises as `attachments.open_attachment`.
    """

    attachment_id: str
    kind: str
    size: int | None
    reason: str | None
    chunks: Callable[[], Iterator[bytes]]


Entry = ReadMessage | ReadGap

Relations = Callable[[Sequence[str]], Mapping[str, str]]
"""What gives `ReadMessage.relation` for some message ids; those that it does not know are missing."""


class History:
    """A migrated conversation as one moment has it, walked as often as one likes; `messages`, `gaps`: how many."""

    def __init__(
        self, campaign: Campaign, connection: sa.Connection, visible: _Visible, relations: Relations | None = None
    ) -> None:
        self._campaign = campaign
        self._connection = connection
        self._visible = visible
        self._relations = relations
        self.conversation_id = visible.conversation_id
        self.messages, self.gaps = _still_visible(connection, visible)

    def entries(self) -> Iterator[Entry]:
        """Messages and gaps in message order; `IntegrityError` at the end where their numbers are not the counts'."""
        number = self._visible.conversation_no
        given = missing = 0
        both: tuple[Iterator[Entry], Iterator[Entry]] = (self._messages(), self._gaps(number))
        for entry in heapq.merge(*both, key=place_of):
            if isinstance(entry, ReadGap):
                missing += 1
            else:
                given += 1
            yield entry
        _compare("messages", given, self.messages)
        _compare("gaps", missing, self.gaps)

    def messages_only(self) -> Iterator[ReadMessage]:
        """The messages in order; `IntegrityError` at the end where their number is not the count."""
        given = 0
        for message in self._messages():
            given += 1
            yield message
        _compare("messages", given, self.messages)

    def at(self, places: Sequence[Place]) -> dict[Place, ReadMessage]:
        """The messages at some places; those that are gaps, or not there, are missing from the result."""
        rows = history.messages_at(self._connection, self._visible.conversation_no, places)
        return dict(zip(rows, self._opened(list(rows.values())), strict=True))

    def attachments(self, messages: Sequence[ReadMessage]) -> dict[Place, list[ReadAttachment]]:
        """What is attached to some messages, files before thumbnails; those without any are missing."""
        senders = {place_of(message): message.sender_id for message in messages}
        found = attachments_at(self._connection, self._visible.conversation_no, list(senders))
        return {at: [self._attachment(senders[at], stored) for stored in listed] for at, listed in found.items()}

    def _attachment(self, sender_id: str, stored: StoredAttachment) -> ReadAttachment:
        key, name = self._visible.key, self.conversation_id
        return ReadAttachment(
            attachment_id=stored.attachment_id,
            kind=stored.kind,
            size=stored.size,
            reason=stored.reason,
            chunks=partial(open_attachment, self._campaign, key, name, sender_id, stored),
        )

    def _messages(self) -> Iterator[ReadMessage]:
        for page in history.message_pages(self._connection, self._visible.conversation_no, _PAGE):
            yield from self._opened(page)

    def _gaps(self, number: int) -> Iterator[ReadGap]:
        for page in history.gap_pages(self._connection, number, _PAGE):
            for sent_at, message_id, reason in page:
                yield ReadGap(sent_at=sent_at, message_id=message_id, reason=reason)

    def _opened(self, page: Sequence[StoredMessage]) -> Iterator[ReadMessage]:
        relations = self._relations([row[1] for row in page]) if self._relations is not None else {}
        for row in page:
            sent_at, message_id, sender_id, content_type = row[:4]
            yield ReadMessage(
                sent_at=sent_at,
                message_id=message_id,
                sender_id=sender_id,
                content_type=content_type,
                content=history.open_row(self._visible.key, self.conversation_id, row),
                relation=relations.get(message_id),
            )


def place_of(entry: Entry) -> Place:
    """Where a message or gap stands in its conversation."""
    return entry.sent_at, entry.message_id


def read(campaign: Campaign, conversation_id: str, reason: str) -> Iterator[ReadMessage]:
    """The messages of a migrated conversation in order, after the reading itself was recorded.

    Checks and the record happen at the call, not at the first message. `UsageError` for an unknown conversation or an
    unfit reason, `GateError` where the history was not migrated, `IntegrityError` where it does not open.
    """
    visible = _recorded(campaign, conversation_id, reason, "text")
    return _messages(campaign, visible)


@contextmanager
def opened(
    campaign: Campaign, conversation_id: str, reason: str, form: str, relations: Relations | None = None
) -> Iterator[History]:
    """A migrated conversation, for an archive in some format, once the reading was recorded; raises as `read`."""
    visible = _recorded(campaign, conversation_id, reason, form)
    with campaign.database.read() as connection:
        yield History(campaign, connection, visible, relations)


def _recorded(campaign: Campaign, conversation_id: str, reason: str, form: str) -> _Visible:
    reason = _checked_reason(reason)
    with campaign.database.read() as connection:
        visible = _visible(campaign, connection, conversation_id)
    event = Event(
        type=EventType.HISTORY_READ,
        subject=visible.ref,
        data={"ref": visible.ref, "reason": reason, "messages": visible.message_count, "format": form},
    )
    with campaign.database.write("history-read") as connection:
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
    campaign.audit.flush()
    return visible


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise UsageError("a reason is needed to read migrated history", hint="say why with --reason TEXT")
    if len(reason) > MAX_REASON_CHARS:
        raise UsageError(f"the reason is over {MAX_REASON_CHARS} characters", hint="name a ticket that says more")
    if any(unicodedata.category(character) in _FORBIDDEN for character in reason):
        raise UsageError("the reason holds control characters", hint="give one line of plain text")
    return reason


def _visible(campaign: Campaign, connection: sa.Connection, conversation_id: str) -> _Visible:
    """The conversation with its data key unwrapped afresh."""
    table = tables.conversation
    row = None
    if history.storable(conversation_id):
        row = connection.execute(
            sa.select(table.c.conversation_no, table.c.mode, table.c.message_count).where(
                table.c.conversation_id == conversation_id
            )
        ).one_or_none()
    if row is None:
        raise UsageError(
            "no plan of this campaign has that conversation",
            hint="give its id as the source has it; `migrator report --save` lists all",
        )
    if row.mode == "destroyed":
        raise GateError(
            "this conversation's history was destroyed on purpose", hint="`migrator audit show` says when and by whom"
        )
    if row.mode != "server":
        raise GateError(
            "this conversation's history was not migrated: it is still sealed",
            hint="`migrator report --save` lists the outcome of each conversation",
        )
    key, ref = _key(campaign, connection, row.conversation_no)
    return _Visible(row.conversation_no, conversation_id, row.message_count, key, ref)


def _key(campaign: Campaign, connection: sa.Connection, conversation_no: int) -> tuple[DataKey, str]:
    stored = history.living_keys(connection, [conversation_no]).get(conversation_no, [])
    if len(stored) != 1 or stored[0].ref is None:
        raise IntegrityError(
            f"the conversation has {len(stored)} usable data keys instead of one",
            hint="`migrator verify` says what else is wrong",
        )
    key = history.unwrap(campaign, stored)[0]
    if isinstance(key, MigratorError):
        raise key
    return key, stored[0].ref


def _messages(campaign: Campaign, visible: _Visible) -> Iterator[ReadMessage]:
    with campaign.database.read() as connection:
        yield from History(campaign, connection, visible).messages_only()


def _compare(what: str, given: int, expected: int) -> None:
    if given != expected:
        raise IntegrityError(
            f"the conversation has {given} {what} where its counts say {expected}",
            hint="`migrator verify` says what else is wrong",
        )


def _still_visible(connection: sa.Connection, visible: _Visible) -> tuple[int, int]:
    """How many messages and gaps it has now; `GateError` if it was rolled back since the record was made."""
    table = tables.conversation
    row = connection.execute(
        sa.select(table.c.message_count, table.c.gap_count).where(
            table.c.conversation_no == visible.conversation_no, table.c.mode == "server"
        )
    ).one_or_none()
    if row is None:
        raise GateError("this conversation's history was rolled back at this moment", hint="nothing was read")
    return row.message_count, row.gap_count
