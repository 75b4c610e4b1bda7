"""The closed sets of the contract: what may become of a conversation, of a message, of a handed-in file.

The order of `SkipReason` is the order in which reasons are looked for: the first one that holds is the outcome.
"""

from enum import StrEnum


class SkipReason(StrEnum):
    """Why a conversation is not opened, in the order in which the reasons are looked for."""

    OUT_OF_COHORT = "out_of_cohort"
    EMPTY = "empty"
    ACCOUNT_LOCKED = "account_locked"
    ACCOUNT_DECEASED = "account_deceased"
    GUARDIAN_REQUIRED = "guardian_required"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    AUTHORIZATION_EXPIRED = "authorization_expired"
    UNAUTHORIZED = "unauthorized"
    NOT_NOTIFIED = "not_notified"
    NOTICE_PERIOD = "notice_period"
    NO_EXPORT = "no_export"

    @property
    def outcome(self) -> str:
        """The conversation's outcome, `skipped:<reason>`."""
        return f"skipped:{self.value}"


SKIP_ORDER: dict[SkipReason, int] = {reason: rank for rank, reason in enumerate(SkipReason)}


class Outcome(StrEnum):
    """What became of a conversation, apart from the policy's skips, which are `SkipReason.outcome`."""

    REWRAPPED = "rewrapped"
    REWRAPPED_WITH_GAPS = "rewrapped_with_gaps"
    ALREADY_SERVER = "already_server"
    SKIPPED_DESTROYED = "skipped:destroyed"
    """Its server history was destroyed on purpose: whatever the policy says, it is not brought back."""
    HELD_TOO_MANY_GAPS = "held:too_many_gaps"
    HELD_SCOPE_TOO_BROAD = "held:scope_too_broad"
    HELD_NO_KEY_SERVICE = "held:no_key_service"
    FAILED_KEY_SERVICE = "failed:key_service"
    FAILED_SOURCE = "failed:source"
    FAILED_DATABASE = "failed:database"
    FAILED_INTEGRITY = "failed:integrity"

    @property
    def failed(self) -> bool:
        """Whether it counts against the error budget and makes the run end with exit status 30."""
        return self.value.startswith("failed:")

    @property
    def visible(self) -> bool:
        """Whether readers see the conversation's server history."""
        return self in (Outcome.REWRAPPED, Outcome.REWRAPPED_WITH_GAPS, Outcome.ALREADY_SERVER)


OUTCOMES: frozenset[str] = frozenset({o.value for o in Outcome} | {r.outcome for r in SkipReason})


class GapReason(StrEnum):
    """Why one message stays sealed."""

    NO_KEY = "no_key"
    CORRUPT = "corrupt"
    UNSUPPORTED_VERSION = "unsupported_version"
    KEY_GAP_BEFORE_INDEX = "key_gap_before_index"
    MALFORMED = "malformed"
    REDACTED = "redacted"
    REPLAY = "replay"
    UNVERIFIED_SENDER = "unverified_sender"


HOPELESS_GAPS: frozenset[GapReason] = frozenset({GapReason.UNSUPPORTED_VERSION, GapReason.REDACTED, GapReason.REPLAY})
"""Gaps that nobody can ever close: they don't count towards `max_gap_fraction`."""


CLOSED_TO_HISTORY: frozenset[GapReason] = frozenset({GapReason.REDACTED, GapReason.REPLAY})
"""Gaps that a client's own copy of the message does not fill: it was taken back, or never was one."""


class RefusalReason(StrEnum):
    """Why an authorisation or an export is not taken (formats, sections 3 and 4)."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_DEVICE = "unknown_device"
    REVOKED_DEVICE = "revoked_device"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_ISSUER = "unknown_issuer"
    WRONG_CAMPAIGN = "wrong_campaign"
    WRONG_RECIPIENT_KEY = "wrong_recipient_key"
    EXPIRED = "expired"
    FUTURE = "future"
    UNKNOWN_NOTICE = "unknown_notice"
    NOT_GUARDIAN = "not_guardian"
    DUPLICATE_RECORD = "duplicate_record"
    UNSAFE_MEMBER = "unsafe_member"
    UNEXPECTED_MEMBER = "unexpected_member"
    PART_MISSING = "part_missing"
    DIGEST_MISMATCH = "digest_mismatch"
    TRUNCATED = "truncated"
    DUPLICATE_EXPORT = "duplicate_export"
    FOREIGN_CONVERSATION = "foreign_conversation"
    SCOPE_TOO_BROAD = "scope_too_broad"
    UNUSABLE_PART = "unusable_part"


class Refused(Exception):  # noqa: N818 - a result that unwinds a parser, not an error of migrator's
    """A handed-in record or archive is refused; `detail` says more and holds no content."""

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        return Refused, (self.reason, self.detail)
