"""Campaigns on synthetic stores for tests of the command line, each brought to the point that a test begins at."""

import mailbox
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fixtures.media import attachments
from fixtures.store import write_store
from fixtures.world import Shape, UserShares, World
from migrator import config, setup
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.clock import FixedClock
from migrator.core.lifecycle import StopReason
from migrator.core.progress import NoProgress
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions
from migrator.planning import making
from tests.notices.test_receipts import bounce
from tests.support import campaigns, operators
from tests.support.campaigns import ANSWERED, NAME, NOTICED, RUN
from tests.support.key_services import rotate_keyset

TODAY: Final = "2026-05-09T00:00:00Z"
"""What `MIGRATOR_NOW` is while a test calls the program."""
_USERS: Final = UserShares(late_export=0.1, partial_export=0.1)
SHAPE: Final = Shape(accounts=40, conversations=60, messages=900, seed=3, users=_USERS)


class Stop:
    """Asks a run to stop before it has begun; or never."""

    def __init__(self, requested: StopReason | None) -> None:
        self.requested = requested


def spec_of(folder: Path) -> CampaignSpec:
    """The campaign in a folder, the day after its cutover."""
    settings = config.load(folder / "migrator.toml", {}, {}).settings
    return CampaignSpec(settings=settings, directory=folder, clock=FixedClock(RUN), actor="tester")


def collected(folder: Path, shape: Shape = SHAPE) -> None:
    """Store, campaign, notices sent, everything handed in and imported; `hand-in/late` is still to come."""
    world = World(shape)
    write_store(world, f"sqlite:///{folder / 'store.db'}")
    path = folder / "migrator.toml"
    config.write_example(path, {"campaign.name": NAME})
    path.write_text(path.read_text(encoding="utf-8").replace('"50/s"', '"1000000/s"'), encoding="utf-8")
    spec = spec_of(folder)
    setup.initialise(campaigns.at(spec, NOTICED))
    campaigns.notify(campaigns.at(spec, NOTICED))
    campaigns.write_hand_in(campaigns.at(spec, ANSWERED), world)
    campaigns.import_authorizations(campaigns.at(spec, ANSWERED))
    campaigns.import_exports(campaigns.at(spec, ANSWERED))


def planned(folder: Path) -> None:
    """A plan was made."""
    with open_campaign(spec_of(folder)) as campaign:
        making.make_plan(campaign, save=None, progress=NoProgress())


