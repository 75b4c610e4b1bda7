"""keys: where wrapped keys are, moving them on, destroying one."""

from typing import Final

import click

from migrator import keys as service
from migrator.cli.command import AUDITED, CAMPAIGN, Group
from migrator.cli.session import Session
from migrator.cli.views import keys as views
from migrator.core.errors import ExitStatus


@click.group(cls=Group)
def keys() -> None:
    """Data keys, recipient keys and the reference key: where they are wrapped, and under which version."""


@keys.command(name="status", statuses=CAMPAIGN)
@click.pass_obj
def show_status(session: Session) -> None:
    """Count the wrapped keys by key service, key and version. Asks each service once."""
    with session.campaign() as campaign:
        found = service.status(campaign)
    session.output.result(views.status(found))


@keys.command(name="rewrap", statuses=(*AUDITED, ExitStatus.SOME_FAILED))
@click.option("--to", metavar="SERVICE", help="Move what belongs there to this key service, which must be in use.")
@click.pass_obj
def rewrap(session: Session, to: str | None) -> ExitStatus:
    """Bring wrapped keys under the newest version of their key, or to another key service. Touches no message.

    Each new wrapping is proved before the old one goes. Run it again to go on where it was interrupted.
    """
    with session.campaign() as campaign, session.progress() as progress:
        result = service.rewrap(campaign, to=to, progress=progress)
    session.output.result(views.rewrapped(result))
    return ExitStatus.SOME_FAILED if result.refused else ExitStatus.OK


@keys.command(name="destroy", statuses=(*AUDITED, ExitStatus.GATE))
@click.option("--conversation", required=True, metavar="ID", help="Whose server history is destroyed.")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which this asks for.")
@click.pass_obj
def destroy(session: Session, conversation: str, confirm: str | None) -> None:
    """Destroy a conversation's server history for good: its data key, and so every copy of its messages.

    A legal hold forbids it. The source and exports stay sealed as they are; no later plan brings the history back.
    """
    with session.campaign() as campaign:
        if confirm is None and session.may_ask():
            confirm = session.ask(f"This can't be undone. Type the campaign's name to destroy {conversation}")
        result = service.destroy(campaign, conversation, confirm=confirm)
    session.output.result(views.destroyed(result))


COMMANDS: Final[tuple[click.Command, ...]] = (keys,)
