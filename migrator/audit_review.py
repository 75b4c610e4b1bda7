"""The audit log for those who may link it to people: entries of an account or a conversation, found by its reference.

Whoever looks somebody up leaves an entry of their own (`log.read`), named by the same reference.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from migrator.audit import outbox, query
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import IntegrityError, UsageError


def show(
    campaign: Campaign, filters: query.Filters, *, account: str | None = None, conversation: str | None = None
) -> Iterator[dict[str, Any]]:
    """Entries that pass the filters, oldest first; those about an account or a conversation where one is named.

    Raises `UsageError` for one that no entry can be linked to, and `AuditLogError`.
    """
    reference = look_up(campaign, account=account, conversation=conversation)
    if reference is not None:
        filters = replace(filters, subjects={reference})
    return query.show(campaign.audit, filters)


def look_up(campaign: Campaign, *, account: str | None = None, conversation: str | None = None) -> str | None:
    """The reference by which the log names an account or a conversation, and the entry that it was asked for.

    None where neither is named; `UsageError` for both, and for one that no entry can be linked to.
    """
    if account is not None and conversation is not None:
        raise UsageError("entries are looked up by account or by conversation, not by both", hint="leave one out")
    if account is not None:
        return _look_up(campaign, account, account, "account")
    if conversation is not None:
        return _look_up(campaign, conversation, _subject_of(campaign, conversation), "conversation")
    return None


def _subject_of(campaign: Campaign, conversation_id: str) -> str:
    """Under whose reference key a conversation is named: its owner's, or a shared room's own."""
    found = campaign.store.conversations([conversation_id]).get(conversation_id)
    if found is None:
        raise UsageError("the source has no such conversation", hint="its id is inbox id, '/', thread id in Labyrinth")
    return found.owner_id or conversation_id


def _look_up(campaign: Campaign, identifier: str, subject: str, kind: str) -> str:
    """The reference of an account or conversation; records that it was asked for."""
    with campaign.database.read() as connection:
        try:
            reference = campaign.references.of(connection, {identifier: subject})[identifier]
        except IntegrityError:
            raise UsageError(
                f"no entry of the audit log can be linked to this {kind}",
                hint="either nothing has happened to it yet, or its reference key was erased",
            ) from None
    if not campaign.database.read_only:
        event = Event(type=EventType.LOG_READ, subject=reference, data={"by": kind})
        with campaign.database.write("log-read") as connection:
            outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
        campaign.audit.flush()
    return reference
