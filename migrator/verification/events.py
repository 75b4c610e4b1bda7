"""What the audit log says of single conversations: one event for each time it was shown, one for its data key."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import EventType
from migrator.database import tables
from migrator.history import StoredKey
from migrator.lookups import rows_among
from migrator.verification.findings import Findings, MismatchKind
from migrator.verification.structure import SHOWN, Item

_KINDS = (EventType.CONVERSATION_REWRAPPED.value, EventType.KEY_CREATED.value, EventType.KEY_REWRAPPED.value)


@dataclass(slots=True)
class ConversationEvents:
    """Events of one conversation. `rewrapped`: run id → data of each event; `keys`: ids of keys that were created.

    `services`: key id → the services that the log has it with, oldest first.
    """

    rewrapped: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    keys: list[Any] = field(default_factory=list)
    services: dict[Any, list[Any]] = field(default_factory=dict)


def of_conversations(connection: sa.Connection, refs: Sequence[str]) -> dict[str, ConversationEvents]:
    """The events of some conversations by their keyed references."""
    table = tables.outbox
    found = {ref: ConversationEvents() for ref in refs}
    query = sa.select(table.c.subject, table.c.outbox_no, table.c.type, table.c.run_id, table.c.data).where(
        table.c.type.in_(_KINDS)
    )
    for ref, _, kind, run_id, text in sorted(rows_among(connection, query, table.c.subject, found)):
        data = _data(text)
        key_id = data.get("key_id")
        if kind == EventType.CONVERSATION_REWRAPPED.value:
            found[ref].rewrapped.setdefault(run_id, []).append(data)
        else:
            if kind == EventType.KEY_CREATED.value:
                found[ref].keys.append(key_id)
            found[ref].services.setdefault(key_id, []).append(data.get("key_service"))
    return found


def _data(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def check(run_id: str, item: Item, key: StoredKey, events: ConversationEvents, findings: Findings) -> None:
    """The events of a visible conversation say what its rows say."""
    findings.count("events", 2)
    if events.keys.count(key.key_id) != 1:
        detail = f"{events.keys.count(key.key_id)} events say that its data key was created"
        findings.add(MismatchKind.AUDIT_EVENTS, item.conversation_no, detail)
    services = events.services.get(key.key_id, [])
    if services[-1:] != [key.key_service]:
        detail = "its data key is with another key service than the events say"
        findings.add(MismatchKind.AUDIT_EVENTS, item.conversation_no, detail)
    if item.outcome in SHOWN:
        expected = {"outcome": item.outcome, "messages": item.messages, "gaps": item.gaps}
        _check_one(events, run_id, item, expected, findings)
    if item.shown_by is not None:
        messages, gaps = item.message_count + item.taken_back, item.gap_count - item.taken_back
        shown = {"messages": messages, "gaps": gaps, "key_id": key.key_id}
        _check_one(events, item.shown_by, item, shown | _attached(events, item), findings)
        # The key may have been moved since, also between its making and the flip of a long conversation.
        said = events.rewrapped.get(item.shown_by, [{}])[-1].get("key_service")
        if said not in services:
            findings.add(MismatchKind.AUDIT_EVENTS, item.conversation_no, "it was shown with a key of another service")


def _attached(events: ConversationEvents, item: Item) -> dict[str, object]:
    """What the event that it was shown says of attachments, by its rows.

    Those of messages that were taken back since went with them, and how many they were stands nowhere: then the event
    may say more, and never less. Whether a message that is left lacks one is looked at message by message.
    """
    if item.taken_back:
        said = events.rewrapped.get(item.shown_by or "", [{}])[-1]
        counts = {"attachments": item.attachments, "attachment_gaps": item.attachment_gaps}
        found = {name: said.get(name) or 0 for name in counts}
        return {name: n for name, n in counts.items() if not (isinstance(found[name], int) and found[name] >= n)}
    attached = item.attachments or item.attachment_gaps
    return {
        "attachments": item.attachments if attached else None,
        "attachment_gaps": item.attachment_gaps if attached else None,
    }


def _check_one(
    events: ConversationEvents, run_id: str, item: Item, expected: Mapping[str, object], findings: Findings
) -> None:
    found = events.rewrapped.get(run_id, [])
    if len(found) != 1:
        detail = f"{len(found)} events say that a run showed it, instead of one"
        findings.add(MismatchKind.AUDIT_EVENTS, item.conversation_no, detail)
        return
    wrong = sorted(name for name, value in expected.items() if found[0].get(name) != value)
    if wrong:
        detail = f"the event that it was shown has another {', '.join(wrong)}"
        findings.add(MismatchKind.AUDIT_EVENTS, item.conversation_no, detail)


def items_root(events: ConversationEvents, run_id: str | None) -> str | None:
    """The root that the audit log has of what the run showed; None where it says nothing, or two things."""
    found = events.rewrapped.get(run_id or "", [])
    root = found[0].get("items_root") if len(found) == 1 else None
    return root if isinstance(root, str) else None
