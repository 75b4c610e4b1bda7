"""From opened messages to rows of server history: the hot path between scheme and database.

Plain tuples and local names; nothing is made per message but what is stored. Measured with 200-byte messages on one
core of the reference machine: see ARCHITECTURE.md, "Figures".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from migrator.core.envelope import DataKey, random_ivs
from migrator.core.gaps import GapCount
from migrator.core.merkle import ItemsRoot
from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.interface import Opened

MESSAGE_COLUMNS = ("conversation_no", "sent_at", "message_id", "sender_id", "content_type", "key_id", "ciphertext")
GAP_COLUMNS = ("conversation_no", "sent_at", "message_id", "reason")


_SENT_AT, _MESSAGE_ID = itemgetter(0), itemgetter(1)


class UnstorableRowError(Exception):
    """A row whose time or id has no place in the tables, so its conversation can't be accounted for."""


@dataclass(slots=True)
class Sealed:
    """A stretch of one conversation, ready to be written."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    gaps: list[tuple[Any, ...]] = field(default_factory=list)


def count(results: Sequence[Opened | GapReason], into: GapCount) -> None:
    """Add up what opened and what did not."""
    gaps = [result for result in results if isinstance(result, GapReason)]
    into.opened += len(results) - len(gaps)
    for reason in gaps:
        into.add_gap(reason)


def seal_page(
    conversation_no: int,
    conversation_id: str,
    key: DataKey,
    rows: Sequence[MessageRow],
    results: Sequence[Opened | GapReason],
    root: ItemsRoot,
) -> Sealed:
    """Seal what opened, note what did not, and feed the conversation's Merkle root, in message order."""
    sealed = Sealed()
    add_message = sealed.messages.append
    leaves: list[tuple[bytes, bytes, bytes]] = []
    add_leaf = leaves.append
    encrypt, prefix, key_id = key.aead.encrypt, key.prefix, key.key_id
    bound_prefix = f"migrator/1\0{conversation_id}\0"
    for row, result, iv in zip(rows, results, random_ivs(len(rows)), strict=True):
        if type(result) is tuple:
            content_type, content = result
            sent_at, message_id, sender_id, ciphertext = row[:4]
            bound = f"{bound_prefix}{message_id}\0{sender_id}\0{sent_at}\0{content_type}".encode()
            stored = prefix + iv + encrypt(iv, content, bound)
            add_message((conversation_no, sent_at, message_id, sender_id, content_type, key_id, stored))
            add_leaf((message_id.encode(), ciphertext, stored))
        elif isinstance(result, GapReason):
            sealed.gaps.append((conversation_no, *gap_key(row), result.value))
            add_leaf(gap_leaf(row))
    root.add(leaves)
    return sealed


def gap_key(row: MessageRow) -> tuple[int, str]:
    """Time and id under which a gap is recorded; a NUL in an id is written `%00`."""
    sent_at, message_id = row[0], row[1]
    if type(sent_at) is not int or type(message_id) is not str or not -(2**63) <= sent_at < 2**63:
        raise UnstorableRowError
    return sent_at, message_id.replace("\0", "%00")


def gap_leaf(row: MessageRow) -> tuple[bytes, bytes, bytes]:
    """What a gap adds to the Merkle root: its source ciphertext, and no server ciphertext."""
    ciphertext = row[3]
    return row[1].encode("utf-8", "surrogateescape"), ciphertext if isinstance(ciphertext, bytes) else b"", b""


def storable(rows: Sequence[MessageRow]) -> bool:
    """Whether every row has a place of its own: integer time, text id, and no two alike, also with `%00` for NUL."""
    if not set(map(type, map(_SENT_AT, rows))) <= {int}:
        return False
    ids = list(map(_MESSAGE_ID, rows))
    try:
        text = "".join(ids)
    except TypeError:
        return False
    if "\0" not in text and len(set(ids)) == len(ids):
        return True  # different ids are different places, whatever the times are
    return len({(row[0], row[1].replace("\0", "%00")) for row in rows}) == len(rows)
