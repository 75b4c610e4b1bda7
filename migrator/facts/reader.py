"""Gathers what the policy looks at, for a page of conversations at a time.

What an instance read about accounts is kept up to a bound; `forget` drops it when authorisations have changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.policy import ConversationFacts
from migrator.facts.coverage import Coverage, read_coverage
from migrator.facts.membership import Membership
from migrator.facts.standings import Standing, Watermarks, named, read_standings

_CACHED_ACCOUNTS = 50_000


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts of one conversation, and what execution needs beside the decision."""

    facts: ConversationFacts
    regions: frozenset[str | None]
    """Which decide who wraps its data key: the owner's; of a shared room those of all members."""
    claimed_messages: int
    """Messages that history exports claim to hold."""
    newest_export_no: int
    """Number of the newest export that lists the conversation; 0: none."""


class FactsReader:
    """Reads facts for one campaign up to given watermarks; `membership`: of a cohort, None: everything is in it."""

    def __init__(self, campaign: Campaign, watermarks: Watermarks, membership: Membership | None = None) -> None:
        self._campaign = campaign
        self._watermarks = watermarks
        self._membership = membership
        self._quorum = campaign.settings.authorization.quorum
        self._standings: dict[str, Standing] = {}

    def forget(self) -> None:
        """Drop what was kept: authorisations or accounts have changed."""
        self._standings.clear()
        if self._membership is not None:
            self._membership.forget()

    def gather(self, connection: sa.Connection, conversations: Sequence[Conversation]) -> list[Gathered]:
        """Facts of each conversation, in the order given."""
        accounts = {c.conversation_id: named(c, self._quorum) for c in conversations}
        coverage = read_coverage(self._campaign, connection, conversations, accounts, self._watermarks)
        self._load(connection, {account for ids in accounts.values() for account in ids})
        outside = self._membership.outside(conversations) if self._membership is not None else set()
        return [
            self._facts(
                c, accounts[c.conversation_id], coverage.get(c.conversation_id), c.conversation_id not in outside
            )
            for c in conversations
        ]

    def _facts(
        self, conversation: Conversation, accounts: tuple[str, ...], coverage: Coverage | None, in_cohort: bool
    ) -> Gathered:
        claimed = coverage.claimed if coverage else 0
        facts = ConversationFacts(
            owner_id=conversation.owner_id,
            accounts=tuple(self._standings[account].for_thread(conversation) for account in accounts),
            messages=max(conversation.messages, claimed),
            exporters=frozenset(coverage.exporters) if coverage else frozenset(),
            orphan=conversation.orphan,
            in_cohort=in_cohort,
        )
        living_there = accounts if conversation.owner_id is None else (conversation.owner_id,)
        regions = frozenset(self._standings[a].region if a in self._standings else None for a in living_there)
        return Gathered(facts, regions, claimed, coverage.newest if coverage else 0)

    def _load(self, connection: sa.Connection, account_ids: Iterable[str]) -> None:
        """Make room before a page, so that its own accounts are never dropped in the middle of it."""
        wanted = set(account_ids)
        if len(self._standings) + len(wanted) > _CACHED_ACCOUNTS:
            self.forget()
        missing = wanted - self._standings.keys()
        self._standings.update(read_standings(self._campaign, connection, missing, self._watermarks))
