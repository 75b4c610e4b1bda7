"""One authorisation record: read from its token, and checked against what the campaign knows (formats, section 3).

The first of these that holds is why a record is refused:

1. `too_large`: more than 64 KiB of compact text.
2. `malformed`: the form, as a whole. Members are exactly those of the format. `valid_until` is required in a grant; in
   a refusal or withdrawal, which never expire, it may be null or left out. `device_id` may be null or left out where an
   issuer signed. `kid` and payload must name the same signer.
3. `unknown_account`, then the signer: `unknown_issuer` or `unknown_device`, `bad_signature`, `unknown_device` (added
   after the decision), `revoked_device`. A guardian's record is signed by a device of the guardian.
4. `wrong_campaign`, `wrong_recipient_key`, `expired` (grants only), `future`, `unknown_notice`, `not_guardian`.

Whether a record was imported before (`already`, looked at between 2 and 3; `duplicate_record`, after 4) only the
database can tell: see `migrator.authorizations`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from migrator.core.clock import parse_utc
from migrator.core.encoding import b64url_decode, strict_json
from migrator.core.limits import LIMITS
from migrator.core.model import Account, AccountStatus, Device
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.policy import Answer
from migrator.core.signatures import SignedToken, check_signer, is_identifier, read_token

SCHEMA: Final = "migrator.authorization/1"
TYP: Final = "migrator-authorization+jws"
HISTORY_STORAGE: Final = "history_storage"
"""The purpose without which a record is not about this campaign's matter."""

