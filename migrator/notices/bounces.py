"""Mail that comes back: delivery status notifications (RFC 3464) and complaints (RFC 5965), read without trust.

Anybody can send mail to a bounce address. So a message only ever speaks of the notice whose delivery key it names, in
the address that it was sent to or in the Message-ID of what it returns; keys can't be guessed. Its words are not kept.
"""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import Message
from typing import Final

from migrator.notices import verp
from migrator.notices.marks import Kind, Mark

MAX_MESSAGE_BYTES: Final = 128 * 1024
"""What is read of a message: its address and status come first, and of what it returns the head is enough.

The parser makes an object of each part and of each blank line among the status fields: a message of nothing else costs
350 times its length in memory.
"""
_MAX_PARTS: Final = 50
_MAX_ADDRESSES: Final = 50
_MESSAGE_ID: Final = re.compile(r"<\s*([0-9a-f]{40})@[^<>\s]{1,255}>")
_ADDRESS: Final = re.compile(r"[^\s<>,;:\"]{1,64}@[^\s<>,;:\"]{1,255}")
_STATUS: Final = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_COMPLAINTS: Final = frozenset({"abuse", "fraud", "virus", "other"})
_RECIPIENT_HEADERS: Final = ("Delivered-To", "X-Original-To", "To", "Envelope-To")


def read(data: bytes) -> Mark | None:
    """What a message says of a notice; None where it is no report, or says nothing that counts."""
    try:
        message = message_from_bytes(data[:MAX_MESSAGE_BYTES], policy=policy.compat32)
        parts = list(_parts(message))
        kind, detail = _kind(message, parts)
        key = _key(message, parts)
    except (MessageError, ValueError, LookupError, RecursionError, AttributeError, TypeError):
        return None
    return Mark(key=key, kind=kind, detail=detail) if kind is not None and key is not None else None


def _parts(message: Message) -> Iterator[Message]:
    """The parts of a report, no deeper than one can be nested: the report, its status fields, what it returns."""
    waiting = [message]
    seen = 0
    while waiting and seen < _MAX_PARTS:
        part = waiting.pop(0)
        seen += 1
        yield part
        inner = part.get_payload()
        if isinstance(inner, list):
            waiting += [one for one in inner[:_MAX_PARTS] if isinstance(one, Message)]


def _kind(message: Message, parts: list[Message]) -> tuple[Kind | None, str]:
    report = str(message.get_param("report-type") or "").lower()
    if message.get_content_type() != "multipart/report":
        return None, ""
    if report == "feedback-report":
        said = next((_field(p, "Feedback-Type") for p in parts if _field(p, "Feedback-Type")), "")
        return (Kind.COMPLAINED, "complaint") if said.lower() in _COMPLAINTS else (None, "")
    if report != "delivery-status":
        return None, ""
    for part in parts:
        action, status = _field(part, "Action").lower(), _STATUS.match(_field(part, "Status"))
        if action == "failed":  # whatever the status: "4.4.1" and failed is a server that has given up (section 2.3.3)
            return Kind.BOUNCED, "5.0.0" if status is None else f"{status[1]}.{int(status[2])}.{int(status[3])}"
    return None, ""


def _key(message: Message, parts: list[Message]) -> str | None:
    for name in _RECIPIENT_HEADERS:
        for value in message.get_all(name, [])[:_MAX_ADDRESSES]:
            for address in _ADDRESS.findall(str(value)[:10_000])[:_MAX_ADDRESSES]:
                key = verp.key_of(address)
                if key is not None:
                    return key
    for part in parts[1:]:
        found = _MESSAGE_ID.search(_field(part, "Message-ID") or _returned_head(part))
        if found is not None:
            return found[1]
    return None


def _field(part: Message, name: str) -> str:
    return str(part.get(name, ""))[:1000].strip()


def _returned_head(part: Message) -> str:
    """The `Message-ID` line of returned headers (RFC 3462, text/rfc822-headers)."""
    if part.get_content_type() != "text/rfc822-headers":
        return ""
    payload = part.get_payload(decode=True)
    text = payload[:65_536].decode("ascii", "replace") if isinstance(payload, bytes) else ""
    found = re.search(r"^message-id:\s*(<[^<>\s]{1,400}>)", text, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else ""
