"""audit prove, export, reconcile, anchor, erase: the log as evidence for others."""

from pathlib import Path
from typing import Final

import click

from migrator import anchoring, erasure, evidence
from migrator.audit import exporting
from migrator.audit.anchors.asking import AnchorState
from migrator.audit.exporting import ExportFormat
from migrator.cli.command import AUDITED, Command
from migrator.cli.session import Session
from migrator.cli.views import evidence as views
from migrator.core.errors import ExitStatus


@click.command(
    name="prove",
    cls=Command,
    statuses=AUDITED,
    examples=(
        ("migrator audit prove --seq 17 --out proof-17", "that one entry is in the log"),
        ("migrator audit prove --account u00000002 --out for-them", "everything about an account, for its owner"),
    ),
)
@click.option(
    "--account",
    metavar="ACCOUNT",
    help="Entries about an account and the conversations that it owns; being asked is itself an entry.",
)
@click.option("--conversation", metavar="CONVERSATION", help="Entries about a conversation; the same.")
@click.option("--seq", type=click.IntRange(min=0), metavar="N", help="The entry with that number.")
@click.option("--message", metavar="ID", help="And the page of the conversation with a message, also with --account.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("proof"), show_default=True, metavar="DIR",
              help="A new folder for the bundle.")  # fmt: skip
@click.pass_obj
def prove(
    session: Session, account: str | None, conversation: str | None, seq: int | None, message: str | None, out: Path
) -> None:
    """Write proofs that anybody can check offline, to a new folder.

    Entries, proofs, the log's key, a README, and a verifier that needs no migrator. To ask about an account or a
    conversation is itself an entry.
    """
    with session.campaign() as campaign:
        bundle = evidence.prove(campaign, out, account=account, conversation=conversation, seq=seq, message=message)
    session.output.result(views.proved(bundle))


@click.command(
    name="export",
    cls=Command,
    statuses=AUDITED,
    examples=(
        ("migrator audit export --save log.jsonl", "the entries as they were hashed"),
        ("migrator audit export --format ocsf --from 1000", "what is new, as events for a SIEM"),
    ),
)
@click.option("--format", "form", type=click.Choice([form.value for form in ExportFormat]), default="jsonl",
              show_default=True, help="The entries as they were hashed, or as OCSF events (a view).")  # fmt: skip
@click.option("--from", "first", type=click.IntRange(min=0), default=0, metavar="N", help="From entry N on.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Into a new file, not standard output.")
@click.pass_obj
def export(session: Session, form: str, first: int, save: Path | None) -> None:
    """Write the log out for other programs. Changes nothing.

    One entry a line, to standard output unless --save names a file.
    """
    chosen = ExportFormat(form)
    with session.campaign(read_only=True) as campaign:
        lines = exporting.lines(campaign.audit, chosen, first=first)
        if save is None:
            session.output.raw(line + b"\n" for line in lines)
        else:
            count = exporting.save(lines, save)
            session.output.result(views.exported(chosen, save, count))


@click.command(
    name="reconcile",
    cls=Command,
    statuses=AUDITED,
    examples=(("migrator audit reconcile", "say what in the database has no entry, and the reverse"),),
)
@click.pass_obj
def reconcile(session: Session) -> ExitStatus:
    """Compare the log with the database, line by line.

    Every line, run, data key and visible conversation. Mends nothing.
    """
    with session.campaign() as campaign:
        result = evidence.reconcile(campaign)
    session.output.result(views.reconciled(result))
    return ExitStatus.OK if result.ok else ExitStatus.AUDIT_LOG


@click.command(
    name="anchor",
    cls=Command,
    statuses=AUDITED,
    examples=(("migrator audit anchor", "ask all that audit.witnesses and audit.timestamp_url name"),),
)
@click.pass_obj
def anchor(session: Session) -> ExitStatus:
    """Have others vouch for the newest checkpoint.

    Witnesses and a timestamp authority, as configured. Nothing but the checkpoint and proofs of consistency leaves the
    house.
    """
    with session.campaign() as campaign:
        results = anchoring.sign_and_anchor(campaign)
    session.output.result(views.anchored(results))
    reached = all(result.state is AnchorState.VOUCHES for result in results)
    return ExitStatus.OK if reached else ExitStatus.SERVICE_DOWN


@click.command(
    name="erase",
    cls=Command,
    statuses=(*AUDITED, ExitStatus.LEASE_HELD, ExitStatus.GATE),
    examples=(("migrator audit erase --account u00000002", "asks for the campaign's name first"),),
)
@click.option("--account", metavar="ACCOUNT", help="The reference key of an account and the conversations it owns.")
@click.option("--conversation", metavar="CONVERSATION", help="The reference key of a shared room.")
@click.option("--confirm", metavar="NAME", help="The campaign's name: what is erased can't be brought back.")
@click.pass_obj
def erase(session: Session, account: str | None, conversation: str | None, confirm: str | None) -> None:
    """Erase a subject's reference key, for good.

    Its entries stay and verify, and nobody can link them to it any more. Refused while data keys of the subject exist.
    """
    with session.campaign() as campaign:
        if confirm is None and session.may_ask():
            confirm = session.ask("This can't be undone. Type the campaign's name to erase the reference key")
        done = erasure.erase(campaign, account=account, conversation=conversation, confirm=confirm)
    session.output.result(views.erased(done))


COMMANDS: Final[tuple[click.Command, ...]] = (prove, export, reconcile, anchor, erase)
