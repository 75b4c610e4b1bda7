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
    """Count wrapped keys, move them on, destroy one."""


@keys.command(
    name="status", statuses=CAMPAIGN, examples=(("migrator keys status", "how many keys are under which version"),)
)
@click.pass_obj
def show_status(session: Session) -> None:
    """Count the wrapped keys by service, key and version.

    Data keys, recipient keys and the reference key. Asks each service for its newest version, and changes nothing.
    """
    with session.campaign() as campaign:
        found = service.status(campaign)
    session.output.result(views.status(found))


@keys.command(
    name="rewrap",
    statuses=(*AUDITED, ExitStatus.SOME_FAILED),
    examples=(
        ("migrator keys rewrap", "after a rotation: everything under the newest version"),
        ("migrator keys rewrap --to vault:https://bao.example.org:8200/transit/migrator",
         "move what belongs there to another key service"),
    ),
)  # fmt: skip
@click.option("--to", metavar="SERVICE", help="Move what belongs there to this key service, which must be in use.")
@click.pass_obj
def rewrap(session: Session, to: str | None) -> ExitStatus:
    """Wrap keys anew: newest version, or another service.

    Touches no message. Each new wrapping is proved before the old one goes. Runs beside a run. Run it again to go on
    where it was interrupted.
    """
    with session.campaign() as campaign, session.progress() as progress:
        result = service.rewrap(campaign, to=to, progress=progress)
    session.output.result(views.rewrapped(result))
    return ExitStatus.SOME_FAILED if result.refused else ExitStatus.OK


@keys.command(
    name="destroy",
    statuses=(*AUDITED, ExitStatus.GATE),
    examples=(("migrator keys destroy --conversation in00000001/u00000002", "asks for the campaign's name first"),),
)
@click.option("--conversation", required=True, metavar="ID", help="Whose server history is destroyed.")
@click.option("--confirm", metavar="NAME", help="The campaign's name, which this asks for.")
@click.pass_obj
def destroy(session: Session, conversation: str, confirm: str | None) -> None:
    """Destroy a conversation's server history for good.

    Its data key goes, and so every copy of its messages. There is no way back, and no later plan brings it back. A
    legal hold forbids it. The source and exports stay sealed as they are.
    """
    with session.campaign() as campaign:
        if confirm is None and session.may_ask():
            confirm = session.ask(f"This can't be undone. Type the campaign's name to destroy {conversation}")
        result = service.destroy(campaign, conversation, confirm=confirm)
    session.output.result(views.destroyed(result))


COMMANDS: Final[tuple[click.Command, ...]] = (keys,)
