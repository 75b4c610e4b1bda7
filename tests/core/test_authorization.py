"""One authorisation record: its form, each refusal, and the order in which they are looked for."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.authorization import (
    AuthorizationRecord,
    NoticeShown,
    Surroundings,
    check_record,
    claimed_record_id,
    read_record,
)
from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.model import Account, AccountStatus, Device
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.policy import Answer
from tests.core.records import NOW, RECORD_ID, header, key, payload, public, sign, sign_raw, without

PHONE = key(1)
PARENTS_PHONE = key(2)
CONSENT = key(9)
ALICE = Account(account_id="alice", status=AccountStatus.ACTIVE)
CHILD = dataclasses.replace(ALICE, minor=True, guardian_account_id="parent")
PARENT = Account(account_id="parent", status=AccountStatus.ACTIVE)
DEVICE = Device(device_id="alice-phone", account_id="alice", signing_key=public(PHONE), added_at=NOW - timedelta(9))
PARENTS_DEVICE = dataclasses.replace(
    DEVICE, device_id="parent-phone", account_id="parent", signing_key=public(PARENTS_PHONE)
)
NOTICE = NoticeShown(notice_id="cutover", version="3", locale="de", sha256="ab" * 32)
KNOWN = Surroundings(
    campaign="test",
    account=ALICE,
    guardian=None,
    device=DEVICE,
    issuers={"consent": public(CONSENT)},
    recipient_key_ids=frozenset({"key-1"}),
    notices=frozenset({NOTICE}),
    now=NOW,
)
Change = Callable[[dict[str, Any]], dict[str, Any]]


def signed(members: object) -> str:
    return sign(members, PHONE)


def read(**changes: Any) -> AuthorizationRecord:
    return read_record(signed(payload(**changes)))


def form(text: str) -> RefusalReason | None:
    try:
        read_record(text)
    except Refused as refused:
        return refused.reason
    return None


def refusal(text: str, **known: Any) -> RefusalReason | None:
    try:
        check_record(read_record(text), dataclasses.replace(KNOWN, **known))
    except Refused as refused:
        return refused.reason
    return None


# --- form ---


def test_reads_every_member() -> None:
    """A valid grant is read member by member."""
    record = read(scope={"conversations": ["alice-inbox/bob", "alice-inbox/carol"]})
    assert record.record_id == RECORD_ID
    assert (record.campaign, record.account_id, record.device_id) == ("test", "alice", "alice-phone")
    assert (record.guardian_id, record.issuer, record.signer_account_id) == (None, None, "alice")
    assert record.answer is Answer.GRANT
    assert record.conversations == ("alice-inbox/bob", "alice-inbox/carol")
    assert record.decided_at == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert record.valid_until == datetime(2026, 12, 31, tzinfo=UTC)
    assert record.notice == NOTICE
    assert record.recipient_key_id == "key-1"
    assert read().conversations is None


def test_reads_a_guardian_and_an_issuer() -> None:
    """Who speaks and who attests it are told apart."""
    guardian = sign(
        payload(device_id="parent-phone", actor={"kind": "guardian", "account_id": "parent"}),
        PARENTS_PHONE,
        kid="parent-phone",
    )
    assert read_record(guardian).guardian_id == "parent"
    assert read_record(guardian).signer_account_id == "parent"
    actor = {"kind": "guardian", "account_id": "parent", "attested_by": "consent"}
    attested = read_record(sign(without("device_id")(payload(actor=actor)), CONSENT, kid="issuer:consent"))
    assert (attested.guardian_id, attested.issuer, attested.device_id) == ("parent", "consent", None)


def test_one_identifier_for_one_record() -> None:
    """The case of hex digits makes no second record, nor a second notice."""
    notice = {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "AB" * 32}
    record = read(record_id=RECORD_ID.upper(), notice=notice)
    assert record.record_id == RECORD_ID
    assert record.notice == NOTICE


@pytest.mark.parametrize("member", sorted(set(payload()) - {"device_id", "valid_until"}))
def test_every_member_is_needed(member: str) -> None:
    """A record that lacks a member is malformed."""
    assert form(signed(without(member)(payload()))) is RefusalReason.MALFORMED


@pytest.mark.parametrize("member", sorted(payload()))
@pytest.mark.parametrize("value", [None, 7, True, "", [], {}, "a\0b", "!" * 2000, [["all"]]])
def test_every_member_has_its_type(member: str, value: object) -> None:
    """A member of another type, empty, too long or with a NUL is malformed."""
    assert form(signed(payload(**{member: value}))) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"schema": "migrator.authorization/2"},
        {"record_id": "not-a-uuid"},
        {"record_id": "{" + RECORD_ID + "}"},
        {"record_id": "urn:uuid:" + RECORD_ID},
        {"record_id": RECORD_ID.replace("-", "")},
        {"record_id": RECORD_ID + "\n"},
        {"decision": "GRANT"},
        {"decision": "maybe"},
        {"actor": {"kind": "other"}},
        {"actor": {"kind": ["self"]}},
        {"actor": {"kind": "self", "account_id": "alice"}},
        {"actor": {"kind": "self", "attested_by": "consent"}},
        {"actor": {"kind": "guardian"}},
        {"actor": {"kind": "guardian", "account_id": ""}},
        {"actor": {"kind": "guardian", "account_id": "parent", "name": "P"}},
        {"actor": "self"},
        {"device_id": "another-device"},
        {"scope": {"conversations": []}},
        {"scope": {"conversations": "ALL"}},
        {"scope": {"conversations": "alice-inbox/bob"}},
        {"scope": {"conversations": ["a", "a"]}},
        {"scope": {"conversations": ["a", 7]}},
        {"scope": {"conversations": ["a", ["b"]]}},
        {"scope": {"conversations": [""]}},
        {"scope": {"conversations": ["x" * 1025]}},
        {"scope": {"conversations": ["a\0"]}},
        {"scope": {"conversations": ["\ud800"]}},
        {"scope": {"conversations": {"a": 1}}},
        {"scope": {"conversations": "all", "folders": "all"}},
        {"scope": {}},
        {"purposes": ["advertising"]},
        {"purposes": "history_storage"},
        {"purposes": ["history_storage", 7]},
        {"purposes": {"history_storage": True}},
        {"decided_at": "2026-03-01"},
        {"decided_at": "2026-03-01T11:00:00"},
        {"decided_at": "2026-03-01 11:00:00Z"},
        {"decided_at": "2026-W09-7T11:00:00Z"},
        {"decided_at": "2026-03-01T11:00:00,5Z"},
        {"decided_at": "2026-03-01T11:00:00+01:00:30"},
        {"decided_at": "2026-02-30T11:00:00Z"},
        {"decided_at": "0001-01-01T00:00:00+14:00"},
        {"decided_at": "9999-12-31T23:59:59-14:00"},
        {"decided_at": 1772362800},
        {"valid_until": "never"},
        {"valid_until": None},
        {"notice": {"notice_id": "cutover", "version": 3, "locale": "de", "sha256": "ab" * 32}},
        {"notice": {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "ab" * 31}},
        {"notice": {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "zz" * 32}},
        {"notice": {"notice_id": "cutover", "version": "3", "locale": "de"}},
        {"notice": {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "ab" * 32, "url": "x"}},
        {"nonce": b64url_encode(bytes(15))},
        {"nonce": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"nonce": "!" * 22},
    ],
)
def test_malformed(changes: dict[str, Any]) -> None:
    """Each departure from the form is malformed, though its signature holds."""
    assert form(signed(payload(**changes))) is RefusalReason.MALFORMED


def test_form_of_the_json() -> None:
    """Repeated members, floats, deep nesting, a BOM, other encodings and what is no object are malformed."""
    good = canonical_json(payload())
    deep = b'{"a":' * 17 + b"1" + b"}" * 17
    for body in (
        good[:-1] + b',"decision":"grant"}',
        good.replace(b'"nonce":', b'"x":1.5,"nonce":'),
        good.replace(b'"nonce":', b'"x":NaN,"nonce":'),
        good.replace(b'"nonce":', b'"x":' + b"9" * 5000 + b',"nonce":'),
        good.replace(b'{"kind":"self"}', b'{"kind":"self","kind":"self"}'),
        good.replace(b'"nonce":', b'"x":' + deep + b',"nonce":'),
        b"[" * 20_000,
        b"\xef\xbb\xbf" + good,
        good.decode().encode("utf-16"),
        b"[" + good + b"]",
        good + good,
        b"null",
        b"",
    ):
        assert form(sign_raw(header(), body, PHONE)) is RefusalReason.MALFORMED
    assert form(sign_raw(header(), good, PHONE)) is None


def test_only_grants_need_an_end() -> None:
    """`valid_until` may be missing or null in a refusal or withdrawal, never in a grant."""
    for answer in ("refuse", "withdraw"):
        assert form(signed(without("valid_until")(payload(decision=answer)))) is None
        assert form(signed(payload(decision=answer, valid_until=None))) is None
    assert form(signed(without("valid_until")(payload()))) is RefusalReason.MALFORMED


def test_kid_and_payload_name_one_signer() -> None:
    """The device in the payload is the one in the header; an issuer is the one that attests."""
    assert form(sign(payload(), PHONE, kid="alice-tablet")) is RefusalReason.MALFORMED
    actor = {"kind": "self", "attested_by": "consent"}
    assert form(sign(payload(actor=actor), CONSENT, kid="issuer:consent")) is None
    assert form(sign(payload(actor=actor), CONSENT, kid="issuer:other")) is RefusalReason.MALFORMED
    assert form(sign(payload(), CONSENT, kid="issuer:consent")) is RefusalReason.MALFORMED
    assert form(sign(payload(actor=actor, device_id=7), CONSENT, kid="issuer:consent")) is RefusalReason.MALFORMED


def test_too_large_comes_before_the_form() -> None:
    """A record of more than 64 KiB is too large, a smaller one with thousands of ids is read."""
    ids = [f"alice-inbox/{n:06}" for n in range(2000)]
    assert form(signed(payload(scope={"conversations": ids}))) is None
    assert form(signed(payload(scope={"conversations": ids + [i + "x" for i in ids]}))) is RefusalReason.TOO_LARGE
    assert form("." * 65_537) is RefusalReason.TOO_LARGE


@given(st.dictionaries(st.sampled_from(sorted(payload())), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
), max_size=4))  # fmt: skip
def test_any_json_is_read_or_refused(changes: dict[str, Any]) -> None:
    """Whatever stands in the members, the answer is a record or a refusal, never another exception."""
    body = canonical_json({**payload(), **changes})
    assert form(sign_raw(header(), body, PHONE)) in (None, RefusalReason.MALFORMED)


# --- what a refused text calls itself ---


def test_claimed_record_id() -> None:
    """A person can find a malformed record by its id where it has one; nothing is promised of other text."""
    assert claimed_record_id(signed(payload(extra=1))) == RECORD_ID
    assert claimed_record_id(signed(payload(record_id="<script>"))) is None
    assert claimed_record_id(signed([1])) is None
    assert claimed_record_id(sign_raw(header(), b"{", PHONE)) is None
    for text in ("", "..", "a.b.c", "é.é.é", "." * 70_000):
        assert claimed_record_id(text) is None


# --- against the campaign ---


def test_a_valid_record_passes() -> None:
    """Nothing stands against a grant, a refusal and a withdrawal by the account's own device."""
    for answer in ("grant", "refuse", "withdraw"):
        assert refusal(signed(payload(decision=answer))) is None


