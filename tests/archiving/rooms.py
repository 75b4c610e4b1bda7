"""Rooms for tests of the formats: entries in memory, with attachments out of bytes."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from migrator.archiving.folder import new_folder
from migrator.archiving.html import pages
from migrator.archiving.interface import About, Attachment, AttachmentOpener, Form, NoAttachments
from migrator.history import Place
from migrator.reading import Entry, ReadGap, ReadMessage, place_of

ROOM = "!room:example.org"
BEGAN = 1_700_000_000_000
JSON = "application/json;type=m.room.message"


class Room:
    """A conversation in memory, in the order in which its entries were given."""

    def __init__(self, entries: Iterable[Entry], conversation_id: str = ROOM) -> None:
        self.conversation_id = conversation_id
        self.all = list(entries)
        self.gaps = sum(isinstance(entry, ReadGap) for entry in self.all)
        self.messages = len(self.all) - self.gaps
        self.asked: list[int] = []

    def entries(self) -> Iterator[Entry]:
        """All of them."""
        return iter(self.all)

    def at(self, places: Sequence[Place]) -> Mapping[Place, ReadMessage]:
        """Some of them."""
        self.asked.append(len(places))
        wanted = set(places)
        return {place_of(e): e for e in self.all if isinstance(e, ReadMessage) and place_of(e) in wanted}

    def about(self, **changes: Any) -> About:
        """What an archive of it says of itself."""
        values: dict[str, Any] = {
            "campaign": "c",
            "conversation_id": self.conversation_id,
            "created_at": "2026-05-09T00:00:00.000000Z",
            "tool_version": "0.1.0",
            "messages": self.messages,
            "gaps": self.gaps,
            "members": ("@alice:example.org",),
        }
        return About(**values | changes)


class Attached:
    """Attachments by event id."""

    def __init__(self, **by_id: Sequence[Attachment]) -> None:
        self._by_id = {f"${name}": found for name, found in by_id.items()}

    def of(self, messages: Sequence[ReadMessage]) -> Mapping[Place, Sequence[Attachment]]:
        """Those of some messages."""
        return {place_of(m): self._by_id[m.message_id] for m in messages if m.message_id in self._by_id}


def attachment(data: bytes = b"", kind: str = "file", name: str | None = None, **values: Any) -> Attachment:
    """An attachment whose bytes come in odd chunks."""
    given = {"mimetype": None, "size": len(data), "gap": None} | values
    return Attachment(
        kind=kind, name=name, chunks=lambda: iter([data[at : at + 100] for at in range(0, len(data), 100)]), **given
    )


def raw(event_id: str, payload: bytes | str, *, sender: str = "@alice:example.org", kind: str = JSON) -> ReadMessage:
    """A message with exactly that payload."""
    content = payload if isinstance(payload, bytes) else payload.encode()
    return ReadMessage(sent_at=BEGAN, message_id=event_id, sender_id=sender, content_type=kind, content=content)


def said(
    event_id: str,
    body: str = "hello",
    more: Mapping[str, object] | None = None,
    *,
    sender: str = "@alice:example.org",
    **content: object,
) -> ReadMessage:
    """A message of type `m.room.message`; members of its content whose names have dots go into `more`."""
    inner = {"msgtype": "m.text", "body": body} | dict(more or {}) | content
    payload = {"type": "m.room.message", "content": inner, "room_id": ROOM}
    return raw(event_id, json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass"), sender=sender)


def gap(event_id: str, reason: str = "no_key") -> ReadGap:
    """A message that stayed sealed."""
    return ReadGap(sent_at=BEGAN, message_id=event_id, reason=reason)


def edit(event_id: str, target: str, body: str, **values: Any) -> ReadMessage:
    """An edit of a message."""
    relation = {"rel_type": "m.replace", "event_id": target}
    return said(event_id, f"* {body}", {"m.new_content": {"body": body}, "m.relates_to": relation}, **values)


def written(folder: Path, room: Room, attachments: AttachmentOpener | None = None) -> Path:
    """The pages of a room."""
    about = room.about()
    with new_folder(folder / "pages", Form.HTML, about) as filling:
        scratch = filling.path / ".index"
        pages.write(room, about, attachments or NoAttachments(), filling, scratch)
        scratch.unlink()
    return folder / "pages"
