"""What exports cover of conversations, as their manifests say it: nothing is opened for it."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Conversation
from migrator.core.outcomes import RefusalReason
from migrator.database import tables
from migrator.facts.standings import Watermarks
from migrator.lookups import rows_among

_Claims = dict[str, list[tuple[str, str]]]
"""By conversation: accounts whose keys exports list it, with the coverage that their manifest names."""


@dataclass(slots=True)
class Coverage:
    """What is there of one conversation. `exporters`: whose exports cover at least one of its messages."""

    exporters: set[str]
    claimed: int = 0
    """Messages that history exports claim to hold."""
    newest: int = 0
    """Number of the newest export that lists the conversation."""


def read_coverage(
    campaign: Campaign,
    connection: sa.Connection,
    conversations: Sequence[Conversation],
    named: Mapping[str, Collection[str]],
    watermarks: Watermarks,
) -> dict[str, Coverage]:
    """What the exports' manifests cover of the messages that are there; `named`: whose exports count.

    An export that was refused for its breadth still counts here: its conversations end held, not skipped.
    """
    owners = {c.conversation_id: c.owner_id for c in conversations if not c.fault}
    listed = tables.export_conversation
    query = sa.select(listed.c.conversation_id, listed.c.export_no, listed.c.messages, listed.c.coverage)
    rows = rows_among(
        connection, query.where(listed.c.export_no <= watermarks.export_no), listed.c.conversation_id, owners
    )
    exports = _exports(connection, {row[1] for row in rows})
    coverage: dict[str, Coverage] = {}
    claims: _Claims = defaultdict(list)
    for conversation_id, export_no, messages, text in rows:
        account_id, kind = exports.get(export_no, (None, None))
        if account_id is None or (account_id != owners[conversation_id] and account_id not in named[conversation_id]):
            continue
        found = coverage.get(conversation_id)
        if found is None:
            found = coverage[conversation_id] = Coverage(set())
        found.newest = max(found.newest, export_no)
        if kind == "history":
            found.claimed = max(found.claimed, messages)
            if messages:
                found.exporters.add(account_id)
        else:
            claims[conversation_id].append((account_id, text))
    _match_slots(campaign, claims, coverage)
    return coverage


def _exports(connection: sa.Connection, numbers: Collection[int]) -> dict[int, tuple[str, str]]:
    """Account and kind of those exports that count."""
    table = tables.export
    query = sa.select(table.c.export_no, table.c.account_id, table.c.kind).where(
        sa.or_(table.c.refused.is_(None), table.c.refused == RefusalReason.SCOPE_TOO_BROAD.value),
        table.c.destroyed_at.is_(None),
    )
    return {row[0]: (row[1], row[2]) for row in rows_among(connection, query, table.c.export_no, numbers)}


def _match_slots(campaign: Campaign, claims: _Claims, coverage: Mapping[str, Coverage]) -> None:
    """Who has keys for what is there. Most exports cover a whole conversation: one of its slots tells that already."""
    covers = campaign.scheme.covers
    some = campaign.store.some_key_slot(list(claims)) if claims else {}
    open_questions: _Claims = {}
    for conversation_id, claimed in claims.items():
        slot = some.get(conversation_id)
        if slot is None:
            open_questions[conversation_id] = claimed
            continue
        for account_id, text in claimed:
            if covers(text, slot):
                coverage[conversation_id].exporters.add(account_id)
            else:
                open_questions.setdefault(conversation_id, []).append((account_id, text))
    needed = campaign.store.key_slots(list(open_questions)) if open_questions else {}
    for conversation_id, claimed in open_questions.items():
        slots = needed.get(conversation_id, set())
        for account_id, text in claimed:
            if any(slots & campaign.scheme.read_coverage(entry) for entry in json.loads(text)):
                coverage[conversation_id].exporters.add(account_id)
