"""Decides for pages of conversations: the policy's own judgement, passed once on each pattern of facts.

The hot path of planning. `tests/facts/test_judging.py` holds that it decides as `decide` does on the facts that
`FactsReader` gathers. What a standing amounts to is kept for the accounts of this and the last few pages.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.outcomes import SkipReason
from migrator.core.policy import (
    NOTICE_REASONS,
    Decision,
    Member,
    Pattern,
    Policy,
    account_reason,
    judge,
    notice_cause,
)
from migrator.core.source_through import withheld_by
from migrator.facts.coverage import read_coverage
from migrator.facts.membership import Membership
from migrator.facts.standings import Standing, Watermarks, named, read_standings

_KEPT_ACCOUNTS = 100_000
"""Accounts of one generation; two are kept. About 100 bytes each."""


Judged = tuple[Decision, int, frozenset[str | None], bool, int, int, str | None, int]
"""The decision for one conversation, and what planning needs beside it, in this order:

the messages (of the source, or that history exports claim to hold, whichever are more); the regions that decide who
wraps its data key (the owner's; of a shared room those of all members); whether anybody's export covers one of the
messages; the messages that history exports claim; the number of the newest export; what is behind a skip for want of
notice; which members' exports may not be used (`withheld_by`).
"""


_Kinds = tuple[Member, Member, Member, Member]
_NOWHERE: frozenset[str | None] = frozenset((None,))
_NO_COVERAGE: tuple[frozenset[str], int, int] = (frozenset(), 0, 0)


class _Mark(NamedTuple):
    """What an account amounts to, as a member without and with exports, and as an owner without and with.

    `standing` where records of the account cover single threads, so that it has to be looked at for each. `cause`: what
    is the matter with its notice, if anything.
    """

    members: _Kinds
    regions: frozenset[str | None]
    standing: Standing | None
    cause: tuple[SkipReason, str] | None


def _members(reason: SkipReason | None) -> _Kinds:
    return (
        Member(reason, is_owner=False, exported=False),
        Member(reason, is_owner=False, exported=True),
        Member(reason, is_owner=True, exported=False),
        Member(reason, is_owner=True, exported=True),
    )


_MEMBERS = {reason: _members(reason) for reason in (None, *SkipReason)}


class Judge:
    """Judges conversations as of one moment, up to given watermarks. For one pass over a population.

    `membership`: of the cohort that the plan is for; None: for everything.
    """

    def __init__(
        self,
        campaign: Campaign,
        watermarks: Watermarks,
        policy: Policy,
        as_of: datetime,
        membership: Membership | None = None,
    ) -> None:
        self._campaign = campaign
        self._watermarks = watermarks
        self._policy = policy
        self._as_of = as_of
        self._membership = membership
        self._marks: dict[str, _Mark] = {}
        self._older: dict[str, _Mark] = {}
        self._same: dict[tuple[SkipReason | None, str | None, tuple[SkipReason, str] | None], _Mark] = {}
        self._decisions: dict[tuple[bool, bool, bool, bool, frozenset[Member]], Decision] = {}

    def judge(self, connection: sa.Connection, conversations: Sequence[Conversation]) -> list[Judged]:
        """The decision for each conversation, in the order given."""
        quorum, decisions = self._policy.quorum, self._decisions
        accounts = {c.conversation_id: named(c, quorum) for c in conversations}
        coverage = read_coverage(self._campaign, connection, conversations, accounts, self._watermarks)
        marks = self._load(connection, set(chain.from_iterable(accounts.values())))
        outside = self._membership.outside(conversations) if self._membership is not None else ()
        judged: list[Judged] = []
        for conversation in conversations:
            identifier, owner, _, _, messages, _, orphan, _, _ = conversation
            covered = coverage.get(identifier)
            exporters, claimed, newest = (
                _NO_COVERAGE if covered is None else (covered.exporters, covered.claimed, covered.newest)
            )
            messages = claimed if claimed > messages else messages
            members, withheld = [], []
            for account in accounts[identifier]:
                kinds, _, standing, _ = marks[account]
                if standing is not None:
                    kinds = self._for_thread(standing, conversation)
                members.append(kinds[2 * (account == owner) + (account in exporters)])
                if owner is None and account in exporters and members[-1].reason is not None:
                    withheld.append(account)
            pattern = (identifier not in outside, messages == 0, orphan, owner is not None, frozenset(members))
            decision = decisions.get(pattern)
            if decision is None:
                decision = decisions[pattern] = judge(Pattern(*pattern), quorum)
            cause = None
            if decision.reason in NOTICE_REASONS:
                found = (marks[account].cause for account in accounts[identifier])
                cause = next((text for reason, text in filter(None, found) if reason is decision.reason), None)
            regions = _regions(owner, accounts[identifier], marks)
            judged.append((decision, messages, regions, bool(exporters), claimed, newest, cause, withheld_by(withheld)))
        return judged

    def _for_thread(self, standing: Standing, conversation: Conversation) -> _Kinds:
        return _MEMBERS[account_reason(standing.for_thread(conversation), self._policy, self._as_of)]

    def _load(self, connection: sa.Connection, account_ids: set[str]) -> dict[str, _Mark]:
        """The marks of a page's accounts are all there when it returns."""
        if len(self._marks) + len(account_ids) > _KEPT_ACCOUNTS:
            self._older, self._marks = self._marks, {}
            self._same.clear()
        marks, older = self._marks, self._older
        missing = account_ids - marks.keys()
        for account_id in missing & older.keys():
            marks[account_id] = older[account_id]
        missing -= older.keys()
        standings = read_standings(self._campaign, connection, missing, self._watermarks)
        for account_id, standing in standings.items():
            marks[account_id] = self._mark(standing)
        return marks

    def _mark(self, standing: Standing) -> _Mark:
        reason = account_reason(standing.facts, self._policy, self._as_of)
        regions, cause = frozenset((standing.region,)), notice_cause(standing.facts, self._policy, self._as_of)
        if standing.scoped:
            return _Mark(_MEMBERS[reason], regions, standing, cause)
        known = (reason, standing.region, cause)
        mark = self._same.get(known)
        if mark is None:
            mark = self._same[known] = _Mark(_MEMBERS[reason], regions, None, cause)
        return mark


def _regions(owner: str | None, accounts: Sequence[str], marks: Mapping[str, _Mark]) -> frozenset[str | None]:
    if owner is None:
        return frozenset().union(*[marks[account].regions for account in accounts])
    return marks[owner].regions if owner in marks else _NOWHERE
