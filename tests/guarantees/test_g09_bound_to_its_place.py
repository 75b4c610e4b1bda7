"""G9: a server-side ciphertext opens only as that message of that conversation, by that sender, at that time.

Single rows that are altered, and what verification says of each: `tests/verification/test_tampering.py`. The envelope
by itself: `tests/core/test_envelope.py`.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.verification import verify
from tests.guarantees import reader
from tests.guarantees.reader import Place
from tests.verification.support import executed, rows, tamper

_ALL = (
    "SELECT conversation_id, key_id, ciphertext, sent_at, message_id, sender_id, content_type, wrapped_keyset, context "
    "FROM migrator_message JOIN migrator_conversation USING (conversation_no) JOIN migrator_data_key "
    "USING (conversation_no, key_id) ORDER BY conversation_no, sent_at, message_id"
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[CampaignSpec, list[Any]]:
    """Every message row of an executed campaign with its key."""
    spec = executed(tmp_path_factory.mktemp("g9"))
    return spec, rows(spec, _ALL)


@given(data=st.data())
def test_no_exchange_between_rows_opens(stored: tuple[CampaignSpec, list[Any]], data: st.DataObject) -> None:
    """Bound to its place: any mixture of two rows but one whole row is refused, with either's key."""
    spec, found = stored
    numbers = st.integers(0, len(found) - 1)
    one = found[data.draw(numbers)]
    other = found[data.draw(numbers)]
    # Conversation, time, id, sender, type and ciphertext, each from one of the two; the key as well.
    taken = data.draw(st.tuples(*[st.booleans()] * 6))
    columns = (0, 3, 4, 5, 6, 2)
    mixed = [(one if mine else other)[column] for column, mine in zip(columns, taken, strict=True)]
    assume(not any(all(mixed[i] == row[c] for i, c in enumerate(columns)) for row in (one, other)))
    kek = reader.key_encryption_key(spec.directory)
    place: Place = (mixed[1], mixed[2], mixed[3], mixed[4])
    for row in (one, other):
        key = reader.data_key(kek, row[7], row[8])
        assert reader.opens(key, row[2], row[0], (row[3], row[4], row[5], row[6])), "each opens where it belongs"
        assert not reader.opens(key, mixed[5], mixed[0], place)


_EXCHANGES = {
    "two ciphertexts of a conversation": ("ciphertext", False),
    "the senders of two messages": ("sender_id", False),
    "the ids of two messages": ("message_id", False),
    "the times of two messages": ("sent_at", False),
    "two ciphertexts of two conversations with their keys": ("ciphertext, key_id", True),
}


@pytest.mark.parametrize("name", _EXCHANGES)
def test_an_exchange_is_found_by_verification(tmp_path: Path, name: str) -> None:
    """Bound to its place: rows that were exchanged in the database, every count as it was, fail the verification."""
    column, between_conversations = _EXCHANGES[name]
    spec = executed(tmp_path)
    one, other = pair(spec, between_conversations)
    exchange(spec, column, one, other)
    with open_campaign(spec) as campaign:
        result = verify(campaign, None, sample=None, progress=NoProgress())
    assert not result.ok
    assert {mismatch.kind.value for mismatch in result.mismatches} >= {"does_not_open"}


Key = tuple[int, int, str]


def pair(spec: CampaignSpec, between_conversations: bool) -> tuple[Key, Key]:
    """Primary keys of two messages by different senders, at different times."""
    query = "SELECT conversation_no, sent_at, message_id, sender_id FROM migrator_message ORDER BY 1, 2, 3"
    found = rows(spec, query)
    return next(
        ((a[0], a[1], a[2]), (b[0], b[1], b[2]))
        for a in found[:50]
        for b in reversed(found)
        if (a[0] != b[0]) is between_conversations and a[1] != b[1] and a[3] != b[3]
    )


def exchange(spec: CampaignSpec, column: str, one: Key, other: Key) -> None:
    """Give each of two rows some columns of the other."""
    where = "conversation_no = {} AND sent_at = {} AND message_id = '{}'"
    names = [name.strip() for name in column.split(",")]
    first, second = (
        rows(spec, f"SELECT * FROM migrator_message WHERE {where.format(*key)}")[0] for key in (one, other)
    )
    order = ["conversation_no", "sent_at", "message_id", "sender_id", "content_type", "key_id", "ciphertext"]
    a, b = dict(zip(order, first, strict=True)), dict(zip(order, second, strict=True))
    for name in names:
        a[name], b[name] = b[name], a[name]
    tamper(spec, *(f"DELETE FROM migrator_message WHERE {where.format(*key)}" for key in (one, other)))
    for row in (a, b):
        values = ", ".join(literal(row[name]) for name in order)
        tamper(spec, f"INSERT INTO migrator_message VALUES ({values})")


def literal(value: object) -> str:
    """A value as SQL text."""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return f"'{value}'" if isinstance(value, str) else str(value)
