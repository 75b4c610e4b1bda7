"""Decides again, as of now, what the plan decided: the second of the two checks that G1 asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome
from migrator.core.plan import EXTEND
from migrator.core.policy import decide
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.execution.recorder import Ending
from migrator.execution.work import Work
from migrator.facts import FactsReader, Gathered
from migrator.planning.making import policy_of


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """An item of the plan that has no outcome yet in this run, and what the database has of its conversation."""

    conversation_no: int
    conversation_id: str
    decision: str
    messages: int
    visible: bool


def decide_items(
    campaign: Campaign, connection: sa.Connection, facts: FactsReader, items: Sequence[PlannedItem]
) -> tuple[list[Work], list[Ending]]:
    """What may be opened now, and what ends without being opened."""
    found = campaign.store.conversations([item.conversation_id for item in items])
    present = [found[item.conversation_id] for item in items if item.conversation_id in found]
    gathered = dict(zip([c.conversation_id for c in present], facts.gather(connection, present), strict=True))
    owners = salted_subjects(connection, items, found)
    refs = campaign.references.of(connection, owners)
    partial = _partial(connection, [item.conversation_no for item in items])
    works: list[Work] = []
    endings: list[Ending] = []
    for item in items:
        conversation = found.get(item.conversation_id)
        outcome = _outcome(campaign, conversation, gathered.get(item.conversation_id))
        if outcome is None and conversation is not None:
            works.append(_work(item, conversation, gathered[item.conversation_id], refs, partial))
        else:
            messages = conversation.messages if conversation is not None else item.messages
            endings.append(
                Ending(
                    conversation_no=item.conversation_no,
                    outcome=outcome or Outcome.FAILED_SOURCE.value,
                    messages=messages,
                    gaps=0,
                    ref=refs.get(item.conversation_id, ""),
                    partial=not item.visible and item.conversation_no in partial,
                )
            )
    return works, endings


def _outcome(campaign: Campaign, conversation: Conversation | None, gathered: Gathered | None) -> str | None:
    """Why a conversation is not opened now; None if it may be."""
    if conversation is None or gathered is None or conversation.fault:
        return Outcome.FAILED_SOURCE.value
    decision = decide(gathered.facts, policy_of(campaign), campaign.clock.now())
    if decision.reason is not None:
        return decision.reason.outcome
    if campaign.key_services.for_region(gathered.region) is None:
        return Outcome.HELD_NO_KEY_SERVICE.value
    return None


def _work(
    item: PlannedItem, conversation: Conversation, gathered: Gathered, refs: Mapping[str, str], partial: set[int]
) -> Work:
    if conversation.owner_id is not None:
        exporters: tuple[str, ...] = (conversation.owner_id,)
    else:
        exporters = tuple(sorted(gathered.facts.exporters))
    return Work(
        conversation_no=item.conversation_no,
        conversation=conversation,
        ref=refs[item.conversation_id],
        region=gathered.region,
        exporters=exporters,
        newest_export_no=gathered.newest_export_no,
        visible=item.visible or item.decision == EXTEND,
        partial=item.conversation_no in partial,
    )


def salted_subjects(
    connection: sa.Connection, items: Sequence[PlannedItem], found: Mapping[str, Conversation]
) -> dict[str, str]:
    """Under whose reference key each conversation is named: its owner's, or its own where none is known."""
    subjects = {}
    for item in items:
        conversation = found.get(item.conversation_id)
        subjects[item.conversation_id] = (conversation.owner_id if conversation else None) or item.conversation_id
    salted: set[str] = set()
    table = tables.reference_salt
    for chunk in chunks(sorted(set(subjects.values()))):
        salted.update(connection.scalars(sa.select(table.c.subject_id).where(table.c.subject_id.in_(chunk))))
    # A conversation that vanished since the plan has no owner to name it under, and no salt of its own.
    return {identifier: subject for identifier, subject in subjects.items() if subject in salted}


def _partial(connection: sa.Connection, numbers: Sequence[int]) -> set[int]:
    table = tables.progress
    found: set[int] = set()
    for chunk in chunks(numbers):
        found.update(connection.scalars(sa.select(table.c.conversation_no).where(table.c.conversation_no.in_(chunk))))
    return found
