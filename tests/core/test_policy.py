"""The policy: what it takes to open a conversation (G1), each reason and their order, by cases and by properties."""

import dataclasses
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from migrator.core.model import Account, AccountStatus, Quorum
from migrator.core.outcomes import SKIP_ORDER, SkipReason
from migrator.core.policy import (
    REWRAP,
    AccountFacts,
    Action,
    Answer,
    ConversationFacts,
    Decision,
    Policy,
    Record,
    account_reason,
    decide,
)

NOW = datetime(2026, 5, 8, tzinfo=UTC)
DAY = timedelta(days=1)
PERIOD = 56 * DAY
EVERY = Policy(quorum=Quorum.EVERY_PARTICIPANT, notice_period=PERIOD)
OWNER = Policy(quorum=Quorum.OWNER, notice_period=PERIOD)
ANY = Policy(quorum=Quorum.ANY_PARTICIPANT, notice_period=PERIOD)
PARENT = Account(account_id="parent", status=AccountStatus.ACTIVE)


def record(
    answer: Answer = Answer.GRANT, day: int = -10, until: int | None = 100, guardian_id: str | None = None
) -> Record:
    """A record decided `day` days after NOW, valid until `until` days after it."""
    end = None if until is None else NOW + until * DAY
    return Record(answer=answer, decided_at=NOW + day * DAY, valid_until=end, guardian_id=guardian_id)


def person(
    account_id: str,
    *records: Record,
    status: AccountStatus = AccountStatus.ACTIVE,
    noticed_at: datetime | None = NOW - 100 * DAY,
) -> AccountFacts:
    """An adult, noticed long ago, with these records."""
    return AccountFacts(account=Account(account_id=account_id, status=status), records=records, noticed_at=noticed_at)


def child(*records: Record, guardian: Account | None = PARENT, guardian_id: str | None = "parent") -> AccountFacts:
    """A minor whose guardian is `parent`, both noticed long ago."""
    return AccountFacts(
        account=Account(account_id="child", status=AccountStatus.ACTIVE, minor=True, guardian_account_id=guardian_id),
        records=records,
        noticed_at=NOW - 100 * DAY,
        guardian=guardian,
        guardian_noticed_at=NOW - 90 * DAY,
    )


def mailbox(
    *accounts: AccountFacts, messages: int = 5, exporters: frozenset[str] = frozenset({"alice"})
) -> ConversationFacts:
    """A conversation of alice's mailbox, which she exported."""
    return ConversationFacts(owner_id="alice", accounts=accounts, messages=messages, exporters=exporters)


def room(*accounts: AccountFacts, exporters: frozenset[str] = frozenset({"alice"})) -> ConversationFacts:
    """A shared room."""
    return ConversationFacts(owner_id=None, accounts=accounts, messages=5, exporters=exporters)


def reason(facts: ConversationFacts, policy: Policy = EVERY, now: datetime = NOW) -> SkipReason | None:
    """Why it is skipped; None if it is to be rewrapped."""
    decision = decide(facts, policy, now)
    assert (decision.action is Action.REWRAP) == (decision.reason is None)
    return decision.reason


ALICE = person("alice", record())
BOB = person("bob", record())
SILENT = person("bob")


# --- who has to grant ---


def test_everybody_granted() -> None:
    """Owner and participant granted, were told in time, and the owner exported."""
    assert decide(mailbox(ALICE, BOB), EVERY, NOW) == REWRAP == Decision(Action.REWRAP)


def test_silence_is_never_consent() -> None:
    """One participant who said nothing is enough to keep it sealed."""
    assert reason(mailbox(ALICE, SILENT)) is SkipReason.UNAUTHORIZED
    assert reason(mailbox(person("alice"), BOB)) is SkipReason.UNAUTHORIZED
    assert reason(mailbox(person("alice"), SILENT)) is SkipReason.UNAUTHORIZED


