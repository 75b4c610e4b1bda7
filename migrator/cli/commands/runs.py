"""execute, resume, status."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from migrator.campaign import Campaign
from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.commands.limits import limit_options
from migrator.cli.offers import PLAN, RUN
from migrator.cli.options import DURATION
from migrator.cli.output import View
from migrator.cli.progress import Drawn
from migrator.cli.screen import Screen
from migrator.cli.session import Session
from migrator.cli.signals import stop_on_signals
from migrator.cli.status_signal import tell_on_signal
from migrator.cli.views import status as views
from migrator.core.errors import ExitStatus
from migrator.execution import coordinator, status
from migrator.execution.options import RunOptions
from migrator.execution.runs import RunSummary
from migrator.execution.watching import snapshot
from migrator.execution.watching.snapshot import Watched

_TERMINAL_SECONDS: Final = 2.0
_LINES_SECONDS: Final = 10.0
_STATUSES: Final = (
    *AUDITED, ExitStatus.PLAN_STALE, ExitStatus.LEASE_HELD, ExitStatus.GATE, ExitStatus.LIMIT_REACHED,
    ExitStatus.ERROR_BUDGET, ExitStatus.STOPPED_BY_OPERATOR, ExitStatus.SOME_FAILED,
)  # fmt: skip
_F = TypeVar("_F", bound=Callable[..., Any])


def _run_options(function: _F) -> _F:
    """What both execute and resume take."""
    for option in (
        click.option("--metrics-file", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH",
                     help="Keep the run's figures for Prometheus in a file whose name ends in .prom."),
        click.option("--engine", metavar="local|dask:ADDRESS",
                     help="What runs the workers; as configured unless given."),
        click.option("--workers", type=click.IntRange(0, 1024), metavar="N",
                     help="0: one per core, or all of the cluster's; as configured unless given."),
    ):  # fmt: skip
        function = option(function)
    return limit_options(function)


@click.command(
    cls=Command,
    statuses=_STATUSES,
    examples=(
        ("migrator execute p.json --dry-run", "first the same way, writing nothing"),
        ("migrator execute p.json", "then for good; Ctrl-C stops it at the next checkpoint"),
        ("migrator execute p.json --max-duration 8h --max-rate 2000/s --confirm dm-e2ee-retirement",
         "a night's work in production, without a question"),
    ),
)  # fmt: skip
@click.argument("plan", metavar="PLAN", type=PLAN)
@click.option("--dry-run", is_flag=True, help="Go the same way with each conversation, and write nothing.")
@_run_options
@click.option("--retry-failed", metavar="RUN", help="Open only what failed in that run, of what PLAN opens.")
@click.option(
    "--only",
    multiple=True,
    metavar="OUTCOME",
    help="Retry only what failed so, such as failed:key_service; may be repeated.",
)
@click.option("--confirm", metavar="NAME", help="The campaign's name, which production asks for.")
@click.pass_obj
def execute(
    session: Session,
    /,
    plan: str,
    dry_run: bool,
    workers: int | None,
    engine: str | None,
    retry_failed: str | None,
    only: tuple[str, ...],
    metrics_file: Path | None,
    confirm: str | None,
    **limits: str | None,
) -> ExitStatus:
    """Run a plan: open what is authorised, seal it for the server.

    PLAN is a file or an id. The source is only read. Each conversation flips at once, or not at all, and is decided
    again before it is opened. It can be stopped and killed at any moment: Ctrl-C stops it at the next checkpoint,
    `migrator resume` goes on, `migrator rollback` undoes it.
    """
    with session.campaign(read_only=dry_run) as campaign:
        if campaign.in_production and not dry_run and confirm is None and session.may_ask():
            confirm = session.ask(f"This opens people's history. Type the campaign's name to execute {plan}")
        given: dict[str, Any] = limits
        options = RunOptions(
            dry_run=dry_run, workers=workers, engine=engine, confirm=confirm, retry_failed=retry_failed, only=only,
            metrics_file=metrics_file,
        )  # fmt: skip
        with stop_on_signals() as stop:
            with session.progress() as progress, tell_on_signal(lambda: _own_status(campaign, progress)):
                summary = coordinator.execute(campaign, plan, replace(options, **given), progress, stop)
            return _show(session, campaign, summary)


@click.command(
    cls=Command,
    statuses=_STATUSES,
    examples=(
        ("migrator resume", "go on with the latest run"),
        ("migrator resume --max-failures 5% --workers 2", "with a larger error budget, and fewer workers"),
    ),
)
@click.argument("run", required=False, metavar="[RUN]", type=RUN)
@_run_options
@click.pass_obj
def resume(
    session: Session,
    /,
    run: str | None,
    workers: int | None,
    engine: str | None,
    metrics_file: Path | None,
    **limits: str | None,
) -> ExitStatus:
    """Go on with a run that stopped or was killed.

    The latest unless RUN names another. What was committed is kept; nothing is done twice. The run keeps its limits but
    for those that are given.
    """
    given: dict[str, Any] = limits
    options = replace(RunOptions(workers=workers, engine=engine, metrics_file=metrics_file), **given)
    with session.campaign() as campaign, stop_on_signals() as stop:
        with session.progress() as progress, tell_on_signal(lambda: _own_status(campaign, progress)):
            summary = coordinator.resume(campaign, run, options, progress, stop)
        return _show(session, campaign, summary)


@click.command(
    name="status",
    cls=Command,
    statuses=CAMPAIGN,
    examples=(
        ("migrator status", "the latest run: state, counts, why it waits"),
        ("migrator status --watch", "again and again, from any shell, until the run ends"),
    ),
)
@click.argument("run", required=False, metavar="[RUN]", type=RUN)
@click.option("--watch", is_flag=True, help="Again and again, until the run is no longer at work.")
@click.option("--interval", type=DURATION, metavar="T",
              help="How often, with --watch; on a terminal 2s, elsewhere 10s unless given.")  # fmt: skip
@click.pass_obj
def show_status(session: Session, run: str | None, watch: bool, interval: float | None) -> None:
    """Show how far a run is, what it waits for, what comes next.

    The latest unless RUN names another. Changes nothing. Everything comes from the database, so it is the same from any
    shell. SIGUSR1 makes `execute` and `resume` show it too, on standard error.
    """
    with session.campaign() as campaign:
        nothing = snapshot.before_any(campaign) if run is None else None
        if nothing is not None:
            session.output.result(views.not_begun(nothing, width=session.width()))
            return
        screen = Screen(session.output, session.terminal_size)
        seconds = interval or (_TERMINAL_SECONDS if screen.in_place else _LINES_SECONDS)
        while True:
            summary = status.summary(campaign, run)
            found = snapshot.watch(campaign, summary)
            view = _view_of(session, campaign, summary, found)
            if not (watch and found.at_work):
                break
            session.output.event("status", view.document)
            if not screen.show(view.lines):
                return
            time.sleep(seconds)
        screen.clear()
        session.output.result(view)


def _show(session: Session, campaign: Campaign, summary: RunSummary) -> ExitStatus:
    found = snapshot.watch(campaign, summary)
    session.output.result(_view_of(session, campaign, summary, found))
    return summary.exit_status


def _view_of(session: Session, campaign: Campaign, summary: RunSummary, found: Watched) -> View:
    why = "" if summary.dry_run else status.why_it_waits(campaign, summary)
    return views.watched(summary, found, why=why, width=session.width())


def _own_status(campaign: Campaign, progress: Drawn) -> Sequence[str]:
    """What this process has to say when it is asked: of its run, or how far it is where it has none."""
    summary = snapshot.own_summary(campaign)
    if summary is None:
        return [progress.now() or "no run has begun yet"]
    found = snapshot.watch(campaign, summary)
    return views.watched(summary, found, why=status.why_it_waits(campaign, summary)).lines


COMMANDS: Final[tuple[click.Command, ...]] = (execute, resume, show_status)