def guardians(**changes: Any) -> str:
    actor = {"kind": "guardian", "account_id": "parent"}
    return sign(payload(device_id="parent-phone", actor=actor, **changes), PARENTS_PHONE, kid="parent-phone")


def test_guardian_signs_for_a_minor() -> None:
    """Signed by the guardian's device; the minor's own device can't sign in the guardian's name."""
    assert refusal(guardians(), account=CHILD, guardian=PARENT, device=PARENTS_DEVICE) is None
    actor = {"kind": "guardian", "account_id": "parent"}
    posing = signed(payload(actor=actor))
    assert refusal(posing, account=CHILD, guardian=PARENT) is RefusalReason.UNKNOWN_DEVICE


@pytest.mark.parametrize(
    ("account", "guardian"),
    [
        (ALICE, PARENT),
        (dataclasses.replace(ALICE, guardian_account_id="parent"), PARENT),
        (dataclasses.replace(CHILD, guardian_account_id="other"), PARENT),
        (dataclasses.replace(CHILD, guardian_account_id=None), PARENT),
        (CHILD, None),
        (CHILD, dataclasses.replace(PARENT, minor=True)),
        (CHILD, dataclasses.replace(PARENT, status=AccountStatus.LOCKED)),
        (CHILD, dataclasses.replace(PARENT, status=AccountStatus.DECEASED)),
        (CHILD, dataclasses.replace(PARENT, status=AccountStatus.UNRESOLVABLE)),
    ],
)
def test_not_guardian(account: Account, guardian: Account | None) -> None:
    """Only the named guardian of a minor, an active adult, speaks for anybody else."""
    assert refusal(guardians(), account=account, guardian=guardian, device=PARENTS_DEVICE) is RefusalReason.NOT_GUARDIAN