def test_owner_quorum_looks_at_the_owner_alone() -> None:
    """Another participant's silence, refusal or absence does not count; the owner's does."""
    assert reason(mailbox(ALICE, SILENT), OWNER) is None
    assert reason(mailbox(ALICE, person("bob", record(Answer.REFUSE))), OWNER) is None
    assert reason(mailbox(person("alice"), BOB), OWNER) is SkipReason.UNAUTHORIZED


@pytest.mark.parametrize("policy", [EVERY, OWNER])
def test_an_owner_who_is_not_among_the_accounts_has_not_granted(policy: Policy) -> None:
    """The owner is always named by the quorum, also where the facts leave it out."""
    assert reason(mailbox(BOB), policy) is SkipReason.UNAUTHORIZED


@pytest.mark.parametrize("policy", [EVERY, OWNER, ANY])
def test_nobody_and_orphans_are_unauthorized(policy: Policy) -> None:
    """No accounts, or participants that can't be resolved: sealed under any quorum, whoever granted."""
    assert reason(mailbox(), policy) is SkipReason.UNAUTHORIZED
    assert reason(dataclasses.replace(mailbox(ALICE, BOB), orphan=True), policy) is SkipReason.UNAUTHORIZED
    assert reason(dataclasses.replace(room(ALICE, BOB), orphan=True), policy) is SkipReason.UNAUTHORIZED


def test_a_room_has_no_owner() -> None:
    """`owner` for a shared room authorises nothing."""
    assert reason(room(ALICE, BOB), OWNER) is SkipReason.UNAUTHORIZED


def test_any_participant_who_granted_and_exported() -> None:
    """One is enough, whatever the others said; grant and export must be the same member's."""
    refusing = person("bob", record(Answer.REFUSE))
    assert reason(room(ALICE, refusing), ANY) is None
    assert reason(room(refusing, ALICE), ANY) is None
    assert reason(room(ALICE, refusing, exporters=frozenset({"bob"})), ANY) is SkipReason.NO_EXPORT
    assert reason(room(ALICE, exporters=frozenset()), ANY) is SkipReason.NO_EXPORT


def test_any_participant_tells_how_far_it_came() -> None:
    """Who granted and came furthest gives the reason; where nobody did, the first reason in the order."""
    late = person("carol", record(), noticed_at=NOW - DAY)
    untold = person("dave", record(), noticed_at=None)
    assert reason(room(untold, late, SILENT), ANY) is SkipReason.NOTICE_PERIOD
    assert reason(room(untold, SILENT), ANY) is SkipReason.NOT_NOTIFIED
    assert reason(room(SILENT, person("eve", record(Answer.WITHDRAW))), ANY) is SkipReason.WITHDRAWN


def test_every_participant_of_a_room() -> None:
    """Everybody must grant, anybody of them may have exported."""
    assert reason(room(ALICE, BOB, exporters=frozenset({"bob"}))) is None
    assert reason(room(ALICE, SILENT, exporters=frozenset({"alice"}))) is SkipReason.UNAUTHORIZED
    assert reason(room(ALICE, BOB, exporters=frozenset({"mallory"}))) is SkipReason.NO_EXPORT


# --- which record counts ---


def test_the_newest_record_counts() -> None:
    """In whatever order they came in."""
    for records in permutations([record(day=-3), record(Answer.REFUSE, day=-5), record(Answer.WITHDRAW, day=-7)]):
        assert reason(mailbox(person("alice", *records), BOB)) is None
    for records in permutations([record(day=-7), record(Answer.REFUSE, day=-5), record(Answer.WITHDRAW, day=-3)]):
        assert reason(mailbox(person("alice", *records), BOB)) is SkipReason.WITHDRAWN


