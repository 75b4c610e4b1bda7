"""The nouns of a campaign, as values.

`Conversation` is a named tuple because a plan makes one of each conversation of a store; the others are few.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple


class Environment(StrEnum):
    """Where a campaign runs: a rehearsal, or the real thing with all its gates."""

    STAGING = "staging"
    PRODUCTION = "production"


class Quorum(StrEnum):
    """Whose authorisation a conversation needs."""

    OWNER = "owner"
    ANY_PARTICIPANT = "any_participant"
    EVERY_PARTICIPANT = "every_participant"


class AccountStatus(StrEnum):
    """State of an account; `unresolvable` is one that the source doesn't know or whose status it doesn't name."""

    ACTIVE = "active"
    LOCKED = "locked"
    DECEASED = "deceased"
    UNRESOLVABLE = "unresolvable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the platform. `minor` is true also where the age band is unknown: in doubt, protect."""

    account_id: str
    status: AccountStatus
    minor: bool = False
    guardian_account_id: str | None = None
    email: str | None = None
    locale: str | None = None
    timezone: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device and its Ed25519 signing key (32 bytes)."""

    device_id: str
    account_id: str
    signing_key: bytes
    added_at: datetime
    revoked_at: datetime | None = None


class Conversation(NamedTuple):
    """The unit that migrates, as the source has it at this moment.

    `owner_id` is None for a shared room. `thread_key` names the thread that all participants' copies belong to, so
    that one authorisation can cover them. An orphan's participants can't be resolved to accounts. A conversation
    with a `fault` can't be read at all (failed:source). `last_sent_at` is the newest message's time in milliseconds.
    `changes` is a number that is another one once the source has changed what was passed, such as by redactions.
    """

    conversation_id: str
    owner_id: str | None
    thread_key: str
    participants: tuple[str, ...]
    messages: int
    last_sent_at: int | None = None
    orphan: bool = False
    fault: bool = False
    changes: int = 0


def source_through(conversation: Conversation, export_no: int) -> dict[str, int | None]:
    """What of source and exports a history covers that was brought up to them; `changes` only where there are any."""
    covered = {
        "messages": conversation.messages,
        "last_sent_at": conversation.last_sent_at,
        "export_no": export_no,
    }
    return {**covered, "changes": conversation.changes} if conversation.changes else covered


REFERENCE_KEY: Final = "reference-key"
"""What the audit log calls the key that names accounts and conversations there: a campaign has one."""

MessageRow = tuple[Any, ...]
"""One message from driver to scheme: (sent_at, message_id, sender_id, ciphertext, *what the scheme needs).

The hot path: plain tuples as the driver gave them, unchecked. A scheme checks each field and never trusts a type.
"""

Cursor = tuple[Any, ...]
"""A store's keyset position in a conversation: opaque elsewhere, JSON-serialisable."""
