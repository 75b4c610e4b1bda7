"""What the audit log hears of notices: texts that went out for the first time, counts, digests; never an address."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventData, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.database import tables
from migrator.notices.kinds import NoticeKind
from migrator.notices.queue import Entry
from migrator.notices.templates import Template


def publish(connection: sa.Connection, campaign: Campaign, templates: Sequence[Template]) -> None:
    """Keep the text of templates that go out for the first time: authorisations may name them from now on."""
    table = tables.notice_template
    used = {template.identity: template for template in templates}
    rows = connection.execute(sa.select(table.c.notice_id, table.c.version, table.c.locale))
    new = [used[identity] for identity in sorted(used.keys() - {(row[0], row[1], row[2]) for row in rows})]
    if not new:
        return
    now = campaign.clock.now()
    connection.execute(
        table.insert(),
        [
            {
                "notice_id": template.notice_id, "version": template.version, "locale": template.locale,
                "sha256": template.sha256, "source": template.source.decode(), "published_at": format_time(now),
            }
            for template in new
        ],
    )  # fmt: skip
    events = [
        Event(
            type=EventType.NOTICE_PUBLISHED,
            subject=template.notice_id,
            data={
                "notice_id": template.notice_id, "version": template.version, "locale": template.locale,
                "sha256": template.sha256,
            },
        )
        for template in new
    ]  # fmt: skip
    outbox.record(connection, events, actor=campaign.actor, now=now)


def sent(
    connection: sa.Connection, campaign: Campaign, entries: Sequence[Entry], references: Mapping[str, str]
) -> None:
    """One event for each notice, version, day of the schedule and channel among what was sent."""
    groups: dict[tuple[str, str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[(entry.errand.notice_id, entry.version, _step(entry), entry.channel)].append(entry)
    events = []
    for (notice_id, version, step, channel), group in sorted(groups.items()):
        shown = [entry.rendered.template for entry in group if entry.rendered is not None]
        data: EventData = {
            "notice_id": notice_id, "version": version, "channel": channel, "sent": len(group), "step": step,
            "locales": dict(Counter(template.locale for template in shown)),
            "templates": {template.locale: template.sha256 for template in shown},
            "recipients_sha256": _recipients_sha256(group, references),
        }  # fmt: skip
        events.append(Event(type=EventType.NOTICE_SENT, subject=notice_id, data=data))
    outbox.record(connection, events, actor=campaign.actor, now=campaign.clock.now())


def failed(connection: sa.Connection, campaign: Campaign, reasons: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
    """One event for each (notice, channel) with what went wrong, how often."""
    events = [
        Event(
            type=EventType.NOTICE_FAILED,
            subject=notice_id,
            data={"notice_id": notice_id, "channel": channel, "reasons": dict(sorted(counts.items()))},
        )
        for (notice_id, channel), counts in sorted(reasons.items())
        if counts
    ]
    outbox.record(connection, events, actor=campaign.actor, now=campaign.clock.now())


def _step(entry: Entry) -> str:
    """The day of the schedule; a receipt's occasion is a record, which is nobody else's business."""
    return "" if entry.errand.notice_id == NoticeKind.RECEIVED else entry.errand.occasion


def _recipients_sha256(entries: Sequence[Entry], references: Mapping[str, str]) -> str:
    """Digest over who was sent what (lines `reference rendered_sha256`, sorted): no row can be added later."""
    lines = sorted(
        f"{references[entry.errand.account_id]} {entry.rendered.sha256}\n" for entry in entries if entry.rendered
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
