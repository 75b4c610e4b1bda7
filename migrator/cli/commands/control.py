"""pause, abort, throttle, unlock: control of a run from any shell."""

from typing import Final

import click

from migrator.cli.command import AUDITED, Command
from migrator.cli.commands.limits import limit_options
from migrator.cli.options import Limit
from migrator.cli.session import Session
from migrator.cli.views import control as views
from migrator.core.errors import ExitStatus
from migrator.execution import control, status

_STATUSES: Final = (*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE)


@click.command(cls=Command, statuses=_STATUSES)
@click.argument("run", required=False, metavar="[RUN]")
@click.pass_obj
def pause(session: Session, run: str | None) -> None:
    """Bring a run to rest: its workers leave at their next commit. `migrator resume` goes on.

    The latest run unless RUN names another. `migrator execute` or `resume`, which works on it, ends with 22. A run
    whose process was killed rests at once.
    """
    with session.campaign() as campaign:
        session.output.result(views.stopping(control.pause(campaign, run)))


@click.command(cls=Command, statuses=_STATUSES)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which is always asked for.")
@click.pass_obj
def abort(session: Session, run: str | None, confirm: str | None) -> None:
    """Stop a run at once and remove what is half done, so that there are whole conversations only.

    What was shown stays, and `migrator resume` goes on; `migrator rollback` takes it back. The latest run unless RUN
    names another. `migrator execute` or `resume`, which works on it, ends with 22.
    """
    with session.campaign() as campaign:
        if confirm is None and session.may_ask():
            confirm = session.ask("This stops a run in the middle. Type the campaign's name to abort it")
        session.output.result(views.stopping(control.abort(campaign, run, confirm=confirm)))


@click.command(cls=Command, statuses=(*AUDITED, ExitStatus.GATE))
@click.argument("run", required=False, metavar="[RUN]")
@limit_options
@click.option("--workers", type=Limit("workers"), metavar="N|off",
              help="Workers that have something to do at once, as they end what they are at.")  # fmt: skip
@click.pass_obj
def throttle(session: Session, /, run: str | None, **limits: str | None) -> None:
    """Change the limits of a run that is at work or at rest; without options, show them.

    They count within a second or two, and are kept when the run is resumed. `off` takes a limit away. The latest run
    unless RUN names another.
    """
    changes = {name: text for name, text in limits.items() if text is not None}
    with session.campaign() as campaign:
        found = control.throttle(campaign, run, changes) if changes else control.limits(campaign, run)
        session.output.result(views.limiting(found))


@click.command(cls=Command, statuses=_STATUSES)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--force", is_flag=True, help="Also while the holder is heard of: none of its commits counts any more.")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which --force asks for.")
@click.pass_obj
def unlock(session: Session, run: str | None, force: bool, confirm: str | None) -> None:
    """Give the campaign's lease back for a process that is dead or out of reach; then `migrator resume` goes on.

    With RUN, only if the lease is held for that run. Whoever held it can't commit any more.
    """
    with session.campaign() as campaign:
        if force and confirm is None and session.may_ask():
            who = views.held(status.lease_holder(campaign))
            confirm = session.ask(f"{who}; it may be at work. Type the campaign's name to take the lease away")
        session.output.result(views.unlocking(control.unlock(campaign, run, force=force, confirm=confirm)))


COMMANDS: Final[tuple[click.Command, ...]] = (pause, abort, throttle, unlock)
