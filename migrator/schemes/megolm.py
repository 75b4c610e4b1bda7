"""The Megolm scheme: opens encrypted room events of Matrix (client-server specification 1.13, `m.megolm.v1.aes-sha2`).

Rules for one message, in this order:

1. `redacted`: the row says so. Whatever ciphertext it still has is not looked at.
2. `malformed`: an id has a NUL or can't be UTF-8, the time is outside 0 to the end of the year 9999, there is no
   algorithm, session id or ciphertext, or the ciphertext is no Megolm message. `unsupported_version`, where an
   algorithm is named and is another one, comes before what is wrong with the ciphertext.
3. `no_key`: no export gave this room a session of that id.
4. `key_gap_before_index`: sessions are there, but the message is before what they know (`megolm_sessions`).
5. `corrupt`: MAC or signature fails under every candidate; or what opens is not a JSON object with a `type` and with
   the `room_id` of the room that it was read from: a message of another room, put here by somebody.
6. `unverified_sender`: nothing says that the session is the sender's; see `_is_senders`. Somebody else's message that
   a member sends again as an own one ends here.

`replay` is not decided here: a message says by `claims` which session and index it uses up, and execution remembers
who used what first. Messages are fed to a session in index order whatever the order of rows.

The content is the decrypted payload byte for byte, never serialised again; its content type names the event's type.

The hot path is vodozemac's `decrypt` (MAC, signature, AES, ratchet). Side by side on one core (messages of 200 bytes,
100 a session, `tests/schemes/megolm_rate.py`): 0.83 to 0.90 of vodozemac's own rate, 0.82 to 0.87 with claims settled;
14,000 to 15,800 a second where vodozemac alone opens 16,100 to 18,100.
"""

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import ClassVar, Final, NoReturn

from vodozemac import MegolmMessage

from migrator.core.attachments import Described
from migrator.core.encoding import b64_decode
from migrator.core.key_backup import OfExport
from migrator.core.limits import KIB
from migrator.core.megolm import ALGORITHM
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes import encrypted_file
from migrator.schemes.interface import KeyEntry, KeyRing, Opened
from migrator.schemes.megolm_coverage import covers, read_coverage
from migrator.schemes.megolm_keys import KeyLines
from migrator.schemes.megolm_sessions import MAX_KEPT, Chain, Sender, Sessions

LATEST_SENT_AT: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""
MAX_CIPHERTEXT_CHARS: Final = 128 * KIB
"""Events have at most 64 KiB; what is longer is no event that a server took."""

_MEMBERS: Final = 10
_JSON: Final = "application/json"
_SAFE_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,255}\Z")
"""A token (RFC 2045, section 5.1): what needs no quotes in a content type, and can't add a parameter of its own."""
_Result = Opened | GapReason
_Unit = tuple[Conversation, KeyRing, Sequence[MessageRow]]
_Fed = tuple[int, int, MegolmMessage]
"""A message on its way into its session: index, place in the results, message."""


class MegolmScheme:
    """Opens messages of Megolm sessions; keeps the sessions of late, which changes no result."""

    name: ClassVar[str] = "megolm"
    makes_claims: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lines = KeyLines()
        self._sessions = Sessions()

    def read_key_entries(self, entry: Mapping[str, object], export: OfExport) -> Iterable[KeyEntry]:
        """Read one parsed line of a `keys` export; see the port."""
        return self._lines.read(entry, export)

    def read_plain_part(self, part: bytes, export: OfExport) -> list[KeyEntry] | None:
        """The sessions of a key export file that makes up a whole part, however long; see the port."""
        return self._lines.read_plain_part(part, export)

    def read_coverage(self, entry: object) -> set[Hashable]:
        """The session that one element of a manifest's `coverage` names; see `megolm_coverage`."""
        return read_coverage(entry)

    def covers(self, coverage: str, slot: Hashable) -> bool:
        """Whether any element of a checked `coverage` names a session, or says that nobody knows which it has."""
        return covers(coverage, slot)

    def open_messages(self, units: Sequence[_Unit]) -> list[list[_Result]]:
        """Open the messages of several rooms; one result a row, in order."""
        return [self._open(conversation, ring, rows) for conversation, ring, rows in units]

    def claims(self, rows: Sequence[MessageRow]) -> list[bytes]:
        """What each row uses up: its session and index, by the message's header, which its MAC covers; see the port."""
        return [_claim(row) for row in rows]

    def attachments_of(self, content_type: str, content: bytes) -> list[Described]:
        """The encrypted files and thumbnails that an opened event describes; see the port."""
        return encrypted_file.attachments_of(content_type, content)

    def _open(self, conversation: Conversation, ring: KeyRing, rows: Sequence[MessageRow]) -> list[_Result]:
        results: list[_Result] = [GapReason.CORRUPT] * len(rows)
        by_session: dict[str, list[_Fed]] = {}
        for place, row in enumerate(rows):
            message = _message(row)
            if isinstance(message, GapReason):
                results[place] = message
            elif not ring.get(row[5]):
                results[place] = GapReason.NO_KEY
            else:
                by_session.setdefault(row[5], []).append((message.message_index(), place, message))
        room_id = conversation.conversation_id
        for session_id, messages in by_session.items():
            chains = self._sessions.chains(ring[session_id])
            for index, place, message in sorted(messages, key=_in_order):
                results[place] = _open_one(chains, index, message, room_id, rows[place])
        return results