_REQUIRED: Final = frozenset(
    {
        "schema", "record_id", "campaign", "account_id", "actor", "decision", "scope", "purposes", "decided_at",
        "notice", "recipient_key_id", "nonce",
    }
)  # fmt: skip
_OPTIONAL: Final = frozenset({"device_id", "valid_until"})
_NOTICE_MEMBERS: Final = frozenset({"notice_id", "version", "locale", "sha256"})
_NONCE_BYTES: Final = 16
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeShown:
    """Which notice the person had seen: its template's digest in hex is of that version and locale."""

    notice_id: str
    version: str
    locale: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRecord:
    """A record whose form is right; nothing in it is believed yet.

    `conversations` None stands for all of the account's. `guardian_id` and `issuer` are None where the account itself
    or a device signed. Identifiers of records are in lower case.
    """

    token: SignedToken
    record_id: str
    campaign: str
    account_id: str
    device_id: str | None
    guardian_id: str | None
    issuer: str | None
    answer: Answer
    conversations: tuple[str, ...] | None
    decided_at: datetime
    valid_until: datetime | None
    notice: NoticeShown
    recipient_key_id: str

    @property
    def signer_account_id(self) -> str:
        """Whose device must have signed: the guardian's, where one speaks for the account."""
        return self.guardian_id or self.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the campaign and its source know about one record at the time of its import.

    `account`, `guardian` and `device` (the one whose id is the token's `kid`) are None where there is none of that id.
    `notices` are those that were published, `recipient_key_ids` those that were not destroyed.
    """

    campaign: str
    account: Account | None
    guardian: Account | None
    device: Device | None
    issuers: Mapping[str, bytes]
    recipient_key_ids: frozenset[str]
    notices: frozenset[NoticeShown]
    now: datetime


def read_record(text: str) -> AuthorizationRecord:
    """Read the compact text of a record; `Refused` as `too_large` or `malformed`."""
    token = read_token(text, typ=TYP, max_chars=LIMITS.authorization_chars)
    try:
        return _record(token)
    except ValueError as error:
        raise Refused(RefusalReason.MALFORMED, str(error)) from None


def claimed_record_id(text: str) -> str | None:
    """What a refused text calls itself, so that a person can find it again; None where that can't be told."""
    parts = text.split(".", 2) if len(text) <= LIMITS.authorization_chars else []
    if len(parts) != 3:
        return None
    try:
        members = strict_json(b64url_decode(parts[1]), max_depth=LIMITS.json_depth)
        return _record_id(members.get("record_id")) if isinstance(members, dict) else None
    except ValueError:
        return None


def check_record(record: AuthorizationRecord, known: Surroundings) -> None:
    """Check a record against the campaign; `Refused` with the first reason that holds."""
    if known.account is None:
        raise Refused(RefusalReason.UNKNOWN_ACCOUNT)
    check_signer(
        record.token,
        account_id=record.signer_account_id,
        device=known.device,
        issuers=known.issuers,
        made_at=record.decided_at,
        now=known.now,
    )
    if record.campaign != known.campaign:
        raise Refused(RefusalReason.WRONG_CAMPAIGN)
    if record.recipient_key_id not in known.recipient_key_ids:
        raise Refused(RefusalReason.WRONG_RECIPIENT_KEY)
    ended = record.valid_until is not None and record.valid_until <= known.now
    if record.answer is Answer.GRANT and ended:
        raise Refused(RefusalReason.EXPIRED)
    if record.decided_at - known.now > LIMITS.clock_skew:
        raise Refused(RefusalReason.FUTURE)
    if record.notice not in known.notices:
        raise Refused(RefusalReason.UNKNOWN_NOTICE)
    if record.guardian_id is not None and not _is_guardian(record.guardian_id, known.guardian, known.account):
        raise Refused(RefusalReason.NOT_GUARDIAN)


def _is_guardian(guardian_id: str, guardian: Account | None, account: Account) -> bool:
    return (
        account.minor
        and account.guardian_account_id == guardian_id
        and guardian_id != account.account_id
        and guardian is not None
        and guardian.account_id == guardian_id
        and not guardian.minor
        and guardian.status is AccountStatus.ACTIVE
    )


# --- form: every function below raises ValueError, naming a member, never its value ---


def _record(token: SignedToken) -> AuthorizationRecord:
    members = _members(strict_json(token.payload, max_depth=LIMITS.json_depth), "the payload", _REQUIRED, _OPTIONAL)
    if members["schema"] != SCHEMA:
        raise ValueError(f"schema is not {SCHEMA}")
    guardian_id = _guardian_id(members["actor"], token.issuer)
    _check_purposes(members["purposes"])
    _check_nonce(members["nonce"])
    answer = _answer(members["decision"])
    return AuthorizationRecord(
        token=token,
        record_id=_record_id(members["record_id"]),
        campaign=_identifier(members["campaign"], "campaign"),
        account_id=_identifier(members["account_id"], "account_id"),
        device_id=_device_id(members.get("device_id"), token),
        guardian_id=guardian_id,
        issuer=token.issuer,
        answer=answer,
        conversations=_conversations(members["scope"]),
        decided_at=_time(members["decided_at"], "decided_at"),
        valid_until=_valid_until(members.get("valid_until"), answer),
        notice=_notice(members["notice"]),
        recipient_key_id=_identifier(members["recipient_key_id"], "recipient_key_id"),
    )


def _members(
    value: object, name: str, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, object]:
    if not isinstance(value, dict) or required - value.keys():
        raise ValueError(f"{name} is not an object, or lacks a member")
    if value.keys() - required - optional:
        raise ValueError(f"{name} has an unknown member")
    return value


def _identifier(value: object, name: str) -> str:
    if not is_identifier(value):
        raise ValueError(f"{name} is not an identifier")
    return value


def _record_id(value: object) -> str:
    if not isinstance(value, str) or not _UUID.match(value):
        raise ValueError("record_id is not a UUID")
    return value.lower()


def _time(value: object, name: str) -> datetime:
    return parse_utc(_identifier(value, name))


def _valid_until(value: object, answer: Answer) -> datetime | None:
    if value is None and answer is not Answer.GRANT:
        return None
    return _time(value, "valid_until")


def _answer(value: object) -> Answer:
    try:
        return Answer(_identifier(value, "decision"))
    except ValueError:
        raise ValueError("decision is not grant, refuse or withdraw") from None


def _guardian_id(value: object, issuer: str | None) -> str | None:
    """Who speaks: None for the account itself. An issuer must be named as the one who attests it."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in ("self", "guardian"):
        raise ValueError("actor.kind is not self or guardian")
    required = {"kind", "account_id"} if kind == "guardian" else {"kind"}
    actor = _members(value, "actor", frozenset(required | ({"attested_by"} if issuer is not None else set())))
    if issuer is not None and actor["attested_by"] != issuer:
        raise ValueError("actor.attested_by is not the issuer that kid names")
    return _identifier(actor["account_id"], "actor.account_id") if kind == "guardian" else None


def _device_id(value: object, token: SignedToken) -> str | None:
    if token.issuer is not None:
        return None if value is None else _identifier(value, "device_id")
    if value != token.kid:
        raise ValueError("device_id is not the device that kid names")
    return token.kid


def _conversations(value: object) -> tuple[str, ...] | None:
    listed = _members(value, "scope", frozenset({"conversations"}))["conversations"]
    if listed == "all":
        return None
    if not isinstance(listed, list) or not listed:
        raise ValueError("scope.conversations is not all or a list of ids")
    if not all(map(is_identifier, listed)) or len(set(listed)) != len(listed):
        raise ValueError("scope.conversations has a member that is no identifier, or stands there twice")
    return tuple(listed)


def _check_purposes(value: object) -> None:
    if not isinstance(value, list) or not all(map(is_identifier, value)) or HISTORY_STORAGE not in value:
        raise ValueError(f"purposes is not a list of text with {HISTORY_STORAGE}")


def _check_nonce(value: object) -> None:
    if not isinstance(value, str) or len(b64url_decode(value)) < _NONCE_BYTES:
        raise ValueError(f"nonce has not {_NONCE_BYTES} bytes")


def _notice(value: object) -> NoticeShown:
    members = _members(value, "notice", _NOTICE_MEMBERS)
    sha256 = members["sha256"]
    if not isinstance(sha256, str) or not _SHA256.match(sha256):
        raise ValueError("notice.sha256 is not a digest in hex")
    return NoticeShown(
        notice_id=_identifier(members["notice_id"], "notice.notice_id"),
        version=_identifier(members["version"], "notice.version"),
        locale=_identifier(members["locale"], "notice.locale"),
        sha256=sha256.lower(),
    )
