"""Client exports: the manifest that a device signs, and the JSON lines inside a part (formats, section 4).

A manifest is strict: exactly these members, unique conversations, whole numbers, everything under a limit. What is over
a limit is `too_large`, anything else that is wrong with it `malformed`. Lines of a part raise `ValueError`, which never
holds content.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from migrator.core.clock import parse_utc
from migrator.core.encoding import b64url_decode, strict_json
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.signatures import ISSUER_PREFIX, is_identifier

SCHEMA: Final = "migrator.export/1"
MANIFEST_TYP: Final = "migrator-export+jws"
MANIFEST_NAME: Final = "manifest.jws"
MAX_SENT_AT: Final = 253_402_300_799_999
"""Milliseconds of the last moment of the year 9999."""
MAX_COUNT: Final = 10**9
"""Most messages that a manifest may claim for one conversation; sums over a whole platform stay whole numbers."""

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
_REASON: Final = re.compile(r"[a-z0-9_]{1,64}\Z")
_MEMBERS: Final = frozenset(
    {
        "schema", "export_id", "campaign", "account_id", "device_id", "kind", "scheme", "created_at",
        "recipient_key_id", "conversations", "parts",
    }
)  # fmt: skip
_HISTORY_MEMBERS: Final = frozenset(
    {"conversation_id", "message_id", "sender_id", "sent_at", "content_type", "content"}
)


class ExportKind(StrEnum):
    """What an export's parts hold: keys for what the source has, or the messages themselves."""

    KEYS = "keys"
    HISTORY = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedConversation:
    """A conversation as the manifest lists it. `coverage` stands there as it was read, checked by the scheme."""

    conversation_id: str
    coverage: tuple[object, ...]
    messages: int
    omissions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A part as the manifest lists it: the digest in hex and the size in bytes of what is sealed."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose form is right. `device_id` is None where a consent service signed and names no device."""

    export_id: str
    campaign: str
    account_id: str
    device_id: str | None
    kind: ExportKind
    scheme: str
    created_at: datetime
    recipient_key_id: str
    conversations: tuple[ListedConversation, ...]
    parts: tuple[ListedPart, ...]


class HistoryEntry(NamedTuple):
    """One message from a `history` export; `content` is the UTF-8 of its string, `sent_at` in milliseconds."""

    conversation_id: str
    message_id: str
    sender_id: str
    sent_at: int
    content_type: str
    content: bytes

    def __repr__(self) -> str:
        return "HistoryEntry(…)"


def part_name(part_no: int) -> str:
    """Name of a part's member in the archive."""
    return f"part-{part_no:05d}.hpke"


def part_info(export_id: str, part_no: int) -> bytes:
    """HPKE `info` of a part: what its sealing is bound to."""
    return f"{SCHEMA}\0{export_id}\0{part_no}".encode()


def claimed_id(text: str) -> str | None:
    """What the manifest of a refused archive calls itself, unverified; None where that can't be told."""
    parts = text.split(".", 2)
    if len(parts) != 3:
        return None
    try:
        value = strict_json(b64url_decode(parts[1]), max_depth=LIMITS.json_depth)
    except ValueError:
        return None
    export_id = value.get("export_id") if isinstance(value, dict) else None
    return export_id if isinstance(export_id, str) and _UUID.match(export_id) else None


def parse_manifest(payload: bytes, *, kid: str, scheme: str, read_coverage: Callable[[object], object]) -> Manifest:
    """Read a manifest's payload; `Refused` as `too_large` or `malformed`.

    `kid` is the signer of the token, `scheme` the one that opens the source, and `read_coverage` its reader of an
    element of `coverage`, which raises `ValueError`.
    """
    try:
        value = strict_json(payload, max_depth=LIMITS.json_depth)
        members = _object(value, _MEMBERS - {"device_id"}, frozenset({"device_id"}))
        return _manifest(members, kid, scheme, read_coverage)
    except ValueError as error:
        raise Refused(RefusalReason.MALFORMED, f"manifest: {error}") from None


def _manifest(
    members: Mapping[str, object], kid: str, scheme: str, read_coverage: Callable[[object], object]
) -> Manifest:
    if members["schema"] != SCHEMA or members["scheme"] != scheme:
        raise ValueError(f"schema is not {SCHEMA}, or scheme not {scheme}")
    kind = ExportKind(_text(members, "kind"))
    device_id = None if members.get("device_id") is None else _text(members, "device_id")
    if device_id != kid and not kid.startswith(ISSUER_PREFIX):
        raise ValueError("device_id is not the device that signed")
    export_id = _text(members, "export_id")
    if not _UUID.match(export_id):
        raise ValueError("export_id is not a UUID")
    listed = _array(members, "conversations", LIMITS.manifest_conversations)
    parts = _array(members, "parts", LIMITS.manifest_parts)
    conversations = tuple(_conversation(entry, kind, read_coverage) for entry in listed)
    if len({c.conversation_id for c in conversations}) != len(conversations):
        raise ValueError("a conversation is listed twice")
    return Manifest(
        export_id=export_id,
        campaign=_text(members, "campaign"),
        account_id=_text(members, "account_id"),
        device_id=device_id,
        kind=kind,
        scheme=scheme,
        created_at=parse_utc(_text(members, "created_at")),
        recipient_key_id=_text(members, "recipient_key_id"),
        conversations=conversations,
        parts=tuple(_part(entry) for entry in parts),
    )


