"""plan, show."""

from pathlib import Path
from typing import Final

import click

from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.session import Session
from migrator.cli.views import plans as views
from migrator.core.errors import ExitStatus
from migrator.planning import making, stored


@click.command(name="plan", cls=Command, statuses=(*AUDITED, ExitStatus.WORK_TO_DO))
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where the plan goes; plans/<plan_id>.json unless given.")  # fmt: skip
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 3 where there is work to do.")
@click.pass_obj
def make(session: Session, save: Path | None, detailed_exitcode: bool) -> ExitStatus:
    """Decide for every conversation, as of the later of now and the cutover. Changes migrator's own tables only."""
    with session.campaign() as campaign, session.progress() as progress:
        plan = making.make_plan(campaign, save=save, progress=progress)
    session.output.result(views.summary(plan.plan_id, plan.path, plan.document))
    if detailed_exitcode and plan.counts.rewrap.conversations:
        return ExitStatus.WORK_TO_DO
    return ExitStatus.OK


@click.command(cls=Command, statuses=(*CAMPAIGN, ExitStatus.PLAN_STALE))
@click.argument("plan", metavar="PLAN")
@click.pass_obj
def show(session: Session, plan: str) -> None:
    """Show a saved plan: PLAN is its file or its id."""
    with session.campaign() as campaign:
        document = stored.load(campaign, plan).document
    session.output.result(views.plan(document))


COMMANDS: Final[tuple[click.Command, ...]] = (make, show)
