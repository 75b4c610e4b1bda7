"""The stations of a demo.

The world is made up by `fixtures`; its cutover was yesterday, so that everything left behind can be tried out today.
Each station moves the campaign's clock, as `--now` does. What comes out is compared with what follows from the
synthetic world alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from fixtures.answers import NoticeDigests
from fixtures.expected import expect
from fixtures.handin import hand_in
from fixtures.store import write_store
from fixtures.world import Shape, World
from migrator import authorizations, config, recipient_key, reporting, setup, verification
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.clock import FixedClock
from migrator.core.lifecycle import StopReason
from migrator.core.progress import Progress
from migrator.core.settings import Settings
from migrator.demo.folder import make_room
from migrator.demo.tampering import tamper
from migrator.demo.telling import Tell, Teller
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions
from migrator.execution.runs import RunSummary
from migrator.exports import importing
from migrator.notices import sending, templates
from migrator.planning import making

CAMPAIGN: Final = "demo"
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """How it ended. `ok`: verified, and every outcome is the one that the synthetic world has coming."""

    ok: bool
    conversations: int
    messages: int


class _NeverStops:
    @property
    def requested(self) -> StopReason | None:
        """Ctrl-C simply ends a demo."""
        return None


def run(
    directory: Path,
    tell: Tell,
    progress: Progress,
    *,
    now: datetime,
    program: str = "migrator",
    shape: Shape | None = None,
) -> DemoResult:
    """Make the demo in a folder that is missing, empty, or an older demo; `UsageError` for any other.

    `tell` gets the lines to show, `program` is how they call the commands.
    """
    cutover = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    shape = shape or Shape(accounts=120, conversations=400, messages=20_000, base=cutover - 75 * DAY, seed=8)
    make_room(directory, shape)
    return _Demo(directory, World(shape), cutover, Teller(tell), progress).run(program)


class _Demo:
    """The campaign at its stations."""

    def __init__(self, directory: Path, world: World, cutover: datetime, tell: Teller, progress: Progress) -> None:
        self.directory = directory
        self.world = world
        self.cutover = cutover
        self.tell = tell
        self.progress = progress
        self.settings: Settings

    def run(self, program: str) -> DemoResult:
        """All of it."""
        self.make_store()
        self.initialise()
        self.send_notices()
        self.hand_in()
        self.import_all()
        plan_id = self.plan()
        self.rehearse(plan_id)
        run = self.execute(plan_id)
        verified = self.verify(run)
        as_expected = self.report(run)
        self.what_next(program)
        return DemoResult(
            ok=verified and as_expected,
            conversations=sum(count.conversations for count in run.counts.values()),
            messages=self.world.messages_in_all,
        )

    def make_store(self) -> None:
        """The E2EE store that a platform would have."""
        self.tell.station(
            "A message store",
            "A synthetic Labyrinth store: mailboxes of ciphertext whose keys only the users' devices hold. Some of",
            "its users are minors, silent, locked; some of its rows are damaged, as in any store.",
        )
        write_store(self.world, f"sqlite:///{self.directory / 'store.db'}", self.progress)
        self.tell.fact(f"{len(self.world.people):,} accounts, {len(self.world.copies):,} conversations, "
                  f"{self.world.messages_in_all:,} messages in store.db")  # fmt: skip

    def initialise(self) -> None:
        """`migrator init`."""
        self.tell.station(
            "migrator init",
            "Configuration, a local key service, the audit log with its key, and the migrator database.",
            f"The cutover is {self.cutover:%Y-%m-%d}; before it nothing is opened.",
        )
        path = self.directory / "migrator.toml"
        given = {
            "campaign.name": CAMPAIGN,
            "campaign.cutover_at": f"{self.cutover:%Y-%m-%dT%H:%M:%SZ}",
            "source.url": "sqlite:///store.db",
        }
        config.write_example(path, given)
        self.settings = config.load(path, {}, {}).settings
        for step in setup.initialise(self.at(-74 * DAY)):
            self.tell.fact(f"{step.what}: {Path(step.path_or_name).name}")

    def send_notices(self) -> None:
        """`migrator notify send`, 70 days before the cutover."""
        self.tell.station(
            "migrator notify send, 70 days before",
            "Every user is told what will happen and by when, once, in their language; it is kept as evidence.",
        )
        with open_campaign(self.at(-70 * DAY)) as campaign:
            sent = sending.send(campaign, progress=self.progress)
        self.tell.fact(f"{sent.sent:,} sent to outbox/, {sent.unreachable:,} without an address: theirs stays sealed")

    def hand_in(self) -> None:
        """What client apps do, 30 days before the cutover."""
        self.tell.station(
            "The users answer, and their devices export",
            "Devices sign what their users decided, and seal keys or history to the campaign's recipient key.",
            "A few hand in something forged, cut off, or no record at all.",
        )
        spec = self.at(-30 * DAY)
        with open_campaign(spec) as campaign, campaign.database.read() as connection:
            key = recipient_key.current(connection)
        notice = templates.current(templates.catalogue(self.settings, self.directory), templates.DEFAULT_NOTICE)
        published = NoticeDigests(
            notice_id=templates.DEFAULT_NOTICE,
            version=next(iter(notice.values())).version,
            sha256={locale: template.sha256 for locale, template in notice.items()},
        )
        folder = self.directory / "hand-in"
        handed = hand_in(
            self.world, folder, campaign=CAMPAIGN, recipient_key_id=key.recipient_key_id, kem=key.kem,
            public_key=key.public_key, notice=published, now=spec.clock.now(), progress=self.progress,
        )  # fmt: skip
        tamper(folder)
        self.tell.fact(f"{handed.authorizations:,} records and {handed.exports:,} exports in hand-in/, "
                  f"{handed.late_exports:,} exports will come late")  # fmt: skip

    def import_all(self) -> None:
        """`migrator authorizations import` and `migrator exports import`."""
        self.tell.station(
            "migrator authorizations import, migrator exports import",
            "Each signature, notice, device and time is checked. Exports stay sealed: what they cover is in their",
            "signed manifests. What is refused gets its reason, and costs nobody else anything.",
        )
        folder = self.directory / "hand-in"
        with open_campaign(self.at(-30 * DAY)) as campaign:
            self.tell.imported("records", authorizations.import_paths(campaign, [folder / "authorizations"]))
            self.tell.imported("exports", importing.import_paths(campaign, [folder / "exports"]))

    def plan(self) -> str:
        """`migrator plan`, the day before the cutover."""
        self.tell.station(
            "migrator plan, the day before",
            "For each conversation: may it be opened, and if not, why not? Everybody in it must have agreed.",
        )
        with open_campaign(self.at(-DAY)) as campaign:
            plan = making.make_plan(campaign, save=None, progress=self.progress)
        self.tell.planned(plan.counts)
        return plan.plan_id

    def rehearse(self, plan_id: str) -> None:
        """`migrator execute --dry-run`."""
        self.tell.station(
            f"migrator execute {plan_id} --dry-run",
            "The same way with each conversation, opening and sealing included, and nothing written.",
        )
        with open_campaign(self.at(-DAY), read_only=True) as campaign:
            summary = coordinator.execute(campaign, plan_id, RunOptions(dry_run=True), self.progress, _NeverStops())
        self.tell.outcomes(summary)

    def execute(self, plan_id: str) -> RunSummary:
        """`migrator execute`, the day after the cutover."""
        self.tell.station(
            f"migrator execute {plan_id}, the day after the cutover",
            "Opened under the users' keys, sealed under the key service's, committed conversation by conversation.",
            "It could be killed at any moment: `migrator resume` would go on.",
        )
        with open_campaign(self.at(DAY)) as campaign:
            summary = coordinator.execute(campaign, plan_id, RunOptions(), self.progress, _NeverStops())
        self.tell.outcomes(summary)
        return summary

    def verify(self, run: RunSummary) -> bool:
        """`migrator verify`."""
        self.tell.station(
            "migrator verify",
            "Everything is opened again, from both sides, and compared; every count has to agree with every other.",
        )
        with open_campaign(self.at(DAY)) as campaign:
            found = verification.verify(campaign, run.run_id, sample=None, progress=self.progress)
        self.tell.verified(found)
        return found.ok

    def report(self, run: RunSummary) -> bool:
        """`migrator report --save report`, and the comparison with the world's own truth."""
        self.tell.station("migrator report --save report", "Each conversation with its outcome, and digests of it all.")
        with open_campaign(self.at(DAY)) as campaign:
            reporting.save(campaign, run.run_id, self.directory / "report", None)
        wanted = {name: (e.outcome, e.messages, e.gaps) for name, e in expect(self.world, "every_participant").items()}
        found = {}
        for line in (self.directory / "report" / "conversations.jsonl").read_text().splitlines():
            entry = json.loads(line)
            found[entry["conversation_id"]] = (entry["outcome"], entry["messages"], entry["gaps"])
        differing = sum(1 for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        outcomes = sum(count.conversations for count in run.counts.values())
        messages = sum(count.messages + count.gaps for count in run.counts.values())
        self.tell.fact(f"{len(self.world.copies):,} conversations in the store, {outcomes:,} outcomes, "
                  f"{len(found):,} lines in the report")  # fmt: skip
        self.tell.fact(f"{messages:,} messages accounted for")
        self.tell.line(
            f"  {len(wanted) - differing:,} outcomes are what the synthetic world has coming, {differing:,} are not"
        )
        return differing == 0

    def what_next(self, program: str) -> None:
        """Commands that work in the folder."""
        first = next(iter(self.readable()), None)
        self.tell.line("")
        self.tell.line("Now try, in that folder:")
        self.tell.fact(f"cd {self.directory}")
        tries = [
            "status",
            *([f"read '{first}' --reason 'trying it out'"] if first else []),
            "audit show --type conversation.rewrapped --limit 3",
            "exports import hand-in/late    # keys that come late",
            "plan                             # takes up just what they open",
            "rollback                         # and everything is sealed as before",
        ]
        for command in tries:
            self.tell.fact(f"{program} {command}")

    def readable(self) -> Iterator[str]:
        """Conversations that were migrated, and whose ids look well on a command line."""
        for line in (self.directory / "report" / "conversations.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["outcome"] == "rewrapped" and entry["conversation_id"].isprintable():
                yield entry["conversation_id"]

    def at(self, offset: timedelta) -> CampaignSpec:
        """The campaign at a time relative to the cutover."""
        clock = FixedClock(self.cutover + offset)
        return CampaignSpec(settings=self.settings, directory=self.directory, clock=clock, actor="demo")