def test_nobody_is_their_own_guardian() -> None:
    """A minor whose row names itself as its guardian does not become one."""
    self_named = dataclasses.replace(CHILD, guardian_account_id="alice")
    text = signed(payload(actor={"kind": "guardian", "account_id": "alice"}))
    assert refusal(text, account=self_named, guardian=self_named) is RefusalReason.NOT_GUARDIAN


def test_issuer_signed() -> None:
    """A configured consent service may sign for a user, and for a guardian, by the same rules."""
    text = sign(payload(actor={"kind": "self", "attested_by": "consent"}), CONSENT, kid="issuer:consent")
    assert refusal(text, device=None) is None
    assert refusal(text, device=None, issuers={}) is RefusalReason.UNKNOWN_ISSUER
    actor = {"kind": "guardian", "account_id": "parent", "attested_by": "consent"}
    for_child = sign(payload(actor=actor), CONSENT, kid="issuer:consent")
    assert refusal(for_child, device=None, account=CHILD, guardian=PARENT) is None
    assert refusal(for_child, device=None, guardian=PARENT) is RefusalReason.NOT_GUARDIAN


def test_expiry_is_for_grants() -> None:
    """A grant whose end has come is expired; a refusal with an end in the past still counts."""
    assert refusal(signed(payload(valid_until="2026-03-01T12:00:00Z"))) is RefusalReason.EXPIRED
    assert refusal(signed(payload(valid_until="2026-03-01T12:00:00.000001Z"))) is None
    assert refusal(signed(payload(decision="withdraw", valid_until="2026-03-01T11:00:00Z"))) is None
    assert refusal(signed(payload(decision="refuse", valid_until="0001-01-01T00:00:00Z"))) is None


