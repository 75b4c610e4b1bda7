"""execute, resume, status."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from migrator.campaign import Campaign
from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.commands.limits import limit_options
from migrator.cli.output import View
from migrator.cli.session import Session
from migrator.cli.signals import stop_on_signals
from migrator.cli.views import runs as views
from migrator.core.errors import ExitStatus
from migrator.core.lifecycle import RunState
from migrator.execution import coordinator, status
from migrator.execution.coordinator import RunOptions
from migrator.execution.runs import RunSummary

_WATCH_SECONDS: Final = 2.0
_STATUSES: Final = (
    *AUDITED, ExitStatus.PLAN_STALE, ExitStatus.LEASE_HELD, ExitStatus.GATE, ExitStatus.LIMIT_REACHED,
    ExitStatus.ERROR_BUDGET, ExitStatus.STOPPED_BY_OPERATOR, ExitStatus.SOME_FAILED,
)  # fmt: skip
_F = TypeVar("_F", bound=Callable[..., Any])


def _run_options(function: _F) -> _F:
    """What both execute and resume take."""
    for option in (
        click.option("--engine", metavar="local|dask:ADDRESS",
                     help="What runs the workers; as configured unless given."),
        click.option("--workers", type=click.IntRange(0, 1024), metavar="N",
                     help="0: one per core, or all of the cluster's; as configured unless given."),
    ):  # fmt: skip
        function = option(function)
    return limit_options(function)


@click.command(cls=Command, statuses=_STATUSES)
@click.argument("plan", metavar="PLAN")
@click.option("--dry-run", is_flag=True, help="Go the same way with each conversation, and write nothing.")
@_run_options
@click.option("--confirm", metavar="NAME", help="The campaign's name, which production asks for.")
@click.pass_obj
def execute(
    session: Session,
    /,
    plan: str,
    dry_run: bool,
    workers: int | None,
    engine: str | None,
    confirm: str | None,
    **limits: str | None,
) -> ExitStatus:
    """Run a plan: open what is authorised, and seal it under server-side keys. PLAN is a file or an id.

    Can be stopped and killed at any moment; `migrator resume` goes on. Ctrl-C stops it at the next checkpoint.
    """
    with session.campaign(read_only=dry_run) as campaign:
        if campaign.in_production and not dry_run and confirm is None and session.may_ask():
            confirm = session.ask(f"This opens people's history. Type the campaign's name to execute {plan}")
        given: dict[str, Any] = limits
        options = RunOptions(dry_run=dry_run, workers=workers, engine=engine, confirm=confirm)
        with stop_on_signals() as stop:
            with session.progress() as progress:
                summary = coordinator.execute(campaign, plan, replace(options, **given), progress, stop)
            return _show(session, campaign, summary)


@click.command(cls=Command, statuses=_STATUSES)
@click.argument("run", required=False, metavar="[RUN]")
@_run_options
@click.pass_obj
def resume(
    session: Session,
    /,
    run: str | None,
    workers: int | None,
    engine: str | None,
    **limits: str | None,
) -> ExitStatus:
    """Go on with a run that stopped or was killed; the latest unless RUN names another."""
    given: dict[str, Any] = limits
    options = replace(RunOptions(workers=workers, engine=engine), **given)
    with session.campaign() as campaign, stop_on_signals() as stop:
        with session.progress() as progress:
            summary = coordinator.resume(campaign, run, options, progress, stop)
        return _show(session, campaign, summary)


@click.command(name="status", cls=Command, statuses=CAMPAIGN)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--watch", is_flag=True, help="Again and again, until the run is no longer at work.")
@click.pass_obj
def show_status(session: Session, run: str | None, watch: bool) -> None:
    """Show where a run stands and what it waits for; the latest unless RUN names another."""
    with session.campaign() as campaign:
        while True:
            summary = status.summary(campaign, run)
            if not (watch and summary.state is RunState.RUNNING and status.lease_holder(campaign) is not None):
                break
            view = _view(campaign, summary)
            session.output.event("status", view.document)
            if not session.output.text(*view.lines, ""):
                return
            time.sleep(_WATCH_SECONDS)
        session.output.result(_view(campaign, summary))


def _show(session: Session, campaign: Campaign, summary: RunSummary) -> ExitStatus:
    session.output.result(_view(campaign, summary))
    return summary.exit_status


def _view(campaign: Campaign, summary: RunSummary) -> View:
    return views.run(summary, why="" if summary.dry_run else status.why_it_waits(campaign, summary))


COMMANDS: Final[tuple[click.Command, ...]] = (execute, resume, show_status)