def test_on_a_tie_the_more_restrictive_counts() -> None:
    """At one moment a refusal beats a withdrawal beats a grant, and a grant that ends sooner one that ends later."""
    grant, withdraw, refuse = (record(answer) for answer in (Answer.GRANT, Answer.WITHDRAW, Answer.REFUSE))
    for records in permutations([grant, withdraw, refuse]):
        assert reason(mailbox(person("alice", *records), BOB)) is SkipReason.REFUSED
    for records in permutations([grant, withdraw]):
        assert reason(mailbox(person("alice", *records), BOB)) is SkipReason.WITHDRAWN
    for records in permutations([record(until=-1), record(until=50), record(until=None)]):
        assert reason(mailbox(person("alice", *records), BOB)) is SkipReason.AUTHORIZATION_EXPIRED


def test_an_expired_grant_does_not_fall_back() -> None:
    """The newest counts, then expiry is looked at: an older grant without end does not come back to life."""
    assert reason(mailbox(person("alice", record(day=-20, until=None), record(day=-5, until=-1)), BOB)) is (
        SkipReason.AUTHORIZATION_EXPIRED
    )


def test_refusals_do_not_expire() -> None:
    """A refusal or withdrawal whose end has passed still stands."""
    assert reason(mailbox(person("alice", record(Answer.REFUSE, until=-1)), BOB)) is SkipReason.REFUSED
    assert reason(mailbox(person("alice", record(Answer.WITHDRAW, until=-1)), BOB)) is SkipReason.WITHDRAWN


def test_valid_while_before_the_end() -> None:
    """At `valid_until` itself it is over."""
    facts = mailbox(ALICE, BOB)
    end = NOW + 100 * DAY
    assert reason(facts, now=end - timedelta(microseconds=1)) is None
    assert reason(facts, now=end) is SkipReason.AUTHORIZATION_EXPIRED


def test_a_guardians_record_is_not_an_adults() -> None:
    """What a guardian signed for somebody who is an adult now authorises nothing, and hides nothing."""
    assert reason(mailbox(person("alice", record(guardian_id="parent")), BOB)) is SkipReason.UNAUTHORIZED
    newer = record(Answer.REFUSE, day=-1, guardian_id="parent")
    assert reason(mailbox(person("alice", record(), newer), BOB)) is None


# --- minors ---


def guardians(answer: Answer = Answer.GRANT, day: int = -10, until: int | None = 100) -> Record:
    return record(answer, day, until, guardian_id="parent")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((guardians(),), None),
        ((), SkipReason.GUARDIAN_REQUIRED),
        ((record(),), SkipReason.GUARDIAN_REQUIRED),
        ((record(Answer.REFUSE),), SkipReason.GUARDIAN_REQUIRED),
        ((guardians(), record(day=-1, until=-1)), None),
        ((guardians(), record(Answer.REFUSE, day=-1)), SkipReason.REFUSED),
        ((guardians(), record(Answer.WITHDRAW, day=-1)), SkipReason.WITHDRAWN),
        ((guardians(day=-1), record(Answer.REFUSE, day=-5)), None),
        ((guardians(), record(Answer.REFUSE)), SkipReason.REFUSED),
        ((guardians(), record(Answer.REFUSE, day=-5), record(day=-1)), SkipReason.REFUSED),
        ((guardians(), guardians(Answer.WITHDRAW, day=-1)), SkipReason.WITHDRAWN),
        ((guardians(), guardians(Answer.WITHDRAW, day=-5), record(day=-1)), SkipReason.WITHDRAWN),
        ((guardians(Answer.REFUSE),), SkipReason.REFUSED),
        ((guardians(until=-1),), SkipReason.AUTHORIZATION_EXPIRED),
        ((guardians(until=-1), record(day=-1)), SkipReason.AUTHORIZATION_EXPIRED),
        ((record(guardian_id="stranger"),), SkipReason.GUARDIAN_REQUIRED),
        ((guardians(), record(Answer.REFUSE, day=-1, guardian_id="stranger")), None),
    ],
)
def test_minors(records: tuple[Record, ...], expected: SkipReason | None) -> None:
    """The guardian's grant is needed and enough; the minor's own grant counts for nothing, its objection does."""
    for order in permutations(records):
        assert reason(mailbox(ALICE, child(*order))) is expected


