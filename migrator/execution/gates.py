"""What has to hold before anything is opened. Each gate is a function that raises `GateError`; there is no way around.

1. The date: not before `cutover_at`, by the campaign's clock, and in production by the database's own as well (G2).
2. The confirmation: in production an operator has typed the campaign's name.
3. Four eyes: in production two operators have approved the plan; asked again in the transaction that consumes it.
"""

from migrator.approvals.standing import require_approved
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError
from migrator.execution.recorder import require_database_past_cutover
from migrator.planning.stored import StoredPlan


def cutover_reached(campaign: Campaign) -> bool:
    """Whether the campaign's clock is past the cutover."""
    return campaign.clock.now() >= campaign.settings.campaign.cutover_at


def require_open(campaign: Campaign, plan: StoredPlan, confirm: str | None) -> None:
    """Raise `GateError` unless every gate of a real run stands open."""
    require_cutover(campaign)
    if campaign.in_production and confirm != campaign.name:
        raise GateError(
            "executing in production asks for the campaign's name",
            hint=f"type it when asked, or give --confirm {campaign.name}",
        )
    with campaign.database.read() as connection:
        require_approved(connection, campaign, plan.plan_id, plan.digest)


def require_cutover(campaign: Campaign) -> None:
    """Raise `GateError` before the cutover."""
    if not cutover_reached(campaign):
        raise GateError(
            f"the cutover is at {format_time(campaign.settings.campaign.cutover_at)}: nothing is opened before",
            hint="rehearse with --dry-run; in staging --now moves the clock",
        )
    if campaign.in_production:
        with campaign.database.read() as connection:
            require_database_past_cutover(connection, campaign)


def require_attachments(campaign: Campaign) -> None:
    """Raise where attachments are to be taken over and the source's, or the store for the sealed ones, can't be opened.

    A media store that is not mounted must not look like one in which everything is missing.
    """
    if campaign.blobs is not None:
        _ = campaign.media
