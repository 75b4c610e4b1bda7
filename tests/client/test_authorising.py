"""What a client signs is what others read: verified without migrator's own verifier, and read by its reader."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from migrator.client.authorising import Asked, authorise, split_scope
from migrator.client.signing import Signer
from migrator.core.authorization import NoticeShown, read_record
from migrator.core.limits import LIMITS
from migrator.core.policy import Answer
from tests.client.archives import decode

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PHONE = Signer.device("phone", KEY)
ISSUER = Signer.issuer("consent", KEY)
RECORD = UUID("01234567-89ab-4def-8123-456789abcdef")
DECIDED = datetime(2026, 4, 1, 12, tzinfo=UTC)
ASKED = Asked(
    campaign="c",
    recipient_key_id="rk",
    notice=NoticeShown(notice_id="cutover", version="3", locale="de", sha256="ab" * 32),
)
IDENTIFIERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def _authorise(signer: Signer = PHONE, answer: Answer = Answer.GRANT, conversations: list[str] | None = None) -> str:
    return authorise(
        signer,
        ASKED,
        record_id=RECORD,
        account_id="alice",
        answer=answer,
        decided_at=DECIDED,
        valid_until=DECIDED + timedelta(days=1),
        conversations=conversations,
    )


@pytest.mark.parametrize(("signer", "kid"), [(PHONE, "phone"), (ISSUER, "issuer:consent")])
def test_token_is_a_plain_jws(signer: Signer, kid: str) -> None:
    """The header is exactly alg, kid and typ, and the signature holds over the first two segments as they stand."""
    header, payload, signature = _authorise(signer).split(".")
    assert json.loads(decode(header)) == {"alg": "Ed25519", "kid": kid, "typ": "migrator-authorization+jws"}
    KEY.public_key().verify(decode(signature), f"{header}.{payload}".encode())


@given(
    answer=st.sampled_from(Answer),
    conversations=st.none() | st.lists(IDENTIFIERS, min_size=1, max_size=5, unique=True),
    guardian=st.none() | IDENTIFIERS,
    signer=st.sampled_from([PHONE, ISSUER]),
    ends=st.booleans(),
)
def test_reader_gets_what_the_client_signed(
    answer: Answer, conversations: list[str] | None, guardian: str | None, signer: Signer, ends: bool
) -> None:
    """Every combination of answer, scope, actor and signer comes back as it was given."""
    valid_until = DECIDED + timedelta(days=30) if ends or answer is Answer.GRANT else None
    record = read_record(
        authorise(
            signer,
            ASKED,
            record_id=RECORD,
            account_id="alice",
            answer=answer,
            decided_at=DECIDED,
            valid_until=valid_until,
            conversations=conversations,
            guardian_id=guardian,
        )
    )
    assert (record.record_id, record.campaign, record.account_id) == (str(RECORD), "c", "alice")
    assert (record.device_id, record.issuer) == (signer.device_id, signer.issuer_name)
    assert (record.answer, record.guardian_id) == (answer, guardian)
    assert record.conversations == (None if conversations is None else tuple(conversations))
    assert (record.decided_at, record.valid_until) == (DECIDED, valid_until)
    assert (record.notice, record.recipient_key_id) == (ASKED.notice, "rk")


def test_nonce_is_drawn_afresh() -> None:
    """The same answer twice gives two tokens, unless the nonce is given."""
    assert _authorise() != _authorise()


def test_a_grant_must_end() -> None:
    """A grant without an end is not signed; a refusal without one is."""
    with pytest.raises(ValueError, match="valid_until"):
        authorise(PHONE, ASKED, record_id=RECORD, account_id="alice", answer=Answer.GRANT, decided_at=DECIDED)
    assert authorise(PHONE, ASKED, record_id=RECORD, account_id="alice", answer=Answer.REFUSE, decided_at=DECIDED)


def test_empty_scope_is_not_signed() -> None:
    """An answer about no conversation would be refused as malformed."""
    with pytest.raises(ValueError, match="no conversation"):
        _authorise(conversations=[])


def test_record_over_the_limit_is_not_signed() -> None:
    """A client learns at once that a list is too long, not from a refusal weeks later."""
    with pytest.raises(ValueError, match="split"):
        _authorise(conversations=[f"inbox/{number:040d}" for number in range(1500)])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1000), max_size=60, unique=True))
def test_split_scope_keeps_all_and_fits(conversations: list[str]) -> None:
    """The pieces put together are the list, in order, and each fits in a record."""
    pieces = list(split_scope(conversations))
    assert [conversation_id for piece in pieces for conversation_id in piece] == conversations
    assert all(len(_authorise(conversations=piece)) <= LIMITS.authorization_chars for piece in pieces)


def test_split_scope_fills_records() -> None:
    """A long list needs no more records than its size asks for."""
    conversations = [f"inbox/{number:040d}" for number in range(5000)]
    pieces = list(split_scope(conversations))
    assert len(pieces) == -(-5000 * 49 // (LIMITS.authorization_chars // 2 // 49 * 49))
    assert all(len(_authorise(conversations=piece)) <= LIMITS.authorization_chars for piece in pieces)


def test_private_key_is_not_shown() -> None:
    """The repr of a signer names the device and nothing of its key."""
    assert repr(PHONE) == "Signer(kid='phone')"
