"""Who is in a cohort: asked for a page of conversations at a time, when planning and again when executing."""

from collections.abc import Collection, Sequence
from typing import Final

from migrator.campaign import Campaign
from migrator.core.cohorts import CohortKind, Rule
from migrator.core.model import Conversation

_PURPOSE: Final = "cohort"
_KEPT_ACCOUNTS: Final = 100_000


def place_of(campaign: Campaign, conversation: Conversation) -> float:
    """A thread's place in the order of cohorts and limits, from 0 up to 1: the same for all of its copies."""
    return campaign.references.fraction(conversation.thread_key, _PURPOSE)


class Membership:
    """Says which conversations a cohort has.

    `members`: the accounts of a file; None where a plan has chosen by it, and only what it chose is asked about.
    """

    def __init__(self, campaign: Campaign, rule: Rule, members: Collection[str] | None = None) -> None:
        self._campaign = campaign
        self._rule = rule
        self._members = members
        self._inside: dict[str, bool] = {}

    def outside(self, conversations: Sequence[Conversation]) -> set[str]:
        """Ids of those that the cohort does not have; of whom nobody is known, only a share can have them."""
        if self._rule.kind is CohortKind.SHARE:
            inside = self._by_place(conversations)
        elif self._rule.kind is not CohortKind.FILE:
            inside = self._by_account(conversations)
        elif self._members is not None:
            inside = {c.conversation_id for c in conversations if _all_in(c, self._members)}
        else:
            return set()
        return {c.conversation_id for c in conversations} - inside

    def forget(self) -> None:
        """Drop what was kept: accounts may have changed."""
        self._inside.clear()

    def _by_place(self, conversations: Sequence[Conversation]) -> set[str]:
        has_place = self._rule.has_place
        return {c.conversation_id for c in conversations if has_place(place_of(self._campaign, c))}

    def _by_account(self, conversations: Sequence[Conversation]) -> set[str]:
        wanted = {account for c in conversations for account in _people(c)}
        if len(self._inside) + len(wanted) > _KEPT_ACCOUNTS:
            self._inside.clear()
        missing = sorted(wanted - self._inside.keys())
        found = self._campaign.store.accounts(missing) if missing else {}
        for account_id in missing:
            account = found.get(account_id)
            self._inside[account_id] = account is not None and self._rule.has_account(account)
        inside = {account for account in wanted if self._inside[account]}
        return {c.conversation_id for c in conversations if _all_in(c, inside)}


def _people(conversation: Conversation) -> tuple[str, ...]:
    owner = () if conversation.owner_id is None else (conversation.owner_id,)
    return (*owner, *conversation.participants)


def _all_in(conversation: Conversation, members: Collection[str]) -> bool:
    people = _people(conversation)
    return bool(people) and all(person in members for person in people)
