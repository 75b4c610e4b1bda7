"""plan, show, approve."""

from pathlib import Path
from typing import Final

import click

from migrator.approvals import recording, rehearsals, signing
from migrator.cli.command import AUDITED, CAMPAIGN, Command
from migrator.cli.offers import PLAN
from migrator.cli.options import NUMBER_OR_PERCENT
from migrator.cli.session import Session
from migrator.cli.views import plans as views
from migrator.core.errors import ExitStatus, UsageError
from migrator.planning import making, stored


@click.command(
    name="plan",
    cls=Command,
    statuses=(*AUDITED, ExitStatus.WORK_TO_DO),
    examples=(
        ("migrator plan", "decide; the plan goes to plans/<plan_id>.json"),
        ("migrator plan --limit 1%", "a canary: the first hundredth of the work by a keyed order"),
        ("migrator plan --save p.json --detailed-exitcode", "for a script: 3 where there is work to do, 0 where none"),
    ),
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where the plan goes; plans/<plan_id>.json unless given.")  # fmt: skip
@click.option("--cohort", metavar="NAME", help="Only a part of the population, by its name under [cohorts].")
@click.option(
    "--limit",
    type=NUMBER_OR_PERCENT,
    metavar="N|N%",
    help="Take up only so much of the work: the first by a keyed order, a smaller limit inside a larger.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 3 where there is work to do.")
@click.pass_obj
def make(
    session: Session, save: Path | None, cohort: str | None, limit: str | None, detailed_exitcode: bool
) -> ExitStatus:
    """Decide for every conversation: move it, or why not.

    As of the later of now and the cutover. Opens nothing, and changes nothing but migrator's own tables and the plan's
    file. What is handed in afterwards is for the next plan; withdrawals count at once.
    What is outside the cohort or beyond the limit is left for a later plan: skipped:out_of_cohort.
    """
    with session.campaign() as campaign, session.progress() as progress:
        plan = making.make_plan(campaign, save=save, progress=progress, cohort=cohort, limit=limit)
    session.output.result(views.summary(plan.plan_id, plan.path, plan.document))
    if detailed_exitcode and plan.counts.rewrap.conversations:
        return ExitStatus.WORK_TO_DO
    return ExitStatus.OK


@click.command(
    cls=Command,
    statuses=(*CAMPAIGN, ExitStatus.PLAN_STALE),
    examples=(
        ("migrator show plans/plan-20260509T000000Z-9f2cf448.json", "by its file"),
        ("migrator show plan-20260509T000000Z-9f2cf448", "or by its id"),
    ),
)
@click.argument("plan", metavar="PLAN", type=PLAN)
@click.pass_obj
def show(session: Session, plan: str) -> None:
    """Show a saved plan, and who approved it. Changes nothing.

    PLAN is its file or its id.
    """
    with session.campaign() as campaign:
        found = stored.load(campaign, plan)
        overview = recording.overview(campaign, found)
    session.output.result(views.plan(found.document, overview))


@click.command(
    cls=Command,
    statuses=(*AUDITED, ExitStatus.PLAN_STALE, ExitStatus.GATE),
    examples=(
        ("migrator approve p.json --key ~/.ssh/id_ed25519 --rehearsal staging/summary.json",
         "the first approval brings the report of the rehearsal"),
        ("migrator approve p.json --key ~/.ssh/id_ed25519", "the second operator's"),
        ("migrator approve p.json --revoke alice@example.org", "take one back"),
    ),
)  # fmt: skip
@click.argument("plan", metavar="PLAN", type=PLAN)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), metavar="SSH_KEY",
              help="The operator's private key, in OpenSSH's format; its passphrase is asked for.")  # fmt: skip
@click.option("--signature", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help=f"What `ssh-keygen -Y sign -n {signing.NAMESPACE}` made of the plan's digest.")  # fmt: skip
@click.option("--rehearsal", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="summary.json of a report that staging saved; the first approval brings it.")  # fmt: skip
@click.option("--waive-rehearsal", metavar="REASON", help="Why there was no rehearsal; goes into the audit log.")
@click.option("--revoke", metavar="NAME", help="Take an operator's approval back, until the plan is executed.")
@click.pass_obj
def approve(
    session: Session,
    plan: str,
    key: Path | None,
    signature: Path | None,
    rehearsal: Path | None,
    waive_rehearsal: str | None,
    revoke: str | None,
) -> None:
    """Approve a plan with your SSH key; production wants two.

    PLAN is a file or an id. Who may approve stands in the file that `approval.allowed_signers` names. Records a
    signature over the plan's digest, and opens nothing.
    """
    if sum(given is not None for given in (key, signature, revoke)) != 1:
        raise UsageError(
            "an approval has one of --key, --signature and --revoke", hint="`migrator approve --help` has examples"
        )
    if rehearsal is not None and waive_rehearsal is not None:
        raise UsageError("--rehearsal and --waive-rehearsal at once", hint="a plan was rehearsed, or that is waived")
    ask = session.ask_secret if session.may_ask() else None
    with session.campaign() as campaign:
        found = stored.load(campaign, plan)
        if revoke is not None:
            session.output.result(views.approved(recording.revoke(campaign, found, revoke), revoked=True))
            return
        rehearsed = None if rehearsal is None else rehearsals.read(campaign, rehearsal)
        made = signing.of_plan(found.digest, key, signature, ask)
        approved = recording.approve(campaign, found, made, rehearsed=rehearsed, waiver=waive_rehearsal)
    session.output.result(views.approved(approved))


COMMANDS: Final[tuple[click.Command, ...]] = (make, show, approve)
