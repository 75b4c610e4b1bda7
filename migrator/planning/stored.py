"""Finds a plan again, by file or by id, and says whether it may still be executed.

The rules, each a refusal with exit status 10:

1. The file is exactly what was written: its digest fits, and it is the digest that the database remembers.
2. The database knows the plan, and its items still have the root that the plan names.
3. Configuration, source and the accounts of its cohort's file are those that the plan was made with.
4. No newer plan supersedes it, and no run has consumed it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator import config
from migrator.campaign import Campaign
from migrator.core.cohorts import Rule
from migrator.core.errors import PlanError, UsageError
from migrator.core.merkle import Frontier, leaf_hash
from migrator.core.plan import MAX_FILE_BYTES, from_file, item_leaf
from migrator.database import tables
from migrator.facts import Watermarks
from migrator.planning.selecting import require_unchanged, rule_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan as file and database have it."""

    plan_id: str
    document: dict[str, Any]
    watermarks: Watermarks
    consumed_by: str | None
    rolled_past: bool
    """Whether a rollback has taken away what the plan counted on."""
    conversations: int
    messages: int

    @property
    def digest(self) -> str:
        """What approvals sign: `sha256:` and the hex digest of the plan file."""
        return str(self.document["digest"])

    @property
    def cohort(self) -> Rule | None:
        """The rule of the cohort that it is for; None: it is for everything."""
        return rule_of(self.document)


def items_root(connection: sa.Connection, plan_id: str) -> str:
    """`sha256:` and the RFC 6962 root over a plan's items, by conversation number."""
    item, conversation = tables.plan_item, tables.conversation
    query = (
        sa.select(item.c.conversation_no, conversation.c.conversation_id, item.c.decision, item.c.messages)
        .join(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .where(item.c.plan_id == plan_id)
        .order_by(item.c.conversation_no)
        .execution_options(yield_per=10_000)
    )
    frontier = Frontier()
    for number, identifier, decision, messages in connection.execute(query):
        frontier.append(leaf_hash(item_leaf(number, identifier, decision, messages)))
    return f"sha256:{frontier.root().hex()}"


def require_making(connection: sa.Connection, plan_id: str) -> None:
    """Raise `PlanError` where another planner has taken this plan for an interrupted one and removed it."""
    table = tables.plan
    mine = connection.scalar(sa.select(table.c.plan_no).where(table.c.plan_id == plan_id, table.c.state == "making"))
    if mine is None:
        raise PlanError("another `migrator plan` was begun meanwhile", hint="let one of them end, then plan again")


def load(campaign: Campaign, reference: str) -> StoredPlan:
    """A plan by the path of its file or by its id; `PlanError` where it is not what was made."""
    path = Path(reference)
    if path.suffix == ".json" or os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for what can't be a name
        document = from_file(_read(path))
        stored = _by_id(campaign, str(document["plan_id"]))
        if stored.document["digest"] != document["digest"]:
            raise PlanError(
                "the plan file is not the one that this campaign's database remembers",
                hint="give the file that `migrator plan` wrote, or make a new plan",
            )
        return stored
    return _by_id(campaign, reference)


def require_executable(campaign: Campaign, plan: StoredPlan) -> None:
    """Raise `PlanError` unless the plan may be executed now."""
    if plan.consumed_by is not None:
        raise PlanError(
            f"plan {plan.plan_id} was executed by run {plan.consumed_by}",
            hint=f"`migrator resume {plan.consumed_by}` goes on with it; for what is new make a new plan",
        )
    require_current(campaign, plan)
    with campaign.database.read() as connection:
        newer = connection.scalar(
            sa.select(tables.plan.c.plan_id)
            .where(
                tables.plan.c.state == "ready",
                tables.plan.c.plan_no
                > sa.select(tables.plan.c.plan_no).where(tables.plan.c.plan_id == plan.plan_id).scalar_subquery(),
            )
            .order_by(tables.plan.c.plan_no.desc())
            .limit(1)
        )
    if newer is not None:
        raise PlanError(f"plan {plan.plan_id} is superseded by {newer}", hint=f"execute {newer}, or make a new plan")


def require_current(campaign: Campaign, plan: StoredPlan) -> None:
    """Raise `PlanError` unless configuration, source and items are those that the plan was made with."""
    if plan.rolled_past:
        raise PlanError(f"a run was rolled back since plan {plan.plan_id} was made", hint="make a new plan")
    if plan.document["campaign"] != campaign.name:
        raise PlanError(f"the plan belongs to campaign {plan.document['campaign']!r}", hint="check --config")
    if plan.document["config_sha256"] != config.digest(campaign.settings):
        raise PlanError(
            "the configuration has changed since the plan was made",
            hint="`migrator plan` makes a new one; `migrator show` has the digest of the old configuration",
        )
    if plan.document["source"]["identity_sha256"] != campaign.store.identity():
        raise PlanError(
            "the source is not the one that the plan was made for", hint="check source.url, then make a new plan"
        )
    require_unchanged(campaign, plan.document)
    with campaign.database.read() as connection:
        if items_root(connection, plan.plan_id) != plan.document["items_root"]:
            raise PlanError(
                "the plan's items in the database are not those that were planned",
                hint="somebody changed the database: find out who, then make a new plan",
            )


def _by_id(campaign: Campaign, plan_id: str) -> StoredPlan:
    with campaign.database.read() as connection:
        row = connection.execute(
            sa.select(tables.plan).where(tables.plan.c.plan_id == plan_id, tables.plan.c.state != "making")
        ).one_or_none()
    if row is None:
        raise PlanError(f"there is no plan {plan_id!r} in this campaign's database", hint="`migrator plan` makes one")
    document = from_file(row.document.encode())
    if document["digest"] != row.digest:
        raise PlanError("the plan in the database was altered", hint="find out who did it, then make a new plan")
    return StoredPlan(
        plan_id=row.plan_id,
        document=document,
        watermarks=Watermarks(row.last_authorization_no, row.last_export_no),
        consumed_by=row.consumed_by,
        rolled_past=row.state == "superseded",
        conversations=row.conversations,
        messages=row.messages,
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the plan file {path} can't be read: {error.strerror}", hint="the plan's id works too: the database has it"
        ) from None