@pytest.mark.parametrize(
    "guardian",
    [
        None,
        dataclasses.replace(PARENT, status=AccountStatus.LOCKED),
        dataclasses.replace(PARENT, status=AccountStatus.DECEASED),
        dataclasses.replace(PARENT, status=AccountStatus.UNRESOLVABLE),
        dataclasses.replace(PARENT, minor=True),
        dataclasses.replace(PARENT, account_id="stranger"),
    ],
)
def test_a_guardian_must_still_be_one(guardian: Account | None) -> None:
    """A guardian's grant counts only while the guardian is the named one, active and an adult."""
    assert reason(mailbox(ALICE, child(guardians(), guardian=guardian))) is SkipReason.GUARDIAN_REQUIRED
    assert reason(mailbox(ALICE, child(guardians(), guardian_id="other"))) is SkipReason.GUARDIAN_REQUIRED
    assert reason(mailbox(ALICE, child(guardians(), guardian_id=None))) is SkipReason.GUARDIAN_REQUIRED


def test_nobody_is_their_own_guardian() -> None:
    """A minor's row that names itself, in whatever guise, gives it no voice."""
    own = Account(account_id="child", status=AccountStatus.ACTIVE)
    facts = child(record(guardian_id="child"), guardian=own, guardian_id="child")
    assert reason(mailbox(ALICE, facts)) is SkipReason.GUARDIAN_REQUIRED


@pytest.mark.parametrize("guardians_is_late", [False, True])
def test_minor_and_guardian_are_both_to_be_told(*, guardians_is_late: bool) -> None:
    """The notice period runs from the later of the two; one of them untold is not told."""

    def told(late: datetime | None) -> ConversationFacts:
        first = NOW - 100 * DAY
        own, guardians_own = (first, late) if guardians_is_late else (late, first)
        minor = dataclasses.replace(child(guardians()), noticed_at=own, guardian_noticed_at=guardians_own)
        return mailbox(ALICE, minor)

    assert reason(told(None)) is SkipReason.NOT_NOTIFIED
    assert reason(told(NOW - PERIOD + timedelta(microseconds=1))) is SkipReason.NOTICE_PERIOD
    assert reason(told(NOW - PERIOD)) is None


# --- notice, status, export ---


def test_notice_period_runs_to_the_microsecond() -> None:
    """Full at the moment itself (G2); without any notice it never is."""
    moment = timedelta(microseconds=1)
    assert reason(mailbox(ALICE, person("bob", record(), noticed_at=NOW - PERIOD))) is None
    assert reason(mailbox(ALICE, person("bob", record(), noticed_at=NOW - PERIOD + moment))) is SkipReason.NOTICE_PERIOD
    assert reason(mailbox(ALICE, person("bob", record(), noticed_at=None))) is SkipReason.NOT_NOTIFIED
    no_period = Policy(quorum=Quorum.EVERY_PARTICIPANT, notice_period=timedelta(0))
    assert reason(mailbox(ALICE, person("bob", record(), noticed_at=None)), no_period) is SkipReason.NOT_NOTIFIED


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (AccountStatus.LOCKED, SkipReason.ACCOUNT_LOCKED),
        (AccountStatus.DECEASED, SkipReason.ACCOUNT_DECEASED),
        (AccountStatus.UNRESOLVABLE, SkipReason.UNAUTHORIZED),
    ],
)
def test_only_active_accounts_fulfil_a_quorum(status: AccountStatus, expected: SkipReason) -> None:
    """Locked, deceased and unresolvable accounts stay sealed whatever they granted before."""
    assert reason(mailbox(ALICE, person("bob", record(), status=status))) is expected
    assert reason(mailbox(person("alice", record(), status=status), BOB), OWNER) is expected


