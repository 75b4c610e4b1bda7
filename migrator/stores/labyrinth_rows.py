"""What the rows of a Labyrinth store mean: conversations, accounts and devices as values. No IO.

Rows are taken as they come, whatever types they hold. Rules for conversations:

1. An inbox id with `/` or NUL, a thread id with NUL, an id that is not text, a kind that is neither direct nor group,
   and an id too long to be handed in by a client: a fault. It counts, under an id that no other conversation has.
2. No thread row, no account behind the inbox, or a member that can't be named: an orphan.
3. The participants are the members, the owner, and in a direct thread the other account, which the thread id is.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from migrator.core.clock import parse_time
from migrator.core.limits import LIMITS
from migrator.core.model import Account, AccountStatus, Conversation, Device
from migrator.stores.identifiers import faulty, is_identifier, text_or_none

Key = tuple[Any, Any]
"""(inbox id, thread id), as the store holds them."""
_MOST_SPLITS = 32
_STATUSES = {status.value: status for status in AccountStatus if status is not AccountStatus.UNRESOLVABLE}


def is_over(released_at: Any, now: datetime) -> bool:
    """Whether a legal hold has ended: in doubt it has not."""
    try:
        return type(released_at) is str and parse_time(released_at) <= now
    except ValueError:
        return False


def key_of(conversation_id: str) -> Key | None:
    """The inbox and thread of a conversation id; None where no sound conversation can have that id."""
    inbox_id, slash, thread_id = conversation_id.partition("/")
    return (inbox_id, thread_id) if slash and is_identifier(conversation_id) else None


def sound_id(key: Key, checked: bool) -> str | None:
    """The conversation's id; None if its key is at fault. `checked`: its parts are known to be identifiers."""
    inbox_id, thread_id = key
    if not (checked or (is_identifier(inbox_id) and is_identifier(thread_id))) or "/" in inbox_id:
        return None
    conversation_id = f"{inbox_id}/{thread_id}"
    if len(conversation_id) > LIMITS.identifier_bytes // 4 and len(conversation_id.encode()) > LIMITS.identifier_bytes:
        return None
    return conversation_id


def natural_fault_id(key: Key) -> str | None:
    """`inbox/thread` of a faulty key, with NUL as `%00`, where only a sound or another slashed key can have it too."""
    inbox_id, thread_id = key
    if type(inbox_id) is not str or type(thread_id) is not str:
        return None
    natural = f"{inbox_id}/{thread_id}"
    if "\0" in natural:
        if "/" in inbox_id or "%" in natural:
            return None
        natural = natural.replace("\0", "%00")
    return natural if len(natural.encode(errors="replace")) <= LIMITS.identifier_bytes else None


def rival_keys(natural: str, key: Key) -> list[Key] | None:
    """The other keys that a natural id could belong to; None if they are too many to look at."""
    if natural.count("/") > _MOST_SPLITS:
        return None
    places = [place for place, character in enumerate(natural) if character == "/"]
    splits = [(natural[:place], natural[place + 1 :]) for place in places]
    return [split for split in splits if split != key]


def conversation(
    conversation_id: str,
    key: Key,
    kind: Any,
    owner: Any,
    members: Sequence[Any],
    tally: tuple[int, Any],
    checked: bool,
) -> Conversation:
    """A conversation with a sound key. `kind` is None without a thread row, `owner` without an inbox row.

    `checked`: the owner, if there is one, and the members are known to be identifiers.
    """
    messages, last_sent_at = tally
    if type(last_sent_at) is not int:
        last_sent_at = None
    if kind == "direct" or kind == "group":
        named = owner is not None and (checked or (is_identifier(owner) and all(map(is_identifier, members))))
    elif kind is None:
        named = False
    else:
        return faulty(conversation_id, messages, last_sent_at)
    if not named:
        return Conversation(conversation_id, None, f"orphan:{conversation_id}", (), messages, last_sent_at, orphan=True)
    other = key[1]
    if kind == "group":
        participants = tuple(sorted({owner, *members}))
        return Conversation(conversation_id, owner, f"group:{other}", participants, messages, last_sent_at)
    first, second = (owner, other) if owner <= other else (other, owner)
    thread_key = f"direct:{len(first)}:{first}:{second}"
    both = [first, second]
    participants = (first, second) if members == both else tuple(sorted({owner, other, *members}))
    return Conversation(conversation_id, owner, thread_key, participants, messages, last_sent_at)


ACCOUNT_COLUMNS = (
    "account_id", "status", "age_band", "guardian_account_id", "email", "locale", "timezone", "region"
)  # fmt: skip
DEVICE_COLUMNS = ("device_id", "account_id", "signing_key", "added_at", "revoked_at")


def account(row: Sequence[Any]) -> Account:
    """An account from `ACCOUNT_COLUMNS`.

    What its status or age band does not say plainly is taken as unresolvable, and as a minor.
    """
    account_id, status, age_band, guardian_account_id, email, locale, timezone, region = row
    return Account(
        account_id=account_id,
        status=_STATUSES.get(status, AccountStatus.UNRESOLVABLE),
        minor=age_band != "adult",
        guardian_account_id=text_or_none(guardian_account_id),
        email=text_or_none(email),
        locale=text_or_none(locale),
        timezone=text_or_none(timezone),
        region=text_or_none(region),
    )


def device(row: Sequence[Any]) -> Device | None:
    """A device from `DEVICE_COLUMNS`; None where its key or times can't be understood: what it signed is no proof."""
    device_id, account_id, key, added, revoked = row
    key = bytes(key) if isinstance(key, bytes | memoryview) else b""
    if len(key) != 32 or not is_identifier(account_id):
        return None
    try:
        added_at = parse_time(added)
        revoked_at = None if revoked is None else parse_time(revoked)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    return Device(device_id=device_id, account_id=account_id, signing_key=key, added_at=added_at, revoked_at=revoked_at)
