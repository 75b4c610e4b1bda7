"""How a Matrix client exports its Megolm sessions for a campaign (formats, section 4): a model for client teams.

A client has its sessions at hand; one that has not, reads them from its own key export file. Either way they go out as
a normal export, signed by the device and split over parts, with a manifest that says which sessions it covers from
which index on. Hand over what the person authorised, room by room, and nothing more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from migrator.client.exporting import ExportHeader, ExportWriter
from migrator.client.sealing import Recipient
from migrator.client.signing import Signer
from migrator.core.encoding import canonical_json
from migrator.core.limits import LIMITS
from migrator.core.megolm import read_session
from migrator.core.megolm_export import exported_entries, read_key_export

MEGOLM: Final = "megolm"
_MEMBERS: Final = (
    "algorithm", "forwarding_curve25519_key_chain", "sender_claimed_keys", "sender_key", "session_id", "session_key",
)  # fmt: skip
_ROOM_IN_LINE: Final = 100
"""Bytes of a line that are neither the room's id nor sessions, with some to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSession:
    """A session of one room as `ExportedSessionData` of the Matrix specification has it, checked for form."""

    room_id: str
    session_id: str
    first_index: int
    entry: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "RoomSession":
        """An entry of a key export; `ValueError` where it is misshapen."""
        room_id = entry.get("room_id")
        if not isinstance(room_id, str) or not room_id:
            raise ValueError("a session without a room")
        session = read_session(entry, entry.get("session_id"))
        members = {name: entry[name] for name in _MEMBERS if name in entry}
        return cls(room_id=room_id, session_id=session.session_id, first_index=session.first_index, entry=members)


def sessions_of_file(text: str, passphrase: str) -> list[RoomSession]:
    """The sessions of a key export file; `ValueError` for a wrong passphrase, an altered file, or one out of form.

    Sessions of other algorithms are left out. Takes seconds: PBKDF2 is meant to.
    """
    sealed = read_key_export(text)
    opened = sealed.open(sealed.derive(passphrase.encode()))
    sessions = []
    for entry in exported_entries(opened):
        if isinstance(entry, dict):
            try:
                sessions.append(RoomSession.of(entry))
            except ValueError:
                continue
    return sessions


def write_sessions(
    stream: BinaryIO,
    header: ExportHeader,
    *,
    recipient: Recipient,
    signer: Signer,
    sessions: Iterable[RoomSession],
    messages: Mapping[str, int],
) -> None:
    """Write an export of sessions. `messages`: by room, how many messages they open; a room without is left out."""
    by_room: dict[str, list[RoomSession]] = defaultdict(list)
    for session in sessions:
        if session.room_id in messages:
            by_room[session.room_id].append(session)
    writer = ExportWriter(header, recipient, signer)
    for room_id, count in messages.items():
        writer.list_conversation(room_id, messages=count)
        lowest: dict[str, int] = {}
        for session in by_room[room_id]:
            lowest[session.session_id] = min(session.first_index, lowest.get(session.session_id, session.first_index))
        for session_id, first_index in lowest.items():
            writer.cover(room_id, {"session_id": session_id, "first_index": first_index})
        for line in _lines(room_id, by_room[room_id]):
            writer.add_entry(line)
    writer.write(stream)


def _lines(room_id: str, sessions: Iterable[RoomSession]) -> Iterator[dict[str, object]]:
    """The sessions of a room, as many in a line as a line may hold."""
    room = LIMITS.key_line_bytes - len(canonical_json(room_id)) - _ROOM_IN_LINE
    line: list[Mapping[str, Any]] = []
    left = room
    for session in sessions:
        size = len(canonical_json(session.entry)) + 1
        if line and size > left:
            yield {"conversation_id": room_id, "sessions": line}
            line, left = [], room
        line.append(session.entry)
        left -= size
    if line:
        yield {"conversation_id": room_id, "sessions": line}
