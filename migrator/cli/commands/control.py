"""pause, abort, throttle, unlock: control of a run from any shell."""

from typing import Final

import click

from migrator.cli.command import AUDITED, Command
from migrator.cli.commands.limits import limit_options
from migrator.cli.offers import RUN
from migrator.cli.options import Limit
from migrator.cli.session import Session
from migrator.cli.views import control as views
from migrator.core.errors import ExitStatus
from migrator.execution import control, status

_STATUSES: Final = (*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE)
_run = click.argument("run", required=False, metavar="[RUN]", type=RUN)


@click.command(
    cls=Command,
    statuses=_STATUSES,
    examples=(
        ("migrator pause", "let the latest run rest at its next checkpoint"),
        ("migrator pause run-20260508T000000Z-1a2b3c4d", "the same of one by its id"),
    ),
)
@_run
@click.pass_obj
def pause(session: Session, run: str | None) -> None:
    """Bring a run to rest at its next checkpoint.

    Its workers leave at their next commit; nothing is lost, and `migrator resume` goes on. The latest run unless
    RUN names another. `migrator execute` or `resume`, which works on it, ends with 22. A run whose process was
    killed rests at once.
    """
    with session.campaign() as campaign:
        session.output.result(views.stopping(control.pause(campaign, run)))


@click.command(
    cls=Command,
    statuses=_STATUSES,
    examples=(("migrator abort --confirm dm-e2ee-retirement", "stop the latest run now, without a question"),),
)
@_run
@click.option("--confirm", metavar="NAME", help="The campaign's name, which is always asked for.")
@click.pass_obj
def abort(session: Session, run: str | None, confirm: str | None) -> None:
    """Stop a run at once, and remove what is half done.

    The database holds whole conversations only then. What was shown stays, and `migrator resume` goes on; `migrator
    rollback` takes it back. The latest run unless RUN names another. `migrator execute` or `resume`, which works on
    it, ends with 22.
    """
    with session.campaign() as campaign:
        if confirm is None and session.may_ask():
            confirm = session.ask("This stops a run in the middle. Type the campaign's name to abort it")
        session.output.result(views.stopping(control.abort(campaign, run, confirm=confirm)))


@click.command(
    cls=Command,
    statuses=(*AUDITED, ExitStatus.GATE),
    examples=(
        ("migrator throttle", "show the limits in force"),
        ("migrator throttle --max-rate 500/s", "have the latest run go slower from now on"),
        ('migrator throttle --window "22:00-06:00 Europe/Paris"', "work at night only"),
        ("migrator throttle --max-load database.latency=250ms --max-rate off", "as fast as the database bears"),
    ),
)
@_run
@limit_options
@click.option("--workers", type=Limit("workers"), metavar="N|off",
              help="Workers that have something to do at once, as they end what they are at.")  # fmt: skip
@click.pass_obj
def throttle(session: Session, /, run: str | None, **limits: str | None) -> None:
    """Change the limits of a run while it works, or show them.

    Of one at rest as well. They count within a second or two, and are kept when the run is resumed. `off` takes a
    limit away. The latest run unless RUN names another.
    """
    changes = {name: text for name, text in limits.items() if text is not None}
    with session.campaign() as campaign:
        found = control.throttle(campaign, run, changes) if changes else control.limits(campaign, run)
        session.output.result(views.limiting(found))


@click.command(
    cls=Command,
    statuses=_STATUSES,
    examples=(
        ("migrator unlock", "give back the lease of a process that is gone"),
        ("migrator unlock --force --confirm dm-e2ee-retirement", "take it from one that can't be reached"),
    ),
)
@_run
@click.option("--force", is_flag=True, help="Also while the holder is heard of: none of its commits counts any more.")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which --force asks for.")
@click.pass_obj
def unlock(session: Session, run: str | None, force: bool, confirm: str | None) -> None:
    """Free the campaign's lease from a dead or lost process.

    Then `migrator resume` goes on. With RUN, only if the lease is held for that run. Whoever held it can't commit
    any more.
    """
    with session.campaign() as campaign:
        if force and confirm is None and session.may_ask():
            who = views.held(status.lease_holder(campaign))
            confirm = session.ask(f"{who}; it may be at work. Type the campaign's name to take the lease away")
        session.output.result(views.unlocking(control.unlock(campaign, run, force=force, confirm=confirm)))


COMMANDS: Final[tuple[click.Command, ...]] = (pause, abort, throttle, unlock)
