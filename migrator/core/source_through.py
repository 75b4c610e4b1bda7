"""What of its source a visible history covers: `source_through` of its conversation's row, and how it compares."""

import hashlib
from collections.abc import Collection, Mapping

from migrator.core.encoding import strict_json
from migrator.core.model import Conversation


def source_through(
    conversation: Conversation, export_no: int, *, attachments: bool, withheld: int = 0
) -> dict[str, int | None]:
    """What a history covers that was brought up to source and exports.

    `changes` only where there are any; `attachments` only where they were looked at; `withheld` (see there) only where
    exports were left out.
    """
    covers = {
        "messages": conversation.messages,
        "last_sent_at": conversation.last_sent_at,
        "export_no": export_no,
    }
    if conversation.changes:
        covers["changes"] = conversation.changes
    if attachments:
        covers["attachments"] = 1
    if withheld:
        covers["withheld"] = withheld
    return covers


def withheld_by(account_ids: Collection[str]) -> int:
    """A number for the members whose exports may not be used, 0 for none: it differs once others are among them."""
    if not account_ids:
        return 0
    return int.from_bytes(hashlib.sha256("\0".join(sorted(account_ids)).encode()).digest()[:6]) | 1


def covered(text: str | None) -> dict[str, int | None]:
    """The same from a row; nothing where that was altered."""
    try:
        found = strict_json(text or "{}", max_depth=2)
    except ValueError:
        return {}
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if value is None or type(value) is int}


def has_changed(conversation: Conversation, text: str | None) -> bool:
    """Whether the source has changed something of what a visible history covers."""
    return conversation.changes != (covered(text).get("changes") or 0)
