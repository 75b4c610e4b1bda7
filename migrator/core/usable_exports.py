"""Whose exports may be used for a conversation that may be opened (`core/policy`, rule 8)."""

from datetime import datetime

from migrator.core.policy import ConversationFacts, Policy, account_reason


def usable_exporters(facts: ConversationFacts, policy: Policy, now: datetime) -> tuple[str, ...]:
    """The accounts whose exports may be used for a conversation that may be opened, in order: the owner's alone, or of
    a shared room those of members who fulfil their part."""
    if facts.owner_id is not None:
        return (facts.owner_id,)
    return tuple(
        sorted(
            member.account.account_id
            for member in facts.accounts
            if member.account.account_id in facts.exporters and account_reason(member, policy, now) is None
        )
    )
