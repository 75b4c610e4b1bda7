"""Whether a conversation may be opened: one pure function from facts to a decision.

`decide` goes by way of a `Pattern`, which holds all that a decision depends on, so that whoever decides for millions of
conversations needs to judge each pattern only once.

The rules, in the order of `SkipReason` (command-line contract, "Outcomes of a conversation"):

1. The first reason that holds for any account in the quorum, or for the owner, decides.
2. A locked, deceased or unresolvable account can't fulfil a quorum; an orphan conversation is unauthorised.
3. Of an account's records that cover the thread the newest counts, on a tie the more restrictive; only then is
   expiry looked at, so an expired grant never falls back to an older one. No record is no authorisation.
4. For a minor, the record of the named guardian, an active adult, is necessary; the minor's own grant counts for
   nothing, the minor's own refusal or withdrawal does, and of it and the guardian's the newer wins.
5. Notice is the account's first notice, for a minor the later of the minor's and the guardian's.
6. Something of the owner's (in a shared room: of anybody's in the quorum) must cover one of its messages.
7. `any_participant`: one member for whom nothing of this stands against it, and who exported, is enough. Otherwise the
   reason of the member who came furthest after granting decides; where nobody granted, the first reason in the order.
8. Only exports of accounts for whom nothing of this stands against it may be used, whoever else opened the room.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from migrator.core.model import Account, AccountStatus, Quorum
from migrator.core.outcomes import SKIP_ORDER, SkipReason


class Answer(StrEnum):
    """What an authorisation record says."""

    GRANT = "grant"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


class Untold(StrEnum):
    """Why an account does not count as told."""

    NOT_SENT = "not_sent"
    """Nothing was sent to it yet."""
    QUEUED = "queued"
    """On its way, or put off by the channel."""
    UNREACHABLE = "unreachable"
    """No address that works."""
    BLOCKED = "blocked"
    """No template in its language."""
    REFUSED = "refused"
    """The channel did not take it."""
    BOUNCED = "bounced"
    EVIDENCE = "evidence"
    """Sent, but below the level that `notify.required_evidence` asks for."""


RESTRICTIVENESS = {Answer.GRANT: 0, Answer.WITHDRAW: 1, Answer.REFUSE: 2}
"""Of two answers given at the same moment the higher counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An authorisation that covers the thread in question. `guardian_id` names the guardian who signed, if one did."""

    answer: Answer
    decided_at: datetime
    valid_until: datetime | None = None
    guardian_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """One account of the quorum: its state, the records that cover the thread, its first notice.

    `untold`: why there is no such notice, for those who count; the decision is the same for each reason.
    """

    account: Account
    records: tuple[Record, ...] = ()
    noticed_at: datetime | None = None
    guardian: Account | None = None
    guardian_noticed_at: datetime | None = None
    untold: Untold | None = None
    guardian_untold: Untold | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFacts:
    """All that the policy looks at. `exporters`: accounts whose exports cover at least one of the messages."""

    owner_id: str | None
    accounts: tuple[AccountFacts, ...]
    messages: int
    exporters: frozenset[str] = frozenset()
    orphan: bool = False
    in_cohort: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the campaign asks for."""

    quorum: Quorum
    notice_period: timedelta


class Action(StrEnum):
    """What to do with a conversation."""

    REWRAP = "rewrap"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Decision:
    """The action, and for a skip its reason."""

    action: Action
    reason: SkipReason | None = None


REWRAP = Decision(Action.REWRAP)
_SKIP = {reason: Decision(Action.SKIP, reason) for reason in SkipReason}


class Member(NamedTuple):
    """What one account of the quorum amounts to: why it does not fulfil its part (None: it does), and its exports."""

    reason: SkipReason | None
    is_owner: bool
    exported: bool


class Pattern(NamedTuple):
    """What a conversation's facts amount to. Most conversations of a store share a handful of patterns."""

    in_cohort: bool
    empty: bool
    orphan: bool
    owned: bool
    members: frozenset[Member]


def decide(facts: ConversationFacts, policy: Policy, now: datetime) -> Decision:
    """Decide for one conversation; total, deterministic, without side effects."""
    return judge(pattern_of(facts, policy, now), policy.quorum)


def pattern_of(facts: ConversationFacts, policy: Policy, now: datetime) -> Pattern:
    """The pattern of some facts: all that the decision depends on."""
    return Pattern(
        in_cohort=facts.in_cohort,
        empty=facts.messages == 0,
        orphan=facts.orphan,
        owned=facts.owner_id is not None,
        members=frozenset(
            Member(
                reason=account_reason(member, policy, now),
                is_owner=member.account.account_id == facts.owner_id,
                exported=member.account.account_id in facts.exporters,
            )
            for member in facts.accounts
        ),
    )


def judge(pattern: Pattern, quorum: Quorum) -> Decision:
    """The decision for every conversation of a pattern."""
    if not pattern.in_cohort:
        return _SKIP[SkipReason.OUT_OF_COHORT]
    if pattern.empty:
        return _SKIP[SkipReason.EMPTY]
    if pattern.orphan or not pattern.members:
        return _SKIP[SkipReason.UNAUTHORIZED]
    reason = _any_participant(pattern) if quorum is Quorum.ANY_PARTICIPANT else _all_named(pattern, quorum)
    return REWRAP if reason is None else _SKIP[reason]


