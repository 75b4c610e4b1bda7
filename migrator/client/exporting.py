"""How a client exports what it can read: message keys, or the messages themselves (formats, section 4).

Add what the person authorised and nothing more: message keys, never the root key of an epoch, which opens whatever is
written under it later. Lines are gathered into parts, each part is sealed as soon as it is full, and the archive is
written at the end, because its manifest comes first and holds the digests of the sealed parts. Only what is sealed is
kept meanwhile.
"""

import hashlib
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Final
from uuid import UUID

from migrator.client.sealing import Recipient
from migrator.client.signing import Signer
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.export import MANIFEST_NAME, MANIFEST_TYP, SCHEMA, ExportKind, part_info, part_name
from migrator.core.limits import LIMITS

LABYRINTH: Final = "labyrinth"
_OWNER_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """Whose export it is, for which campaign. A fresh `export_id` for each."""

    export_id: UUID
    campaign: str
    account_id: str
    kind: ExportKind
    created_at: datetime
    scheme: str = LABYRINTH


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageKey:
    """The key of one thread's messages in one epoch and version (32 bytes), as the client derived it."""

    conversation_id: str
    epoch_id: str
    epoch_sequence: int
    version: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMessage:
    """One message as the client shows it; `sent_at` in milliseconds."""

    conversation_id: str
    message_id: str
    sender_id: str
    sent_at: int
    content_type: str
    content: str = field(repr=False)


class ExportWriter:
    """Gathers one export. The same `add_…` twice writes the entry twice; order of entries is order of receipt."""

    def __init__(self, header: ExportHeader, recipient: Recipient, signer: Signer) -> None:
        self._header = header
        self._recipient = recipient
        self._signer = signer
        self._lines = io.BytesIO()
        self._parts: list[bytes] = []
        self._conversations: dict[str, dict[str, object]] = {}
        self._coverage: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        self._elements: dict[str, list[dict[str, object]]] = defaultdict(list)

    def list_conversation(
        self, conversation_id: str, *, messages: int, omissions: Mapping[str, int] | None = None
    ) -> None:
        """Say in the manifest how many messages the export opens or holds, and how many it lacks for which reason."""
        listed = [{"reason": reason, "count": count} for reason, count in sorted((omissions or {}).items())]
        self._conversations[conversation_id] = {"id": conversation_id, "messages": messages, "omissions": listed}

    def add_key(self, key: MessageKey) -> None:
        """Hand over one message key."""
        self._coverage[key.conversation_id][key.epoch_id].add(key.version)
        self.add_entry(
            {
                "conversation_id": key.conversation_id,
                "epoch_id": key.epoch_id,
                "epoch_sequence": key.epoch_sequence,
                "version": key.version,
                "message_key": b64url_encode(key.key),
            }
        )

    def add_message(self, message: HistoryMessage) -> None:
        """Hand over one message."""
        self.add_entry(
            {
                "conversation_id": message.conversation_id,
                "message_id": message.message_id,
                "sender_id": message.sender_id,
                "sent_at": message.sent_at,
                "content_type": message.content_type,
                "content": message.content,
            }
        )

    def cover(self, conversation_id: str, element: Mapping[str, object]) -> None:
        """Say in the manifest what entries cover that were added as they are: an element in their scheme's form."""
        self._elements[conversation_id].append(dict(element))

    def add_entry(self, entry: Mapping[str, object]) -> None:
        """Hand over one line as it is, for schemes that this client does not know."""
        line = canonical_json(entry) + b"\n"
        longest = LIMITS.history_line_bytes if self._header.kind is ExportKind.HISTORY else LIMITS.key_line_bytes
        if len(line) > longest:
            raise ValueError("an entry is longer than a line may be")
        if self._lines.tell() + len(line) > LIMITS.part_bytes - self._recipient.overhead:
            self._seal_part()
        self._lines.write(line)

    def write(self, stream: BinaryIO) -> None:
        """Write the archive: the manifest, then the parts. Its headers hold nothing of this machine or time."""
        if self._lines.tell():
            self._seal_part()
        manifest = self._signer.sign(self._manifest(), typ=MANIFEST_TYP).encode()
        if len(manifest) > LIMITS.manifest_bytes or len(self._parts) > LIMITS.manifest_parts:
            raise ValueError("more than fits in one export: split it by conversations")
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
            _add_member(archive, MANIFEST_NAME, manifest)
            for part_no, part in enumerate(self._parts):
                _add_member(archive, part_name(part_no), part)

    def _seal_part(self) -> None:
        info = part_info(str(self._header.export_id), len(self._parts))
        self._parts.append(self._recipient.seal(self._lines.getvalue(), info))
        self._lines = io.BytesIO()

    def _manifest(self) -> dict[str, object]:
        header = self._header
        members: dict[str, object] = {
            "schema": SCHEMA,
            "export_id": str(header.export_id),
            "campaign": header.campaign,
            "account_id": header.account_id,
            "kind": header.kind.value,
            "scheme": header.scheme,
            "created_at": format_time(header.created_at),
            "recipient_key_id": self._recipient.recipient_key_id,
            "conversations": [
                {**listed, "coverage": self._covered(conversation_id)}
                for conversation_id, listed in self._conversations.items()
            ],
            "parts": [{"sha256": hashlib.sha256(part).hexdigest(), "size": len(part)} for part in self._parts],
        }
        if self._signer.device_id is not None:
            members["device_id"] = self._signer.device_id
        return members

    def _covered(self, conversation_id: str) -> list[dict[str, object]]:
        epochs = self._coverage.get(conversation_id, {})
        covered: list[dict[str, object]] = [
            {"epoch_id": epoch_id, "versions": sorted(versions)} for epoch_id, versions in epochs.items()
        ]
        return covered + self._elements.get(conversation_id, [])


def write_export(
    stream: BinaryIO,
    header: ExportHeader,
    *,
    recipient: Recipient,
    signer: Signer,
    conversations: Mapping[str, int],
    entries: Iterable[MessageKey | HistoryMessage],
) -> None:
    """Write a whole export in one call. `conversations`: how many messages of each it opens or holds."""
    writer = ExportWriter(header, recipient, signer)
    for conversation_id, messages in conversations.items():
        writer.list_conversation(conversation_id, messages=messages)
    for entry in entries:
        if isinstance(entry, MessageKey):
            writer.add_key(entry)
        else:
            writer.add_message(entry)
    writer.write(stream)


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = _OWNER_ONLY
    archive.addfile(member, io.BytesIO(content))
