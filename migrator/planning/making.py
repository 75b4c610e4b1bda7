"""Makes a plan: walks the whole source, decides for each conversation, stores the items, writes the plan file.

A page of the population is one transaction: conversation rows for those that are new, and their items. The plan is
`making` until all is there; one that was interrupted is never `ready` and is removed by the next.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from migrator import __version__, authorizations, config
from migrator.audit import outbox, references
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.encoding import strict_json
from migrator.core.errors import UsageError
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome
from migrator.core.plan import EXTEND, REWRAP, SCHEMA, Count, PlanCounts, digest_of, is_work, to_file
from migrator.core.policy import Action, Decision, Policy, decide
from migrator.core.progress import Progress
from migrator.database import locks, tables
from migrator.database.bulk import chunks, insert_rows, refresh_statistics
from migrator.facts import FactsReader, Gathered, Watermarks, current_watermarks
from migrator.planning.stored import items_root, require_making
from migrator.private_files import replace_private

_SAMPLE_MESSAGES = 1000
_MICROSECONDS_PER_MESSAGE = 30
"""One worker's time for a message, as measured on two cores with SQLite: what the estimate is made from."""
_ITEM_COLUMNS = ("plan_id", "conversation_no", "decision", "messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan that was just made."""

    plan_id: str
    path: Path
    counts: PlanCounts
    document: dict[str, object]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the migrator database has of a conversation."""

    conversation_no: int
    visible: bool
    gap_count: int
    source_through: str | None


@dataclass(slots=True)
class _Walk:
    """What a walk over the population adds up to."""

    counts: PlanCounts = field(default_factory=PlanCounts)
    source: Count = field(default_factory=Count)
    covered: Count = field(default_factory=Count)
    sampled_messages: int = 0
    sampled_bytes: int = 0


def policy_of(campaign: Campaign) -> Policy:
    """The campaign's policy."""
    settings = campaign.settings
    return Policy(
        quorum=settings.authorization.quorum, notice_period=timedelta(days=settings.campaign.notice_period_days)
    )


def make_plan(campaign: Campaign, *, save: Path | None, progress: Progress) -> PlanSummary:
    """Plan the whole population as of the later of now and the cutover; `save` names the file, or None."""
    authorizations.link_scopes(campaign)
    now = campaign.clock.now()
    plan_id = f"plan-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    watermarks, signed_by = _begin(campaign, plan_id, now)
    walk = _Walk()
    reader = FactsReader(campaign, watermarks)
    as_of = max(now, campaign.settings.campaign.cutover_at)
    progress.phase("planning", total=None, unit="conversations")
    for page in campaign.store.population():
        _plan_page(campaign, plan_id, page, reader, as_of, walk)
        progress.advance(len(page))
    document = _document(campaign, plan_id, now, walk, signed_by)
    path = save if save is not None else campaign.spec.directory / "plans" / f"{plan_id}.json"
    document = _finish(campaign, plan_id, document, path)
    campaign.audit.flush()
    return PlanSummary(plan_id=plan_id, path=path, counts=walk.counts, document=document)


def _begin(campaign: Campaign, plan_id: str, now: datetime) -> tuple[Watermarks, dict[str, int]]:
    plan = tables.plan
    with campaign.database.write("plan-begin") as connection:
        locks.one_at_a_time(connection, "import")  # the watermarks are what is committed, and nothing under way
        unfinished = list(connection.scalars(sa.select(plan.c.plan_id).where(plan.c.state == "making")))
        for chunk in chunks(unfinished):
            connection.execute(tables.plan_item.delete().where(tables.plan_item.c.plan_id.in_(chunk)))
            connection.execute(plan.delete().where(plan.c.plan_id.in_(chunk)))
        watermarks = current_watermarks(connection)
        by_issuer = connection.execute(
            sa.select(tables.authorization.c.issuer.is_not(None), sa.func.count()).group_by(
                tables.authorization.c.issuer.is_not(None)
            )
        )
        counts = {("issuer" if from_issuer else "device"): count for from_issuer, count in by_issuer}
        connection.execute(
            plan.insert().values(
                plan_id=plan_id,
                plan_no=(connection.scalar(sa.select(sa.func.max(plan.c.plan_no))) or 0) + 1,
                digest="",
                created_at=format_time(now),
                decided_as_of=format_time(max(now, campaign.settings.campaign.cutover_at)),
                config_sha256=config.digest(campaign.settings),
                source_identity=campaign.store.identity(),
                last_authorization_no=watermarks.authorization_no,
                last_export_no=watermarks.export_no,
                conversations=0,
                messages=0,
                document="",
                state="making",
            )
        )
    return watermarks, counts


def _plan_page(
    campaign: Campaign, plan_id: str, page: list[Conversation], reader: FactsReader, as_of: datetime, walk: _Walk
) -> None:
    policy = policy_of(campaign)
    with campaign.database.write("plan-page") as connection:
        require_making(connection, plan_id)
        known = _known(connection, page)
        gathered = reader.gather(connection, page)
        references.ensure_salts(connection, {c.owner_id or c.conversation_id for c in page})
        rows = []
        for conversation, facts in zip(page, gathered, strict=True):
            row = known[conversation.conversation_id]
            messages = facts.facts.messages
            decision = _decision(campaign, conversation, facts, row, decide(facts.facts, policy, as_of))
            rows.append((plan_id, row.conversation_no, decision, messages))
            walk.counts.add(decision, messages)
            walk.source.add(conversation.messages)
            if facts.facts.exporters:
                walk.covered.add(messages)
        insert_rows(connection, tables.plan_item, _ITEM_COLUMNS, rows)
    _sample(campaign, walk, [c for c, row in zip(page, rows, strict=True) if is_work(row[2])])


def _known(connection: sa.Connection, page: Sequence[Conversation]) -> dict[str, _Known]:
    """Rows of the page's conversations; new ones are made, sealed."""
    known = _select_known(connection, page)
    new = [c.conversation_id for c in page if c.conversation_id not in known]
    if new:
        insert_rows(
            connection, tables.conversation, ("conversation_id", "mode"), [(identifier, "sealed") for identifier in new]
        )
        known.update(_select_known(connection, [c for c in page if c.conversation_id not in known]))
    return known


def _select_known(connection: sa.Connection, page: Sequence[Conversation]) -> dict[str, _Known]:
    table = tables.conversation
    known = {}
    for chunk in chunks([c.conversation_id for c in page]):
        query = sa.select(
            table.c.conversation_id, table.c.conversation_no, table.c.mode, table.c.gap_count, table.c.source_through
        ).where(table.c.conversation_id.in_(chunk))
        for identifier, number, mode, gap_count, through in connection.execute(query):
            known[identifier] = _Known(number, mode == "server", gap_count, through)
    return known


def _decision(
    campaign: Campaign, conversation: Conversation, gathered: Gathered, known: _Known, decision: Decision
) -> str:
    """The item's text: `rewrap`, `extend`, or the outcome that the plan foresees."""
    if conversation.fault:
        return Outcome.FAILED_SOURCE.value
    if known.visible:
        extends = decision.action is Action.REWRAP and _has_news(conversation, gathered, known)
        return EXTEND if extends else Outcome.ALREADY_SERVER.value
    if decision.reason is not None:
        return decision.reason.outcome
    if not campaign.key_services.has_for_region(gathered.region):
        return Outcome.HELD_NO_KEY_SERVICE.value
    return REWRAP


def _has_news(conversation: Conversation, gathered: Gathered, known: _Known) -> bool:
    """Whether a migrated conversation has a tail, or gaps or history that a newer export may bring."""
    through = strict_json(known.source_through or "{}", max_depth=2)
    if not isinstance(through, dict):
        return True
    if (conversation.messages, conversation.last_sent_at) != (through.get("messages"), through.get("last_sent_at")):
        return True
    newer = gathered.newest_export_no > int(through.get("export_no", 0))
    return newer and (known.gap_count > 0 or gathered.claimed_messages > 0)


def _sample(campaign: Campaign, walk: _Walk, conversations: Sequence[Conversation]) -> None:
    """Measure the size of some messages, for the estimate."""
    for conversation in conversations:
        if walk.sampled_messages >= _SAMPLE_MESSAGES:
            return
        for row in campaign.store.page(conversation.conversation_id, None, 100):
            walk.sampled_messages += 1
            walk.sampled_bytes += len(row[3]) if isinstance(row[3], bytes) else 0


def _document(
    campaign: Campaign, plan_id: str, now: datetime, walk: _Walk, signed_by: dict[str, int]
) -> dict[str, object]:
    settings = campaign.settings
    work = walk.counts.rewrap
    average = walk.sampled_bytes // walk.sampled_messages if walk.sampled_messages else 0
    return {
        "schema": SCHEMA,
        "plan_id": plan_id,
        "campaign": campaign.name,
        "created_at": format_time(now),
        "tool_version": __version__,
        "config_sha256": config.digest(settings),
        "source": {
            "kind": settings.source.kind,
            "identity_sha256": campaign.store.identity(),
            "conversations": walk.source.conversations,
            "messages": walk.source.messages,
        },
        "policy": {
            "quorum": settings.authorization.quorum.value,
            "notice_period_days": settings.campaign.notice_period_days,
            "max_gap_fraction": str(settings.execution.max_gap_fraction),
        },
        "counts": walk.counts.to_json(),
        "coverage": {
            **walk.covered.to_json(),
            "authorizations_by_device": signed_by.get("device", 0),
            "authorizations_by_issuer": signed_by.get("issuer", 0),
        },
        "estimate": {
            "kms_calls": work.conversations + 1,
            "bytes": work.messages * average,
            "seconds": -(-work.messages * _MICROSECONDS_PER_MESSAGE // 1_000_000),
        },
    }


def _finish(campaign: Campaign, plan_id: str, document: dict[str, object], path: Path) -> dict[str, object]:
    """Seal the plan: root over its items, digest, file, and the event, before it may be executed."""
    plan = tables.plan
    with campaign.database.read() as connection:
        require_making(connection, plan_id)
        document = {**document, "items_root": items_root(connection, plan_id)}
    document["digest"] = digest_of(document)
    try:
        replace_private(path, to_file(document))
    except OSError as error:
        raise UsageError(
            f"the plan file {path} can't be written: {error.strerror}", hint="choose another place with --save"
        ) from None
    source = document["source"]
    totals = source if isinstance(source, dict) else {}
    with campaign.database.write("plan-ready") as connection:
        require_making(connection, plan_id)
        connection.execute(
            plan.update()
            .where(plan.c.plan_id == plan_id)
            .values(
                state="ready",
                digest=document["digest"],
                document=to_file(document).decode(),
                conversations=totals["conversations"],
                messages=totals["messages"],
            )
        )
        event = Event(
            type=EventType.PLAN_CREATED,
            subject=plan_id,
            data={
                "plan_id": plan_id,
                "digest": str(document["digest"]),
                "items_root": str(document["items_root"]),
                "conversations": totals["conversations"],
                "messages": totals["messages"],
            },
        )
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
        refresh_statistics(connection, tables.plan_item, tables.conversation, tables.reference_salt)
    return document