def _all_named(pattern: Pattern, quorum: Quorum) -> SkipReason | None:
    named = pattern.members
    owners = {member for member in named if member.is_owner}
    if not owners and (quorum is Quorum.OWNER or pattern.owned):
        return SkipReason.UNAUTHORIZED
    if quorum is Quorum.OWNER:
        named = frozenset(owners)
    reasons = [member.reason for member in named if member.reason is not None]
    if reasons:
        return min(reasons, key=SKIP_ORDER.__getitem__)
    covered = any(member.exported for member in (owners if pattern.owned else named))
    return None if covered else SkipReason.NO_EXPORT


def _any_participant(pattern: Pattern) -> SkipReason | None:
    reached: list[SkipReason] = []
    for member in pattern.members:
        if member.reason is None and member.exported:
            return None
        reached.append(member.reason or SkipReason.NO_EXPORT)
    granted = [r for r in reached if SKIP_ORDER[r] > SKIP_ORDER[SkipReason.UNAUTHORIZED]]
    if granted:
        return max(granted, key=SKIP_ORDER.__getitem__)
    return min(reached, key=SKIP_ORDER.__getitem__)


def account_reason(facts: AccountFacts, policy: Policy, now: datetime) -> SkipReason | None:
    """The first reason why this account does not fulfil its part of the quorum; None if it does."""
    account = facts.account
    if account.status is AccountStatus.LOCKED:
        return SkipReason.ACCOUNT_LOCKED
    if account.status is AccountStatus.DECEASED:
        return SkipReason.ACCOUNT_DECEASED
    if account.status is AccountStatus.UNRESOLVABLE:
        return SkipReason.UNAUTHORIZED
    if account.minor:
        effective = _minors_record(facts)
        if effective is None:
            return SkipReason.GUARDIAN_REQUIRED
    else:
        effective = _newest(tuple(r for r in facts.records if r.guardian_id is None))
    return _record_reason(effective, now) or _notice_reason(facts, policy, now)


def _record_reason(record: Record | None, now: datetime) -> SkipReason | None:
    if record is None:
        return SkipReason.UNAUTHORIZED
    if record.answer is Answer.REFUSE:
        return SkipReason.REFUSED
    if record.answer is Answer.WITHDRAW:
        return SkipReason.WITHDRAWN
    if record.valid_until is not None and now >= record.valid_until:
        return SkipReason.AUTHORIZATION_EXPIRED
    return None


def _notice_reason(facts: AccountFacts, policy: Policy, now: datetime) -> SkipReason | None:
    noticed = facts.noticed_at
    if facts.account.minor:
        if noticed is None or facts.guardian_noticed_at is None:
            return SkipReason.NOT_NOTIFIED
        noticed = max(noticed, facts.guardian_noticed_at)
    if noticed is None:
        return SkipReason.NOT_NOTIFIED
    return SkipReason.NOTICE_PERIOD if now < noticed + policy.notice_period else None


NOTICE_REASONS = frozenset({SkipReason.NOT_NOTIFIED, SkipReason.NOTICE_PERIOD})
"""Reasons that have a cause."""


def notice_cause(facts: AccountFacts, policy: Policy, now: datetime) -> tuple[SkipReason, str] | None:
    """What is behind `not_notified` or `notice_period` of an account; None where its notice stands in nobody's way.

    `not_notified`: an `Untold`, after `guardian_` where it is a minor's guardian who was not told. `notice_period`:
    `own_notice` or `guardian_notice`, the one that is too young.
    """
    reason = _notice_reason(facts, policy, now)
    if reason is None:
        return None
    own, theirs = facts.noticed_at, facts.guardian_noticed_at
    if reason is SkipReason.NOTICE_PERIOD:
        late = facts.account.minor and own is not None and theirs is not None and theirs > own
        return reason, "guardian_notice" if late else "own_notice"
    if own is None:
        return reason, (facts.untold or Untold.NOT_SENT).value
    return reason, f"guardian_{(facts.guardian_untold or Untold.NOT_SENT).value}"


def _minors_record(facts: AccountFacts) -> Record | None:
    """The record that speaks for a minor; None where no guardian does."""
    guardian = facts.guardian
    if guardian is None or guardian.account_id != facts.account.guardian_account_id:
        return None
    if guardian.account_id == facts.account.account_id or guardian.minor or guardian.status is not AccountStatus.ACTIVE:
        return None
    guardians = _newest(tuple(r for r in facts.records if r.guardian_id == guardian.account_id))
    if guardians is None:
        return None
    objections = tuple(r for r in facts.records if r.guardian_id is None and r.answer is not Answer.GRANT)
    return _newest((guardians, *objections))


def _newest(records: tuple[Record, ...]) -> Record | None:
    if not records:
        return None
    if len(records) == 1:
        return records[0]
    return max(records, key=lambda r: (r.decided_at, RESTRICTIVENESS[r.answer], _earlier_end(r)))


def _earlier_end(record: Record) -> float:
    """Of two grants decided at the same moment, the one that ends sooner is the more restrictive."""
    return -record.valid_until.timestamp() if record.valid_until is not None else float("-inf")