def test_five_minutes_of_skew() -> None:
    """Five minutes ahead is a clock that is wrong, more is the future."""
    assert refusal(signed(payload(decided_at="2026-03-01T12:05:00Z"))) is None
    assert refusal(signed(payload(decided_at="2026-03-01T12:05:00.000001Z"))) is RefusalReason.FUTURE
    assert refusal(signed(payload(decided_at="9999-12-31T23:59:59Z"))) is RefusalReason.FUTURE


@pytest.mark.parametrize("member", ["notice_id", "version", "locale", "sha256"])
def test_notice_must_have_been_published(member: str) -> None:
    """The words, their version and their language must all be those that were sent."""
    notice = {"notice_id": "cutover", "version": "3", "locale": "de", "sha256": "ab" * 32}
    assert refusal(signed(payload(notice={**notice, member: "cd" * 32}))) is RefusalReason.UNKNOWN_NOTICE


def test_a_notice_is_one_version_in_one_locale() -> None:
    """The digest of one published version does not vouch for another published one."""
    other = dataclasses.replace(NOTICE, version="2", sha256="cd" * 32)
    mixed = {"notice_id": "cutover", "version": "2", "locale": "de", "sha256": "ab" * 32}
    assert refusal(signed(payload(notice=mixed)), notices=frozenset({NOTICE, other})) is RefusalReason.UNKNOWN_NOTICE


WORST: tuple[tuple[RefusalReason, dict[str, Any], dict[str, Any]], ...] = (
    (RefusalReason.UNKNOWN_ACCOUNT, {}, {"account": None}),
    (RefusalReason.UNKNOWN_DEVICE, {}, {"device": None}),
    (RefusalReason.BAD_SIGNATURE, {}, {"device": dataclasses.replace(DEVICE, signing_key=public(key(7)))}),
    (RefusalReason.REVOKED_DEVICE, {}, {"device": dataclasses.replace(DEVICE, revoked_at=NOW)}),
    (RefusalReason.WRONG_CAMPAIGN, {"campaign": "another"}, {}),
    (RefusalReason.WRONG_RECIPIENT_KEY, {"recipient_key_id": "another"}, {}),
    (RefusalReason.EXPIRED, {"valid_until": "2026-02-01T00:00:00Z"}, {}),
    (RefusalReason.FUTURE, {"decided_at": "2026-04-01T00:00:00Z"}, {}),
    (RefusalReason.UNKNOWN_NOTICE, {}, {"notices": frozenset()}),
    (RefusalReason.NOT_GUARDIAN, {"actor": {"kind": "guardian", "account_id": "alice"}}, {}),
)


@pytest.mark.parametrize("first", range(len(WORST)))
def test_order_of_reasons(first: int) -> None:
    """Of all that is wrong with a record, the reason is the first in the order of the contract."""
    changes: dict[str, Any] = {}
    known: dict[str, Any] = {}
    for _, in_record, in_campaign in reversed(WORST[first:]):
        changes.update(in_record)
        known.update(in_campaign)
    assert refusal(signed(payload(**changes)), **known) is WORST[first][0]


def test_refusals_hold_no_content() -> None:
    """What a refusal says of a malformed record repeats none of its values."""
    for member in payload():
        with pytest.raises(Refused) as caught:
            read_record(signed(payload(**{member: ["hunter2-private"]})))
        assert "hunter2" not in str(caught.value)
