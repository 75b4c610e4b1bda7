"""What the rows of a homeserver mean: rooms, members, accounts, devices and messages as values. No IO.

Rows are taken as they come, whatever they hold. Who takes part in a room:

1. Whoever was joined at any time, also who left, was kicked or banned since; not by a join that the server rejected.
2. Whoever was invited while the room's history visibility was `invited`: that alone lets an invited user read.
3. Nobody else. Under `joined` one reads what came while one was joined; under `shared` all of it, once one joins;
   under `world_readable` anybody may fetch events, but only members are handed Megolm keys. An invitation that was
   never taken up, and a knock, are no membership.
4. Who joined late is a participant of the whole room: which of its messages they hold is a matter of their keys.

The order of membership and visibility is the room's own: (topological ordering, stream ordering).
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from migrator.core.limits import KIB, LIMITS
from migrator.core.model import Account, AccountStatus, Conversation, Device, MessageRow
from migrator.stores.identifiers import escaped_fault_id, faulty, is_identifier, text_or_none
from migrator.stores.synapse_schema import domain_of

MAX_EVENT_CHARS = 256 * KIB
"""A longer event is none that Matrix allows (64 KiB), whatever put it there: it is malformed, and not read."""
_KEY_CHARS = 44
_NOTHING: tuple[None, None, None, None] = (None, None, None, None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAULT = "fault:"

Keys = Iterable[tuple[str, str]]
"""(Curve25519 key, user id) of devices."""


def is_sound(room_id: Any) -> bool:
    """Whether a room can be a conversation. Room ids are opaque; only the form of our own fault ids is not theirs."""
    return (
        is_identifier(room_id) and len(room_id.encode()) <= LIMITS.identifier_bytes and not room_id.startswith(_FAULT)
    )


def room(
    room_id: Any, tally: tuple[int, Any, int], members: Iterable[Any], visibilities: Sequence[tuple[Any, str]]
) -> Conversation:
    """A room as a conversation. `tally`: messages, newest time, changes; `members` and `visibilities` in order."""
    messages, last_sent_at, changes = tally
    if not is_sound(room_id):
        return faulty(escaped_fault_id((room_id,)), messages, last_sent_at)
    people = participants(members, visibilities)
    named = bool(people) and all(map(is_identifier, people))
    return Conversation(
        conversation_id=room_id,
        owner_id=None,
        thread_key=room_id,
        participants=tuple(sorted(people)) if named else (),
        messages=messages,
        last_sent_at=last_sent_at if type(last_sent_at) is int else None,
        orphan=not named,
        changes=changes,
    )


def participants(members: Iterable[Any], visibilities: Sequence[tuple[Any, str]]) -> set[Any]:
    """Rules 1 and 2. `members`: (place, user id, membership) in order; `visibilities`: (place, visibility) in order."""
    found: set[Any] = set()
    invited: set[Any] = set()
    visibility, coming = "shared", 0  # the default of the specification
    for place, user_id, membership in members:
        while coming < len(visibilities) and visibilities[coming][0] < place:
            visibility = visibilities[coming][1]
            found |= invited if visibility == "invited" else set()
            coming += 1
        if membership == "join":
            found.add(user_id)
        if membership == "invite":
            invited.add(user_id)
        else:
            invited.discard(user_id)
        if visibility == "invited":
            found |= invited
    if any(value == "invited" for _, value in visibilities[coming:]):
        found |= invited
    return found


def visibility_of(text: Any) -> str:
    """The history visibility that a state event sets; what is none is `shared`, as Synapse takes it."""
    value = content_of(text).get("history_visibility")
    return value if value in ("joined", "invited", "world_readable") else "shared"


def account(row: Sequence[Any], erased: bool, email: Any) -> Account:
    """An account from (name, deactivated, *locks). A homeserver knows no ages, guardians or regions: all are adults."""
    name, *locks = row
    status = AccountStatus.LOCKED if erased or any(locks) else AccountStatus.ACTIVE
    return Account(account_id=name, status=status, email=text_or_none(email))


def device(device_id: str, row: Sequence[Any]) -> Device | None:
    """A device from (user id, device id, key JSON, time added); None where that is not what it says it is."""
    user_id, own_id, text, added = row
    found = _object(text)
    if (found.get("user_id"), found.get("device_id")) != (user_id, own_id) or found.get("dehydrated"):
        return None
    keys = found.get("keys")
    encoded = str(keys.get(f"ed25519:{own_id}")) if isinstance(keys, dict) else ""
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        added_at = _EPOCH + timedelta(milliseconds=added)
    except (ValueError, TypeError, OverflowError):
        return None
    if len(key) != 32:
        return None
    return Device(device_id=device_id, account_id=user_id, signing_key=key, added_at=added_at)


def curve_key(user_id: Any, device_id: Any, text: Any) -> tuple[str, str] | None:
    """(Curve25519 key, user id) of a device, from the JSON that the server keeps of it, local or remote; one at most.

    What stands there is another server's word: other names than the device's own, and what is no key, are passed over.
    """
    keys = _object(text).get("keys")
    if isinstance(keys, dict) and isinstance(keys.get("keys"), dict):
        keys = keys["keys"]  # a remote device's keys lie one deeper
    key = keys.get(f"curve25519:{device_id}") if isinstance(keys, dict) else None
    return (key, user_id) if type(key) is str and len(key) <= _KEY_CHARS and is_identifier(user_id) else None


def owners_of(keys: Keys) -> dict[str, str]:
    """Whose each key is; one that two users claim is nobody's (`""`)."""
    owners: dict[str, str] = {}
    for key, user_id in keys:
        owners[key] = user_id if owners.get(key, user_id) == user_id else ""
    return owners