def _conversation(entry: object, kind: ExportKind, read_coverage: Callable[[object], object]) -> ListedConversation:
    required = {"id", "messages"} | ({"coverage"} if kind is ExportKind.KEYS else set())
    members = _object(entry, required, frozenset({"coverage", "omissions"}))
    coverage = members.get("coverage", [])
    omissions = members.get("omissions", [])
    if not isinstance(coverage, list) or not isinstance(omissions, list):
        raise ValueError("coverage or omissions are no array")  # noqa: TRY004 - one kind of error for one kind of fault
    for element in coverage:
        read_coverage(element)
    missing: dict[str, int] = {}
    for omission in omissions:
        pair = _object(omission, {"reason", "count"})
        reason = _text(pair, "reason")
        if not _REASON.match(reason) or reason in missing:
            raise ValueError("the reason of an omission is misshapen or repeated")
        missing[reason] = _count(pair, "count", MAX_COUNT)
    return ListedConversation(
        conversation_id=_text(members, "id"),
        coverage=tuple(coverage),
        messages=_count(members, "messages", MAX_COUNT),
        omissions=missing,
    )


def _part(entry: object) -> ListedPart:
    members = _object(entry, {"sha256", "size"})
    digest = members["sha256"]
    if not isinstance(digest, str) or not _SHA256.match(digest):
        raise ValueError("the sha256 of a part is not 64 hex digits")
    size = _count(members, "size", None)
    if size > LIMITS.part_bytes:
        raise Refused(RefusalReason.TOO_LARGE, f"a part is over {LIMITS.part_bytes} bytes")
    return ListedPart(sha256=digest.lower(), size=size)


def part_lines(plaintext: bytes, max_line_bytes: int) -> Iterator[Mapping[str, object] | ValueError]:
    """The lines of a part, each a JSON object or what is wrong with it; blank lines are passed over.

    Only `\\n` ends a line. One line is in memory at a time, and a line over the limit is not even sliced out.
    """
    position, end = 0, len(plaintext)
    while position < end:
        stop = plaintext.find(b"\n", position)
        stop = end if stop < 0 else stop
        if stop - position > max_line_bytes:
            yield ValueError("a line is too long")
        elif line := plaintext[position:stop].strip(b" \t\r"):
            yield _line(line)
        position = stop + 1


def _line(line: bytes) -> Mapping[str, object] | ValueError:
    try:
        value = strict_json(line, max_depth=LIMITS.json_depth)
    except UnicodeDecodeError:
        return ValueError("not UTF-8")  # the exception itself would carry the line
    except ValueError as error:
        return error
    return value if isinstance(value, dict) else ValueError("a line is no JSON object")


def read_history_entry(entry: Mapping[str, object]) -> HistoryEntry:
    """Read one parsed line of a `history` export; `ValueError` where it is misshapen."""
    members = _object(entry, _HISTORY_MEMBERS)
    content = members["content"]
    if not isinstance(content, str):
        raise ValueError("content is no string")  # noqa: TRY004 - one kind of error for one kind of fault
    return HistoryEntry(
        conversation_id=_text(members, "conversation_id"),
        message_id=_text(members, "message_id"),
        sender_id=_text(members, "sender_id"),
        sent_at=_count(members, "sent_at", MAX_SENT_AT),
        content_type=_text(members, "content_type"),
        content=content.encode(),
    )


def _object(
    value: object, required: "frozenset[str] | set[str]", optional: frozenset[str] = frozenset()
) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError("something is no object")  # noqa: TRY004 - one kind of error for one kind of fault
    if not required <= value.keys() <= required | optional:
        raise ValueError("unknown or missing members")
    return value


def _text(members: Mapping[str, object], name: str) -> str:
    value = members[name]
    if not is_identifier(value):
        raise ValueError(f"{name} is not an identifier")
    return value


def _count(members: Mapping[str, object], name: str, most: int | None) -> int:
    value = members[name]
    if type(value) is not int or value < 0 or (most is not None and value > most):
        raise ValueError(f"{name} is not a whole number in its range")
    return value


def _array(members: Mapping[str, object], name: str, most: int) -> list[object]:
    value = members[name]
    if not isinstance(value, list):
        raise ValueError(f"{name} is no array")  # noqa: TRY004 - one kind of error for one kind of fault
    if len(value) > most:
        raise Refused(RefusalReason.TOO_LARGE, f"more than {most} {name}")
    return value
