"""pause, abort: control of a run from any shell."""

from typing import Final

import click

from migrator.cli.command import AUDITED, Command
from migrator.cli.session import Session
from migrator.cli.views import control as views
from migrator.core.errors import ExitStatus
from migrator.execution import control


@click.command(cls=Command, statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE))
@click.argument("run", required=False, metavar="[RUN]")
@click.pass_obj
def pause(session: Session, run: str | None) -> None:
    """Bring a run to rest: its workers leave at their next commit. `migrator resume` goes on.

    The latest run unless RUN names another. `migrator execute` or `resume`, which works on it, ends with 22. A run
    whose process was killed rests at once.
    """
    with session.campaign() as campaign:
        session.output.result(views.stopping(control.pause(campaign, run)))


@click.command(cls=Command, statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE))
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


COMMANDS: Final[tuple[click.Command, ...]] = (pause, abort)