def test_the_owner_must_have_exported() -> None:
    """A participant's export does not open the owner's copy."""
    assert reason(mailbox(ALICE, BOB, exporters=frozenset({"bob"}))) is SkipReason.NO_EXPORT
    assert reason(mailbox(ALICE, BOB, exporters=frozenset()), OWNER) is SkipReason.NO_EXPORT


FAULTS: tuple[tuple[SkipReason, AccountFacts], ...] = (
    (SkipReason.ACCOUNT_LOCKED, person("a", record(), status=AccountStatus.LOCKED)),
    (SkipReason.ACCOUNT_DECEASED, person("b", record(), status=AccountStatus.DECEASED)),
    (SkipReason.GUARDIAN_REQUIRED, child()),
    (SkipReason.REFUSED, person("d", record(Answer.REFUSE))),
    (SkipReason.WITHDRAWN, person("e", record(Answer.WITHDRAW))),
    (SkipReason.AUTHORIZATION_EXPIRED, person("f", record(until=-1))),
    (SkipReason.UNAUTHORIZED, person("g")),
    (SkipReason.NOT_NOTIFIED, person("h", record(), noticed_at=None)),
    (SkipReason.NOTICE_PERIOD, person("i", record(), noticed_at=NOW - DAY)),
)


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_order_of_reasons_over_accounts(first: int) -> None:
    """Of all that stands against it, in whichever account, the outcome is the first in the order of the contract."""
    accounts = tuple(facts for _, facts in reversed(FAULTS[first:]))
    facts = mailbox(ALICE, *accounts, exporters=frozenset())
    assert reason(facts) is FAULTS[first][0]
    assert reason(dataclasses.replace(facts, messages=0)) is SkipReason.EMPTY
    assert reason(dataclasses.replace(facts, messages=0, in_cohort=False)) is SkipReason.OUT_OF_COHORT


def test_order_of_reasons_within_one_account() -> None:
    """A locked account that refused is locked; one that refused and was never told has refused."""
    assert account_reason(person("a", record(Answer.REFUSE), status=AccountStatus.LOCKED), EVERY, NOW) is (
        SkipReason.ACCOUNT_LOCKED
    )
    assert account_reason(person("a", record(Answer.REFUSE), noticed_at=None), EVERY, NOW) is SkipReason.REFUSED
    assert account_reason(person("a", noticed_at=None), EVERY, NOW) is SkipReason.UNAUTHORIZED
    locked_child = dataclasses.replace(
        child(), account=dataclasses.replace(child().account, status=AccountStatus.LOCKED)
    )
    assert account_reason(locked_child, EVERY, NOW) is SkipReason.ACCOUNT_LOCKED


def test_the_order_is_the_contracts() -> None:
    """The closed set of reasons, in the order in which they are looked for."""
    assert [r.value for r in sorted(SKIP_ORDER, key=SKIP_ORDER.__getitem__)] == [
        "out_of_cohort", "empty", "account_locked", "account_deceased", "guardian_required", "refused", "withdrawn",
        "authorization_expired", "unauthorized", "not_notified", "notice_period", "no_export",
    ]  # fmt: skip


# --- properties (G1): a second, slower statement of the rules to hold the first one to ---

_records = st.builds(
    record,
    st.sampled_from(Answer),
    st.integers(-4, 0),
    st.sampled_from([None, -1, 0, 1, 50]),
    st.sampled_from([None, None, "parent", "stranger"]),
)
_noticed = st.sampled_from([None, NOW - 100 * DAY, NOW - PERIOD, NOW - DAY])


