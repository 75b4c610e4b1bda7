"""The final state of a campaign in a form that two runs can be compared by: all that does not depend on chance.

Data keys, IVs and so ciphertexts, roots, ids and times differ between any two runs. What is compared: every plaintext
in its place, gaps, outcomes, modes and counts, keys by conversation, and events by what they report.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.envelope import DataKey, associated_data, open_message
from migrator.database import tables
from migrator.keyservices.interface import KeyRefusal


def final_state(campaign: Campaign) -> dict[str, Any]:
    """Everything that must be the same after an undisturbed run and after one that was killed."""
    with campaign.database.read() as connection:
        names = dict(
            connection.execute(
                sa.select(tables.conversation.c.conversation_no, tables.conversation.c.conversation_id)
            ).all()
        )
        return {
            "messages": _messages(campaign, connection, names),
            "gaps": sorted(
                (names[g.conversation_no], g.sent_at, g.message_id, g.reason)
                for g in connection.execute(sa.select(tables.gap))
            ),
            "items": sorted(
                (names[i.conversation_no], i.outcome, i.messages, i.gaps)
                for i in connection.execute(sa.select(tables.item))
            ),
            "conversations": sorted(
                (c.conversation_id, c.mode, c.message_count, c.gap_count, c.source_through or "")
                for c in connection.execute(sa.select(tables.conversation))
            ),
            "keys": sorted(names[n] for n in connection.scalars(sa.select(tables.data_key.c.conversation_no))),
            "unfinished": [
                connection.scalar(sa.select(sa.func.count()).select_from(tables.progress)),
                connection.scalar(
                    sa.select(sa.func.count())
                    .select_from(tables.addition)
                    .where(tables.addition.c.ciphertext.is_not(None))
                ),
            ],
            "events": _events(connection),
        }


def _messages(campaign: Campaign, connection: sa.Connection, names: dict[int, str]) -> list[tuple[Any, ...]]:
    keys: dict[int, DataKey] = {}
    for row in connection.execute(sa.select(tables.data_key)):
        answer = campaign.key_services.named(row.key_service).unwrap([(row.wrapped_keyset, row.context.encode())])[0]
        assert not isinstance(answer, KeyRefusal)
        keys[row.conversation_no] = DataKey.from_keyset(answer, row.key_id)
    opened = []
    for row in connection.execute(sa.select(tables.message)):
        name = names[row.conversation_no]
        bound = associated_data(name, row.message_id, row.sender_id, row.sent_at, row.content_type)
        content = open_message(keys[row.conversation_no], row.ciphertext, bound)
        opened.append((name, row.sent_at, row.message_id, row.sender_id, row.content_type, content))
    return sorted(opened)


def _events(connection: sa.Connection) -> dict[str, Any]:
    """What the events report together: none missing, none phantom, however they were cut into shards."""
    rewrapped: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for row in connection.execute(sa.select(tables.outbox).where(tables.outbox.c.run_id.is_not(None))):
        data = json.loads(row.data)
        if row.type == "conversation.rewrapped":
            rewrapped[f"{data['ref']} {data['outcome']} {data['messages']} {data['gaps']}"] += 1
        elif row.type == "conversation.skipped":
            skipped.update(data["counts"])
        elif row.type in ("key.created", "key.destroyed"):
            keys[data["ref"]] += 1 if row.type == "key.created" else -1
        elif row.type == "export.refused":
            refused[f"{row.subject} {data['reason']}"] += 1
    return {
        "rewrapped": dict(rewrapped),
        "skipped": dict(skipped),
        "keys": {ref: number for ref, number in keys.items() if number},
        "refused": dict(refused),
    }


def log_matches_outbox(campaign: Campaign, wal: Path) -> bool:
    """Whether the log holds every event once, in order, and nothing else."""
    with campaign.database.read() as connection:
        events = list(connection.scalars(sa.select(tables.outbox.c.event_id).order_by(tables.outbox.c.seq)))
        unnumbered = connection.scalar(
            sa.select(sa.func.count()).select_from(tables.outbox).where(tables.outbox.c.seq.is_(None))
        )
    lines = [json.loads(line) for line in wal.read_text().splitlines()]
    return unnumbered == 0 and [line["id"] for line in lines] == events
