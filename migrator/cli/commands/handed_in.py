"""authorizations, exports: what users and their clients handed in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from migrator import authorizations
from migrator.cli.command import AUDITED, CAMPAIGN, Group
from migrator.cli.output import View
from migrator.cli.session import Session
from migrator.cli.views import handed_in as views
from migrator.core.errors import ExitStatus
from migrator.core.imports import ImportResult
from migrator.exports import bringing_in, importing, status
from migrator.secrets import resolve

_paths = click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path, exists=True))


@click.group(name="authorizations", cls=Group)
def authorizations_group() -> None:
    """Signed authorisations of users."""


@authorizations_group.command(name="import", statuses=(*AUDITED, ExitStatus.SOME_FAILED))
@_paths
@click.pass_obj
def import_authorizations(session: Session, paths: Sequence[Path]) -> ExitStatus:
    """Import .jws and .jsonl files, or folders of them; what is there already counts as such."""
    with session.campaign() as campaign, session.progress() as progress:
        result = authorizations.import_paths(campaign, paths, progress=progress)
    return _show(session, views.imported(result, "authorisation"), result)


@authorizations_group.command(name="status", statuses=CAMPAIGN)
@click.pass_obj
def authorizations_status(session: Session) -> None:
    """Count what stands recorded, by answer."""
    with session.campaign() as campaign:
        found = authorizations.status(campaign)
    session.output.result(views.authorizations(found))


@click.group(name="exports", cls=Group)
def exports_group() -> None:
    """Exports of client devices."""


@exports_group.command(name="import", statuses=(*AUDITED, ExitStatus.SOME_FAILED))
@click.argument("paths", nargs=-1, metavar="[PATH…]", type=click.Path(path_type=Path, exists=True))
@click.option("--account", metavar="USER", help="Whose Matrix keys are brought in, for a client that can't sign.")
@click.option(
    "--passphrase",
    metavar="REFERENCE",
    help="file:…, env:… or command:…: of the key export; without PATH of secret storage.",
)
@click.option("--recovery-key", metavar="REFERENCE", help="file:…, env:… or command:…: of the account's key backup.")
@click.pass_obj
def import_exports(
    session: Session, paths: Sequence[Path], account: str | None, passphrase: str | None, recovery_key: str | None
) -> ExitStatus:
    """Import .export.tar archives, or folders of them. They stay sealed until execution.

    With --account and --passphrase the PATHs are key export files of that user's Matrix client; without PATH the user's
    server-side key backup is taken up, by --recovery-key or by the --passphrase of secret storage. Nothing is opened.
    """
    with session.campaign() as campaign:
        if account is None and passphrase is None and recovery_key is None:
            result = importing.import_paths(campaign, paths)
        else:
            result = bringing_in.bring_in(
                campaign,
                paths,
                account_id=account,
                passphrase=None if passphrase is None else resolve(passphrase, Path()),
                recovery_key=None if recovery_key is None else resolve(recovery_key, Path()),
            )
    return _show(session, views.imported(result, "export"), result)


@exports_group.command(name="status", statuses=CAMPAIGN)
@click.pass_obj
def exports_status(session: Session) -> None:
    """Count what stands recorded."""
    with session.campaign() as campaign:
        found = status.status(campaign)
    session.output.result(views.exports(found))


@exports_group.command(name="coverage", statuses=CAMPAIGN)
@click.pass_obj
def exports_coverage(session: Session) -> None:
    """Say how much of the source the exports cover."""
    with session.campaign() as campaign:
        found = status.coverage(campaign)
    session.output.result(views.coverage(found))


def _show(session: Session, view: View, result: ImportResult) -> ExitStatus:
    session.output.result(view)
    return ExitStatus.SOME_FAILED if result.refused else ExitStatus.OK


COMMANDS: Final[tuple[click.Command, ...]] = (authorizations_group, exports_group)
