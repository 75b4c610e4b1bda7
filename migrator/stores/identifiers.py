"""Ids out of a source: which can be an id at all, and under which name a conversation counts that has none. No IO."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from migrator.core.limits import LIMITS
from migrator.core.model import Conversation
from migrator.stores.source_database import UndecodableText


def is_identifier(value: Any) -> bool:
    """Whether a value can be an id of an account, mailbox, thread, room or conversation: UTF-8 text without NUL."""
    return type(value) is str and "\0" not in value and (value.isascii() or not _has_surrogate(value))


def identifiers(values: Iterable[str]) -> list[str]:
    """Those that a store can be asked for at all, each once."""
    return list(dict.fromkeys(filter(is_identifier, values)))


def text_or_none(value: Any) -> str | None:
    """A value that is text which can be kept anywhere."""
    return value if is_identifier(value) else None


def escaped_fault_id(key: Sequence[Any]) -> str:
    """An id that begins with `fault:`, from the parts of a key that has no sound one; different for different keys."""
    escaped = "fault:" + "|".join(_escaped(part) for part in key)
    if len(escaped) > LIMITS.identifier_bytes:
        return "fault:sha256:" + hashlib.sha256(escaped.encode()).hexdigest()
    return escaped


def _escaped(part: Any) -> str:
    if isinstance(part, str):
        return "text:" + quote(part.encode("utf-8", "surrogateescape"), safe="")
    if isinstance(part, UndecodableText):
        return "text:" + quote(bytes(part), safe="")
    if isinstance(part, bytes):
        return "blob:" + quote(part, safe="")
    return f"{type(part).__name__}:{quote(str(part), safe='')}"


def faulty(conversation_id: str, messages: int, last_sent_at: Any) -> Conversation:
    """A conversation that counts and can't be read."""
    return Conversation(
        conversation_id=conversation_id,
        owner_id=None,
        thread_key=f"fault:{conversation_id}",
        participants=(),
        messages=messages,
        last_sent_at=last_sent_at if type(last_sent_at) is int else None,
        fault=True,
    )


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
