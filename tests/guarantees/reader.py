"""A serving application that knows the formats and Google Tink, and nothing of migrator: what it sees counts."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tink
from tink import aead, json_proto_keyset_format, proto_keyset_format, secret_key_access

Place = tuple[int, str, str, str]
"""(sent_at, message id, sender id, content type)."""


@dataclass(slots=True)
class Shown:
    """A visible conversation: contents by place, gaps by (time, id), and the counts that its row claims."""

    message_count: int
    gap_count: int
    messages: dict[Place, bytes] = field(default_factory=dict)
    gaps: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the rows are as many as the conversation says."""
        return (len(self.messages), len(self.gaps)) == (self.message_count, self.gap_count)


@contextmanager
def one_view(folder: Path) -> Iterator[sqlite3.Connection]:
    """A read transaction on the migrator database: all statements see the same state."""
    connection = sqlite3.connect(f"file:{folder / 'migrator.db'}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def key_encryption_key(folder: Path) -> aead.Aead:
    """The local key service's key, read by Tink."""
    aead.register()
    text = (folder / "keys" / "migrator.json").read_text()
    return json_proto_keyset_format.parse(text, secret_key_access.TOKEN).primitive(aead.Aead)


def data_key(kek: aead.Aead, wrapped: bytes, context: str) -> aead.Aead:
    """Unwrap a keyset and let Tink make its primitive."""
    keyset = kek.decrypt(wrapped, context.encode())
    return proto_keyset_format.parse(keyset, secret_key_access.TOKEN).primitive(aead.Aead)


def bound_to(conversation_id: str, place: Place) -> bytes:
    """Associated data of a message, as the format has it."""
    sent_at, message_id, sender_id, content_type = place
    return "\0".join(("migrator/1", conversation_id, message_id, sender_id, str(sent_at), content_type)).encode()


def read(folder: Path) -> dict[str, Shown]:
    """All visible history, every message opened; `tink.TinkError` where one does not open."""
    kek = key_encryption_key(folder)
    found: dict[str, Shown] = {}
    with one_view(folder) as connection:
        keys = {
            (number, key_id): data_key(kek, wrapped, context)
            for number, key_id, wrapped, context in connection.execute(
                "SELECT conversation_no, key_id, wrapped_keyset, context FROM migrator_data_key "
                "WHERE wrapped_keyset IS NOT NULL"
            )
        }
        names = {}
        for number, name, messages, gaps in connection.execute(
            "SELECT conversation_no, conversation_id, message_count, gap_count FROM migrator_conversation "
            "WHERE mode = 'server'"
        ):
            names[number] = name
            found[name] = Shown(message_count=messages, gap_count=gaps)
        for number, key_id, ciphertext, *rest in connection.execute(
            "SELECT conversation_no, key_id, ciphertext, sent_at, message_id, sender_id, content_type "
            "FROM migrator_message"
        ):
            if number in names:
                place: Place = (rest[0], rest[1], rest[2], rest[3])
                content: bytes = keys[number, key_id].decrypt(ciphertext, bound_to(names[number], place))
                found[names[number]].messages[place] = content
        for number, sent_at, message_id, reason in connection.execute("SELECT * FROM migrator_gap"):
            if number in names:
                found[names[number]].gaps[sent_at, message_id] = reason
    return found


def opens(key: aead.Aead, ciphertext: bytes, conversation_id: str, place: Place) -> bool:
    """Whether a ciphertext opens as that message."""
    try:
        key.decrypt(ciphertext, bound_to(conversation_id, place))
    except tink.TinkError:
        return False
    return True