def with_attachments(folder: Path) -> None:
    """One message in twenty has an attachment, the settings say so, and a plan was made."""
    with sqlite3.connect(folder / "store.db") as store:
        messages = store.execute("SELECT inbox_id, thread_id, sent_at, message_id FROM message").fetchall()
        rows = list(attachments(messages, 0.05, 1, folder / "media"))
        store.executemany("INSERT INTO attachment VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    store.close()
    path = folder / "migrator.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in (("media", "media"), ("target", "file:blobs")):
        text = re.sub(rf"^# {name} = .*", f'{name} = "{value}"', text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    planned(folder)


def executed(folder: Path, stop: StopReason | None = None) -> None:
    """A plan was made and run: to its end, or until it was asked to stop at once."""
    with open_campaign(spec_of(folder)) as campaign:
        plan = making.make_plan(campaign, save=None, progress=NoProgress())
        coordinator.execute(campaign, plan.plan_id, RunOptions(workers=1), NoProgress(), Stop(stop))


def with_cohorts(folder: Path) -> None:
    """Parts of the population have names; the staff are those who share a thread, and others."""
    with sqlite3.connect(folder / "store.db") as store:
        accounts = [row[0] for row in store.execute("SELECT account_id FROM account ORDER BY account_id")]
    (folder / "staff.txt").write_text("\n".join(accounts[: len(accounts) // 2]) + "\n", encoding="utf-8")
    path = folder / "migrator.toml"
    cohorts = '\n[cohorts]\ncanary = "20%"\nstaff = "file:staff.txt"\n'
    path.write_text(path.read_text(encoding="utf-8") + cohorts, encoding="utf-8")


def went_on(folder: Path) -> None:
    """A run was executed, and then two clients wrote end-to-end encrypted again, into threads that were migrated."""
    executed(folder)
    names = rows(folder, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'server' ORDER BY 1 LIMIT 2")
    with sqlite3.connect(folder / "store.db") as store:
        for inbox, _, thread in (name.partition("/") for (name,) in names):
            columns = "sender_id, epoch_id, version, encrypted_message_data"
            store.execute(
                f"INSERT INTO message (inbox_id, thread_id, sent_at, message_id, {columns}) "
                f"SELECT inbox_id, thread_id, sent_at + 1000, 'later', {columns} FROM message "
                "WHERE inbox_id = ? AND thread_id = ? ORDER BY sent_at DESC LIMIT 1",
                (inbox, thread),
            )


def some_failed(folder: Path) -> None:
    """A run ended with failures, and the platform's people have mended the rows of the source since."""
    with sqlite3.connect(folder / "store.db") as store:
        some = "(SELECT inbox_id FROM inbox ORDER BY inbox_id LIMIT 15)"
        store.execute(f"UPDATE message SET message_id = CAST(message_id AS BLOB) WHERE inbox_id IN {some}")
    executed(folder)
    with sqlite3.connect(folder / "store.db") as store:
        store.execute("UPDATE message SET message_id = CAST(message_id AS TEXT)")


def misinformed(folder: Path) -> None:
    """Notices were sent, and the operator has a folder for mended ones."""
    (folder / "notices").mkdir()
    path = folder / "migrator.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("[notify]\n", '[notify]\ntemplates = "notices"\n'))


def out_of_its_window(folder: Path) -> None:
    """A run was completed whose rollback window is over at once, in a store without attachments."""
    path = folder / "migrator.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rollback_window_days = 30", "rollback_window_days = 0"), encoding="utf-8")
    with sqlite3.connect(folder / "store.db") as store:
        store.execute("DELETE FROM attachment")
    executed(folder)


def stopped(folder: Path) -> None:
    """A run was interrupted at its first checkpoint."""
    executed(folder, StopReason.INTERRUPTED)


def throttled(folder: Path) -> None:
    """A run was interrupted at its first checkpoint, in a campaign with flag files."""
    path = folder / "migrator.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("# throttle_flag_file", "throttle_flag_file").replace("# panic_flag", "panic_flag"))
    stopped(folder)


def killed(folder: Path) -> None:
    """A run's process was killed at its first checkpoint."""
    stopped(folder)
    change(folder, "UPDATE migrator_run SET state = 'running', stop_reason = NULL")


def held_elsewhere(folder: Path) -> None:
    """A run is at work on another machine, which was heard of a moment ago."""
    killed(folder)
    change(
        folder,
        "UPDATE migrator_lease SET holder = 'elsewhere/boot/1/1', purpose = 'execute', "
        "heartbeat_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
    )


def planned_by_operators(folder: Path) -> None:
    """A plan waits for Alice and Bob, whose keys lie here."""
    with open_campaign(spec_of(folder)) as campaign:
        making.make_plan(campaign, save=None, progress=NoProgress())
    operators.allow(folder)
    operators.key_file(folder / "alice-key", operators.ALICE)
    operators.key_file(folder / "bob-key", operators.BOB)


def damaged(folder: Path) -> None:
    """A bit of one stored message was flipped after the run."""
    executed(folder)
    connection = sqlite3.connect(folder / "migrator.db", isolation_level=None)
    *key, data = connection.execute(
        "SELECT conversation_no, sent_at, message_id, ciphertext FROM migrator_message LIMIT 1"
    ).fetchone()
    connection.execute(
        "UPDATE migrator_message SET ciphertext = ? WHERE conversation_no = ? AND sent_at = ? AND message_id = ?",
        (data[:-1] + bytes([data[-1] ^ 1]), *key),
    )
    connection.close()


def rotated(folder: Path) -> None:
    """A run was executed, and then the local wrapping key rotated."""
    executed(folder)
    rotate_keyset(folder / "keys" / "migrator.json")


def change(folder: Path, statement: str) -> None:
    """Somebody changes the migrator database."""
    connection = sqlite3.connect(folder / "migrator.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


def bounced(folder: Path) -> None:
    """A notice came back, into a Maildir that the operator reads."""
    key = ask(folder, "SELECT delivery_key FROM migrator_notice WHERE state = 'sent' ORDER BY account_id LIMIT 1")
    mailbox.Maildir(folder / "bounces").add(bounce(message_id=f"<{key}@localhost>"))


def rows(folder: Path, query: str) -> list[tuple[str, ...]]:
    """Rows out of the migrator database."""
    connection = sqlite3.connect(folder / "migrator.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def ask(folder: Path, query: str) -> str:
    """One value out of the migrator database, as text."""
    connection = sqlite3.connect(folder / "migrator.db")
    try:
        return str(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


def newest_plan(folder: Path) -> str:
    """Id of the latest plan."""
    return ask(folder, "SELECT plan_id FROM migrator_plan ORDER BY plan_no DESC LIMIT 1")


def newest_run(folder: Path) -> str:
    """Id of the latest run."""
    return ask(folder, "SELECT run_id FROM migrator_run ORDER BY run_no DESC LIMIT 1")


def migrated(folder: Path) -> str:
    """Id of a conversation that has visible history."""
    return ask(folder, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'server' LIMIT 1")


class Templates:
    """Makes a collected campaign once, and copies it for whoever asks.

    What has a plan can't be copied: a plan is bound to the place of its source.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def copy(self, kind: Callable[[Path], None] | None, into: Path) -> Path:
        """A copy of the collected campaign, brought further by `kind`."""
        if not self._place.exists():
            unfinished = self._place.with_suffix(".unfinished")
            unfinished.mkdir()
            collected(unfinished)
            unfinished.rename(self._place)
        shutil.copytree(self._place, into, dirs_exist_ok=True)
        if kind is not None:
            kind(into)
        return into
