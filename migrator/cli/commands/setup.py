"""init, demo, preflight, config, recipient-key."""

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from migrator import config, preflight, recipient_key, setup
from migrator import demo as demonstration
from migrator.cli.command import AUDITED, CAMPAIGN, Command, Group
from migrator.cli.options import MOMENT
from migrator.cli.session import Session
from migrator.cli.views import setup as views
from migrator.core.clock import SystemClock, format_time
from migrator.core.errors import ConfigError, ExitStatus
from migrator.core.model import Environment


@click.command(
    cls=Command,
    statuses=AUDITED,
    examples=(
        ("migrator init", "make or complete a campaign in this folder"),
        ("migrator init my-campaign --source-url sqlite:///store.db --cutover-at 2026-05-08T00:00:00Z",
         "begin one in a folder of its own, for that message store"),
    ),
)  # fmt: skip
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--name", metavar="NAME", help="The campaign's name.")
@click.option("--environment", type=click.Choice([e.value for e in Environment]), help="staging unless given.")
@click.option("--cutover-at", type=MOMENT, help="Nothing is opened before.")
@click.option("--source-url", metavar="URL", help="The message store, as an SQLAlchemy URL.")
@click.pass_obj
def init(
    session: Session,
    directory: Path | None,
    name: str | None,
    environment: str | None,
    cutover_at: datetime | None,
    source_url: str | None,
) -> None:
    """Make what a campaign needs: configuration, keys, database.

    Writes a commented migrator.toml, a local key service, the audit log and its key, and the migrator database, in DIR
    or here. No other command makes them. What is there is kept, so it may be run again at any time; then it takes up
    what was edited, and upgrades the database of an older version. The source is not touched.
    """
    if directory is not None:
        session.options.config = directory / "migrator.toml"
    path = session.options.config
    options = {
        "campaign.name": name,
        "campaign.environment": environment,
        "campaign.cutover_at": None if cutover_at is None else format_time(cutover_at),
        "source.url": source_url,
    }
    given = {dotted: text for dotted, text in options.items() if text is not None}
    made = config.write_example(path, given)
    try:
        kept, wanted = session.load().settings, session.load(given).settings
    except ConfigError as error:
        if made:
            error.changed = f"{path} was written: edit it, then run `migrator init` again"
        raise
    if kept != wanted:
        raise ConfigError(
            f"{path} is there already and says otherwise than {', '.join(sorted(given))} given here",
            hint="edit the file: init keeps what is there",
        )
    steps = [setup.SetupStep(what="configuration", path_or_name=str(path), made=made)]
    session.output.result(views.initialised([*steps, *setup.initialise(session.spec())]))


@click.command(
    cls=Command,
    statuses=AUDITED,
    examples=(
        ("migrator demo", "see a whole campaign, and keep it in migrator-demo/"),
        ("migrator demo /tmp/try -q", "the same elsewhere, without progress"),
    ),
)
@click.argument("directory", default="migrator-demo", type=click.Path(path_type=Path), metavar="[DIR]")
@click.pass_obj
def demo(session: Session, directory: Path) -> ExitStatus:
    """Run a whole campaign on a synthetic store, step by step.

    Everything is left in DIR to play with; ./migrator-demo unless given. DIR is missing, empty, or an older demo, which
    is made anew. Nothing outside DIR is read or changed.
    """
    with session.progress() as progress:
        result = demonstration.run(
            directory, session.output.text, progress, now=SystemClock().now(), program=session.program()
        )
    session.output.result(views.demonstrated(result, directory))
    return ExitStatus.OK if result.ok else ExitStatus.MISMATCH


@click.command(
    name="preflight",
    cls=Command,
    statuses=(ExitStatus.PREFLIGHT,),
    examples=(
        ("migrator preflight", "look at everything, with a remedy for what is wrong"),
        ("migrator preflight -o jsonl", "the same for a program: one check a line"),
    ),
)
@click.pass_obj
def check(session: Session) -> ExitStatus:
    """Check everything that a campaign rests on. Changes nothing.

    Configuration, source, database, key services, clock, free space, notice channels, audit log: each is ok, warn or
    fail, with a remedy. The key services wrap and unwrap a probe. Run it before a rehearsal, and again before the
    cutover.
    """
    states = []
    with session.output.listing("migrator.preflight/1", "checks", "check") as listing:
        for found in preflight.checks(session.spec()):
            states.append(found.state)
            document, lines = views.check_entry(found)
            listing.add(document, *lines)
    session.output.text(views.verdict(states))
    return ExitStatus.PREFLIGHT if preflight.CheckState.FAIL in states else ExitStatus.OK


@click.group(name="config", cls=Group)
def config_group() -> None:
    """Show the campaign's settings."""


@config_group.command(
    name="show",
    examples=(
        ("migrator config show", "the settings that count"),
        ("migrator config show --provenance", "and where each of them comes from"),
    ),
)
@click.option("--provenance", is_flag=True, help="Where each comes from: flag, env, file or default.")
@click.pass_obj
def config_show(session: Session, provenance: bool) -> None:
    """Show the settings that count, without passwords. Changes nothing.

    A flag comes first, then MIGRATOR_<SECTION>_<KEY> in the environment, then the file, then the default. Passwords
    show as [redacted], references to secrets as they are.
    """
    session.output.result(views.settings(session.load(), provenance=provenance))


@click.command(
    name="recipient-key",
    cls=Command,
    statuses=CAMPAIGN,
    examples=(("migrator recipient-key -o json", "for the teams that build the client apps"),),
)
@click.pass_obj
def show_recipient_key(session: Session) -> None:
    """Show the public key that clients seal their exports to."""
    with session.campaign() as campaign, campaign.database.read() as connection:
        key = recipient_key.current(connection)
    session.output.result(views.recipient_key(key))


COMMANDS: Final[tuple[click.Command, ...]] = (init, demo, check, config_group, show_recipient_key)