@st.composite
def _people(draw: st.DrawFn, account_id: str) -> AccountFacts:
    guardian = Account(
        account_id=draw(st.sampled_from(["parent", "parent", account_id])),
        status=draw(st.sampled_from([AccountStatus.ACTIVE, *AccountStatus])),
        minor=draw(st.sampled_from([False, False, True])),
    )
    account = Account(
        account_id=account_id,
        status=draw(st.sampled_from([AccountStatus.ACTIVE] * 6 + list(AccountStatus))),
        minor=draw(st.booleans()),
        guardian_account_id=draw(st.sampled_from(["parent", "parent", "stranger", account_id, None])),
    )
    return AccountFacts(
        account=account,
        records=tuple(draw(st.lists(_records, max_size=4))),
        noticed_at=draw(_noticed),
        guardian=draw(st.sampled_from([guardian, guardian, None])),
        guardian_noticed_at=draw(_noticed),
    )


@st.composite
def _conversations(draw: st.DrawFn) -> ConversationFacts:
    ids = draw(st.lists(st.sampled_from(["alice", "bob", "carol"]), max_size=3, unique=True))
    return ConversationFacts(
        owner_id=draw(st.sampled_from(["alice", "alice", "bob", None])),
        accounts=tuple(draw(_people(account_id)) for account_id in ids),
        messages=draw(st.sampled_from([0, 1, 1, 7])),
        exporters=draw(st.frozensets(st.sampled_from(["alice", "bob", "carol"]))),
        orphan=draw(st.sampled_from([False] * 5 + [True])),
        in_cohort=draw(st.sampled_from([True] * 5 + [False])),
    )


_policies = st.builds(Policy, quorum=st.sampled_from(Quorum), notice_period=st.sampled_from([timedelta(0), PERIOD]))


def stands(grant: Record, against: list[Record]) -> bool:
    """Whether a grant is in force: not ended, and nothing as new or newer objects or ends sooner."""
    if grant.answer is not Answer.GRANT or (grant.valid_until is not None and grant.valid_until <= NOW):
        return False
    for other in against:
        if other.decided_at > grant.decided_at:
            return False
        if other.decided_at == grant.decided_at:
            if other.answer is not Answer.GRANT:
                return False
            if other.valid_until is not None and other.valid_until <= NOW:
                return False
    return True


def permits(facts: AccountFacts, policy: Policy) -> bool:
    """Whether an account fulfils its part, told apart from the policy's own code."""
    account, guardian = facts.account, facts.guardian
    own = [r for r in facts.records if r.guardian_id is None]
    told = [facts.noticed_at]
    if account.minor:
        if (
            guardian is None
            or guardian.minor
            or guardian.status != "active"
            or guardian.account_id == account.account_id
        ):
            return False
        if guardian.account_id != account.guardian_account_id:
            return False
        voice = [r for r in facts.records if r.guardian_id == guardian.account_id]
        against = voice + [r for r in own if r.answer is not Answer.GRANT]
        told.append(facts.guardian_noticed_at)
    else:
        voice = against = own
    granted = any(stands(r, [o for o in against if o is not r]) for r in voice)
    return (
        account.status == "active" and granted and all(t is not None and t + policy.notice_period <= NOW for t in told)
    )


def fulfilled(facts: ConversationFacts, policy: Policy) -> bool:
    """Whether the quorum is fulfilled and something was exported."""
    permitting = {a.account.account_id for a in facts.accounts if permits(a, policy)}
    everybody = {a.account.account_id for a in facts.accounts}
    if facts.orphan or not facts.in_cohort or not facts.messages or not everybody:
        return False
    if policy.quorum is Quorum.ANY_PARTICIPANT:
        return bool(permitting & facts.exporters)
    if policy.quorum is Quorum.OWNER:
        return facts.owner_id in permitting & facts.exporters
    if facts.owner_id is None:
        return permitting == everybody and bool(everybody & facts.exporters)
    return permitting == everybody and facts.owner_id in everybody & facts.exporters


@settings(max_examples=500)
@given(_conversations(), _policies)
@example(mailbox(ALICE, BOB), EVERY)
@example(mailbox(ALICE, child(guardians())), EVERY)
def test_opened_exactly_when_the_quorum_is_fulfilled(facts: ConversationFacts, policy: Policy) -> None:
    """Never without valid grants from every account that the quorum names (G1), always with them."""
    assert (decide(facts, policy, NOW).action is Action.REWRAP) == fulfilled(facts, policy)