_in_order: Final = itemgetter(0, 1)


def _message(row: MessageRow) -> MegolmMessage | GapReason:
    """The parsed message of a row, or why it stays sealed whatever keys there are."""
    if len(row) != _MEMBERS:
        return GapReason.MALFORMED
    sent_at, message_id, sender_id, ciphertext, algorithm, session_id, _, redacted, owners, admit_unknown = row
    if redacted is True:
        return GapReason.REDACTED
    if (
        redacted is not False
        or type(sent_at) is not int
        or not 0 <= sent_at <= LATEST_SENT_AT
        or not _is_id(message_id)
        or not _is_id(sender_id)
        or type(admit_unknown) is not bool
        or not isinstance(owners, Mapping)
        or type(algorithm) is not str
    ):
        return GapReason.MALFORMED
    if algorithm != ALGORITHM:
        return GapReason.UNSUPPORTED_VERSION
    if (
        type(ciphertext) is not bytes
        or len(ciphertext) > MAX_CIPHERTEXT_CHARS
        or type(session_id) is not str
        or not session_id
    ):
        return GapReason.MALFORMED
    try:
        text = ciphertext.decode("ascii")
        message = MegolmMessage.from_base64(text)
    except ValueError:
        return GapReason.MALFORMED
    # A MAC is over the bytes of the message. vodozemac takes it over its own encoding of what it has parsed: so it
    # would pass over fields that it doesn't know, and open what another decryptor refuses.
    return message if message.to_base64() in (text, text.rstrip("=")) else GapReason.MALFORMED


def _is_id(value: object) -> bool:
    """Whether a value can name something in server history."""
    if type(value) is not str or not value or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _claim(row: MessageRow) -> bytes:
    index: int = MegolmMessage.from_base64(row[3].decode()).message_index()
    return _session(row[5]) + index.to_bytes(4)


@lru_cache(maxsize=MAX_KEPT)
def _session(session_id: str) -> bytes:
    return b64_decode(session_id)


def _open_one(chains: list[Chain], index: int, message: MegolmMessage, room_id: str, row: MessageRow) -> _Result:
    """One message under the candidates for its session, the one that opened the last message first."""
    beyond = False
    for place, chain in enumerate(chains):
        if chain.first_index > index:
            beyond = True
            continue
        try:
            payload = chain.session.decrypt(message).plaintext
        except ValueError:
            continue
        if place:
            chains.insert(0, chains.pop(place))
        content_type = _content_type(payload, room_id)
        if content_type is None:
            return GapReason.CORRUPT
        if not _is_senders(chain.senders, row[2], row[8], admit_unknown=row[9]):
            return GapReason.UNVERIFIED_SENDER
        return content_type, payload
    # A key from an earlier index on may still come, unless all that there are reach down to the message and fail.
    return GapReason.KEY_GAP_BEFORE_INDEX if beyond else GapReason.CORRUPT


def _is_senders(senders: Sequence[Sender], sender_id: str, owners: Mapping[str, str], *, admit_unknown: bool) -> bool:
    """Whether a session may be the sender's, by the best of what exports say of it: a lie in one costs nothing.

    A session that comes from its creator and whose sender key is a device of the event's sender is his. One that was
    forwarded is hearsay even for who exports it (specification, "m.forwarded_room_key": its sender key is what the
    forwarder claims), so that it is as good as one of a device that nobody knows: policy decides. Another user's device
    is never the sender's.
    """
    unknown = False
    for sender_key, forwarded in senders:
        owner = owners.get(sender_key) if sender_key else None
        if not owner:
            unknown = True
        elif owner == sender_id:
            if not forwarded:
                return True
            unknown = True
    return unknown and admit_unknown


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


_PAYLOAD: Final = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_constant)
"""No number is looked at, and one of any length is valid JSON: how long it is does for its value."""


def _content_type(payload: bytes, room_id: str) -> str | None:
    """The content type of a payload that belongs to the room; None where it is none, or another room's."""
    try:
        inner = _PAYLOAD.decode(payload.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(inner, dict) or inner.get("room_id") != room_id:
        return None
    kind = inner.get("type")
    if not isinstance(kind, str):
        return None
    return f"{_JSON};type={kind}" if _SAFE_TYPE.match(kind) else _JSON
