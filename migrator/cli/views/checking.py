"""Views of verification, rollback, reports and migrated history."""

from datetime import UTC, datetime, timedelta

from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode
from migrator.reading import ReadMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def message(read: ReadMessage) -> dict[str, str | int]:
    """One message for programs; `content` is base64url, as it may be anything."""
    return {
        "sent_at": read.sent_at,
        "message_id": read.message_id,
        "sender_id": read.sender_id,
        "content_type": read.content_type,
        "content": b64url_encode(read.content),
    }


def message_line(read: ReadMessage) -> str:
    """One message for people; what is no text shows as escapes."""
    moment = format_time(_EPOCH + timedelta(milliseconds=read.sent_at))
    return f"{moment} {read.sender_id}: {read.content.decode('utf-8', 'backslashreplace')}"
