"""Makes a plan: walks the whole source, decides for each conversation, stores the items, writes the plan file.

A page of the population is one transaction: conversation rows for those that are new, and their items. The plan is
`making` until all is there; one that was interrupted is never `ready` and is removed by the next.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from migrator import __version__, authorizations, config
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import UsageError
from migrator.core.merkle import Frontier
from migrator.core.model import Conversation
from migrator.core.plan import SCHEMA, PlanCounts, digest_of, to_file
from migrator.core.policy import Policy
from migrator.core.progress import Progress
from migrator.database import locks, tables
from migrator.database.bulk import chunks, refresh_statistics
from migrator.facts import Judge, Watermarks, current_watermarks
from migrator.garbage import rarely_collected
from migrator.planning.limiting import cut
from migrator.planning.pages import PagePlanner, Walk
from migrator.planning.selecting import select
from migrator.planning.stored import items_root, require_making
from migrator.private_files import replace_private

_MICROSECONDS_PER_MESSAGE = 30
"""One worker's time for a message, as measured on two cores with SQLite: what the estimate is made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan that was just made."""

    plan_id: str
    path: Path
    counts: PlanCounts
    document: dict[str, object]


def policy_of(campaign: Campaign) -> Policy:
    """The campaign's policy."""
    settings = campaign.settings
    return Policy(
        quorum=settings.authorization.quorum, notice_period=timedelta(days=settings.campaign.notice_period_days)
    )


def make_plan(
    campaign: Campaign,
    *,
    save: Path | None,
    progress: Progress,
    cohort: str | None = None,
    limit: str | None = None,
) -> PlanSummary:
    """Plan the whole population as of the later of now and the cutover; `save` names the file, or None.

    `cohort`: of the settings, what is outside is decided to be left; `limit`: `N` or `N%` of the work.
    """
    selection = select(campaign, cohort, limit)
    part = selection.document(campaign)
    if not selection.whole:
        _ = campaign.references  # a key service that keeps one waiting does so before the first transaction
    authorizations.link_scopes(campaign)
    now = campaign.clock.now()
    plan_id = f"plan-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    watermarks, signed_by = _begin(campaign, plan_id, now)
    as_of = max(now, campaign.settings.campaign.cutover_at)
    judge = Judge(campaign, watermarks, policy_of(campaign), as_of, selection.membership(campaign))
    planner = PagePlanner(campaign, plan_id, judge, ordered=selection.limit is not None)
    walk = planner.walk
    progress.phase("planning", total=None, unit="conversations")
    with rarely_collected():
        for page in _ahead(campaign.store.population()):
            planner.plan(page)
            progress.advance(len(page))
    if selection.limit is not None:
        walk.counts, walk.root = cut(campaign, plan_id, selection.limit, walk.counts), None
    document = {**_document(campaign, plan_id, now, walk, signed_by), **part}
    path = save if save is not None else campaign.spec.directory / "plans" / f"{plan_id}.json"
    document = _finish(campaign, plan_id, document, path, walk.root)
    campaign.audit.flush()
    return PlanSummary(plan_id=plan_id, path=path, counts=walk.counts, document=document)


def _ahead(pages: Iterator[list[Conversation]]) -> Iterator[list[Conversation]]:
    """The same pages, each read while the one before is planned: a server reads and writes meanwhile."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="migrator-walk") as reader:
        coming = reader.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = reader.submit(next, pages, None)
            yield page


def _begin(campaign: Campaign, plan_id: str, now: datetime) -> tuple[Watermarks, dict[str, int]]:
    plan = tables.plan
    with campaign.database.write("plan-begin") as connection:
        locks.one_at_a_time(connection, "import")  # the watermarks are what is committed, and nothing under way
        unfinished = list(connection.scalars(sa.select(plan.c.plan_id).where(plan.c.state == "making")))
        for chunk in chunks(unfinished):
            for made in (tables.plan_item, tables.plan_order):
                connection.execute(made.delete().where(made.c.plan_id.in_(chunk)))
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


def _document(
    campaign: Campaign, plan_id: str, now: datetime, walk: Walk, signed_by: dict[str, int]
) -> dict[str, object]:
    settings = campaign.settings
    work = walk.counts.rewrap
    average = walk.sampled_bytes // walk.sampled_messages if walk.sampled_messages else 0
    return {
        **_of_migrated(walk),
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


def _of_migrated(walk: Walk) -> dict[str, object]:
    """How much of the work is of conversations that were migrated before, and what came after their flip, if any."""
    if not walk.visible:
        return {}
    return {"extend": walk.counts.extend.to_json(), "arrivals": walk.arrivals.to_json()}


def _part(document: dict[str, object]) -> dict[str, str]:
    """What part of the population a plan is for, for the log."""
    cohort, limit = document.get("cohort"), document.get("limit")
    found = {"cohort": str(cohort["name"])} if isinstance(cohort, dict) else {}
    return {**found, "limit": str(limit)} if limit is not None else found


def _finish(
    campaign: Campaign, plan_id: str, document: dict[str, object], path: Path, root: Frontier | None
) -> dict[str, object]:
    """Seal the plan: root over its items, digest, file, and the event, before it may be executed."""
    plan = tables.plan
    with campaign.database.read() as connection:
        require_making(connection, plan_id)
        items = items_root(connection, plan_id) if root is None else f"sha256:{root.root().hex()}"
    document = {**document, "items_root": items}
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
                **_part(document),
            },
        )
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
        refresh_statistics(connection, tables.plan_item, tables.conversation, tables.reference_salt)
    return document
