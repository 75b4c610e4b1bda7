"""Decides again, as of now, what the plan decided: the second of the two checks that G1 asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome, SkipReason
from migrator.core.plan import is_work
from migrator.core.policy import decide
from migrator.core.source_through import withheld_by
from migrator.core.usable_exports import usable_exporters
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
    destroyed: bool = False


def decide_items(
    campaign: Campaign, connection: sa.Connection, facts: FactsReader, items: Sequence[PlannedItem]
) -> tuple[list[Work], list[Ending]]:
    """What may be opened now, or at least lose what the source has taken back, and what ends without being opened."""
    found = campaign.store.conversations([item.conversation_id for item in items])
    present = [found[item.conversation_id] for item in items if item.conversation_id in found]
    gathered = dict(zip([c.conversation_id for c in present], facts.gather(connection, present), strict=True))
    refs = refs_of(campaign, connection, items, found)
    partial = begun(connection, [item.conversation_no for item in items])
    attachments = campaign.settings.attachments.target is not None
    works: list[Work] = []
    endings: list[Ending] = []
    for item in items:
        conversation = found.get(item.conversation_id)
        outcome = _outcome(campaign, item, conversation, gathered.get(item.conversation_id))
        if outcome is None and item.conversation_id not in refs:
            outcome = Outcome.FAILED_SOURCE.value  # its owner is not the one of the plan
        if conversation is not None and (outcome is None or _only_takes_back(item, conversation, refs)):
            work = _work(campaign, item, conversation, gathered[item.conversation_id], refs, partial, outcome)
            works.append(replace(work, attachments=True) if attachments else work)
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


def planned_skips(
    campaign: Campaign, connection: sa.Connection, facts: FactsReader, items: Sequence[PlannedItem]
) -> list[Ending]:
    """How items end that the run does not open: with the reason as of now where there still is one.

    Whatever the policy would let open by now stays as it was planned: that is for the next plan to say. What the plan
    opens is here where the run retries what failed in another and is not for it: it is out of that run's cohort.
    """
    found = campaign.store.conversations([item.conversation_id for item in items])
    reasons = _present_reasons(campaign, connection, facts, items, found)
    refs = refs_of(campaign, connection, items, found)
    partial = begun(connection, [item.conversation_no for item in items])
    shown = _shown_counts(connection, items)
    endings = []
    for item in items:
        planned = SkipReason.OUT_OF_COHORT.outcome if is_work(item.decision) else item.decision
        outcome = Outcome.SKIPPED_DESTROYED.value if item.destroyed else reasons.get(item.conversation_id, planned)
        messages, gaps = shown.get(item.conversation_no, (item.messages, 0))
        endings.append(
            Ending(
                conversation_no=item.conversation_no,
                outcome=outcome,
                messages=messages,
                gaps=gaps,
                ref=refs.get(item.conversation_id, ""),
                partial=not item.visible and item.conversation_no in partial,
            )
        )
    return endings


def _present_reasons(
    campaign: Campaign,
    connection: sa.Connection,
    facts: FactsReader,
    items: Sequence[PlannedItem],
    found: Mapping[str, Conversation],
) -> dict[str, str]:
    """The outcome of each planned skip that the policy still skips. Whatever was out of the cohort stays out of it."""
    skipped = [
        item.conversation_id
        for item in items
        if item.decision.startswith("skipped:") and item.decision != SkipReason.OUT_OF_COHORT.outcome
    ]
    present = [found[identifier] for identifier in skipped if identifier in found]
    reasons = {}
    for conversation, gathered in zip(present, facts.gather(connection, present), strict=True):
        decision = decide(gathered.facts, policy_of(campaign), campaign.clock.now())
        if decision.reason is not None:
            reasons[conversation.conversation_id] = decision.reason.outcome
    return reasons


def _shown_counts(connection: sa.Connection, items: Sequence[PlannedItem]) -> dict[int, tuple[int, int]]:
    """Counts of conversations that stay as they are, already migrated."""
    numbers = [item.conversation_no for item in items if item.decision == Outcome.ALREADY_SERVER.value]
    table = tables.conversation
    shown: dict[int, tuple[int, int]] = {}
    for chunk in chunks(numbers):
        query = sa.select(table.c.conversation_no, table.c.message_count, table.c.gap_count).where(
            table.c.conversation_no.in_(chunk), table.c.mode == "server"
        )
        shown.update((number, (messages, gaps)) for number, messages, gaps in connection.execute(query))
    return shown


def _outcome(
    campaign: Campaign, item: PlannedItem, conversation: Conversation | None, gathered: Gathered | None
) -> str | None:
    """Why a conversation is not opened now; None if it may be."""
    if item.destroyed:
        return Outcome.SKIPPED_DESTROYED.value
    if conversation is None or gathered is None or conversation.fault:
        return Outcome.FAILED_SOURCE.value
    decision = decide(gathered.facts, policy_of(campaign), campaign.clock.now())
    if decision.reason is not None:
        return decision.reason.outcome
    if not campaign.key_services.has_for_regions(gathered.regions):
        return Outcome.HELD_NO_KEY_SERVICE.value
    return None


def _only_takes_back(item: PlannedItem, conversation: Conversation, refs: Mapping[str, str]) -> bool:
    """Whether a visible conversation that nobody may open may hold what the source has taken back since."""
    if not item.visible or item.destroyed or conversation.fault or item.conversation_id not in refs:
        return False
    return conversation.changes > 0


def _work(
    campaign: Campaign,
    item: PlannedItem,
    conversation: Conversation,
    gathered: Gathered,
    refs: Mapping[str, str],
    partial: set[int],
    closed: str | None,
) -> Work:
    usable = usable_exporters(gathered.facts, policy_of(campaign), campaign.clock.now()) if closed is None else ()
    return Work(
        conversation_no=item.conversation_no,
        conversation=conversation,
        ref=refs[item.conversation_id],
        regions=gathered.regions,
        exporters=usable,
        newest_export_no=gathered.newest_export_no,
        visible=item.visible,
        partial=item.conversation_no in partial,
        closed=closed,
        withheld=withheld_by(gathered.facts.exporters - set(usable)) if conversation.owner_id is None else 0,
    )


def refs_of(
    campaign: Campaign, connection: sa.Connection, items: Sequence[PlannedItem], found: Mapping[str, Conversation]
) -> dict[str, str]:
    """References for the audit log, each under the owner's key, or the conversation's own where no owner is known.

    Missing are those whose owner is not the one that the plan saw: the planner gave that one no salt.
    """
    subjects = {}
    for item in items:
        conversation = found.get(item.conversation_id)
        subjects[item.conversation_id] = (conversation.owner_id if conversation else None) or item.conversation_id
    salted: set[str] = set()
    table = tables.reference_salt
    for chunk in chunks(sorted(set(subjects.values()))):
        salted.update(connection.scalars(sa.select(table.c.subject_id).where(table.c.subject_id.in_(chunk))))
    named = {identifier: subject for identifier, subject in subjects.items() if subject in salted}
    return campaign.references.of(connection, named)


def begun(connection: sa.Connection, numbers: Sequence[int]) -> set[int]:
    """Which of these conversations an earlier transaction, of whatever run, left in the middle."""
    table = tables.progress
    found: set[int] = set()
    for chunk in chunks(numbers):
        found.update(connection.scalars(sa.select(table.c.conversation_no).where(table.c.conversation_no.in_(chunk))))
    return found