@settings(max_examples=500)
@given(_people("alice"), _policies)
def test_one_account_is_judged_as_the_rules_say(facts: AccountFacts, policy: Policy) -> None:
    """An account has a reason against it exactly when it does not permit."""
    assert (account_reason(facts, policy, NOW) is None) == permits(facts, policy)


@given(_people("alice"), st.sampled_from([Answer.REFUSE, Answer.WITHDRAW]), st.integers(0, 3))
def test_an_objection_that_is_not_older_always_counts(facts: AccountFacts, answer: Answer, days: int) -> None:
    """Whoever objects last, or at the same moment as a grant, keeps it sealed: minors too, their guardians too."""
    for guardian_id in (None, "parent"):
        if guardian_id is not None and not facts.account.minor:
            continue
        if guardian_id is not None and facts.account.guardian_account_id != guardian_id:
            continue
        objection = record(answer, days, until=None, guardian_id=guardian_id)
        objected = dataclasses.replace(facts, records=(*facts.records, objection))
        assert account_reason(objected, EVERY, NOW + 4 * DAY) is not None


@given(_people("alice"))
def test_a_minors_own_grant_changes_nothing(facts: AccountFacts) -> None:
    """With or without it the decision is the same, down to the reason."""
    assume(facts.account.minor)
    without = tuple(r for r in facts.records if r.guardian_id is not None or r.answer is not Answer.GRANT)
    assert account_reason(facts, EVERY, NOW) is account_reason(dataclasses.replace(facts, records=without), EVERY, NOW)


@given(_conversations(), _policies)
def test_order_of_facts_does_not_matter(facts: ConversationFacts, policy: Policy) -> None:
    """Accounts and records may come in any order."""
    accounts = tuple(dataclasses.replace(a, records=tuple(reversed(a.records))) for a in reversed(facts.accounts))
    assert decide(dataclasses.replace(facts, accounts=accounts), policy, NOW) == decide(facts, policy, NOW)


@given(_conversations(), _people("dave"), st.sampled_from([EVERY, OWNER]))
def test_another_participant_never_opens_anything(
    facts: ConversationFacts, newcomer: AccountFacts, policy: Policy
) -> None:
    """Where everybody or the owner must grant, one more account can only add a reason against it."""
    assume(facts.accounts)
    joined = dataclasses.replace(facts, accounts=(*facts.accounts, newcomer))
    if decide(facts, policy, NOW).action is Action.SKIP and facts.owner_id is not None:
        assert decide(joined, policy, NOW).action is Action.SKIP


@given(_conversations(), st.sampled_from([EVERY, OWNER]))
def test_the_outcome_is_the_first_reason_of_any_account(facts: ConversationFacts, policy: Policy) -> None:
    """Where accounts stand against it, the reason is the first in the order among those that the quorum names."""
    assume(facts.in_cohort and facts.messages and not facts.orphan)
    named = [a for a in facts.accounts if policy.quorum is not Quorum.OWNER or a.account.account_id == facts.owner_id]
    assume(named and (facts.owner_id is None or any(a.account.account_id == facts.owner_id for a in named)))
    reasons = [r for r in (account_reason(a, policy, NOW) for a in named) if r is not None]
    assume(reasons)
    assert decide(facts, policy, NOW).reason is min(reasons, key=SKIP_ORDER.__getitem__)


@given(_conversations(), _policies)
def test_time_alone_only_closes_after_the_notice_period(facts: ConversationFacts, policy: Policy) -> None:
    """Once open, waiting can only let grants run out; it never makes an expired one valid."""
    assume(decide(facts, policy, NOW + PERIOD).action is Action.SKIP)
    later = decide(facts, policy, NOW + 2 * PERIOD)
    assert later.action is Action.SKIP