def honoured(redacting_sender: Any, internal: Any, sender: Any) -> bool:
    """Whether a redaction that is there, accepted and of the same room counts.

    Synapse notes with a redaction that came before its event that the two servers are still to be compared (room
    versions from 3). In doubt it counts: nothing is opened by mistake.
    """
    if _object(internal).get("recheck_redaction") is not True:
        return True
    return domain_of(str(redacting_sender)) == domain_of(str(sender))


def soft_failed(internal: Any) -> bool:
    """Whether the server keeps an event from its clients: nobody was ever shown it."""
    return isinstance(internal, str) and '"soft_failed"' in internal and bool(_object(internal).get("soft_failed"))


def message(
    place: tuple[Any, Any, Any], text: Any, taken_back: bool, owners: Mapping[str, str], admit: bool
) -> MessageRow:
    """A message's row (see `synapse`) from time, id and sender. `text` None: a state event, or one that is too long."""
    fields = _NOTHING if taken_back or text is None else _encrypted(text)
    return (*place, *fields, taken_back, owners, admit)


def _encrypted(text: Any) -> tuple[bytes | None, str | None, str | None, str | None]:
    content = content_of(text)
    ciphertext = _text(content.get("ciphertext"))
    return (
        None if ciphertext is None else ciphertext.encode(),
        _text(content.get("algorithm")),
        _text(content.get("session_id")),
        _text(content.get("sender_key")),
    )


def session_of(text: Any) -> str | None:
    """The session id of a message that has a ciphertext."""
    ciphertext, _, session_id, _ = _encrypted(text)
    return None if ciphertext is None else session_id


def content_of(text: Any) -> dict[str, Any]:
    """The content of an event's JSON; empty for whatever has none."""
    content = _object(text).get("content")
    return content if isinstance(content, dict) else {}


def _object(text: Any) -> dict[str, Any]:
    """A JSON object; an empty one for whatever is none."""
    if type(text) is not str or len(text) > MAX_EVENT_CHARS:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if type(found) is dict else {}


def _text(value: Any) -> str | None:
    """Text that is UTF-8, as it stands; lone surrogates are none."""
    if type(value) is not str:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def has_ciphertext(text: Any) -> bool:
    """Whether an event's JSON may still hold ciphertext: also where it can't be understood."""
    if text is None:
        return False
    found = _object(text)
    return not found or content_of(text).get("ciphertext") is not None
