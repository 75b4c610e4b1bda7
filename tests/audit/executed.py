"""A campaign that was executed, and long conversations in it: what evidence is about."""

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from fixtures.world import Shape
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions
from migrator.planning import making
from tests.cli.campaigns import Stop
from tests.support.campaigns import small_campaign

SHAPE = Shape(accounts=30, conversations=40, messages=700)


def executed_campaign(folder: Path, shape: Shape = SHAPE, **settings: dict[str, object]) -> CampaignSpec:
    """Planned and run to its end."""
    spec = small_campaign(folder, shape, **settings)
    execute(spec)
    return spec


def execute(spec: CampaignSpec) -> str:
    """Make a plan and run it; returns the run's id."""
    with open_campaign(spec) as campaign:
        plan = making.make_plan(campaign, save=None, progress=NoProgress())
        summary = coordinator.execute(campaign, plan.plan_id, RunOptions(workers=1), NoProgress(), Stop(None))
        return summary.run_id


def longest(campaign: Campaign) -> tuple[str, list[str]]:
    """The visible conversation with the most messages, and their ids in order."""
    conversation, message = tables.conversation, tables.message
    with campaign.database.read() as connection:
        row = connection.execute(
            sa.select(conversation)
            .where(conversation.c.mode == "server")
            .order_by(conversation.c.message_count.desc(), conversation.c.conversation_id)
        ).first()
        assert row is not None
        query = sa.select(message.c.message_id).where(message.c.conversation_no == row.conversation_no)
        ids = list(connection.scalars(query.order_by(message.c.sent_at, message.c.message_id)))
        return row.conversation_id, ids


def with_settings(spec: CampaignSpec, section: str, **values: object) -> CampaignSpec:
    """The same campaign with other settings in a section."""
    changed = getattr(spec.settings, section).model_copy(update=values)
    return replace(spec, settings=spec.settings.model_copy(update={section: changed}))
