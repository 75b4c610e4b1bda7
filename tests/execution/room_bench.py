"""A campaign over rooms in memory, whose rows a test lays by hand."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator import recipient_key, setup
from migrator.campaign import Campaign, CampaignSpec
from migrator.client.sealing import Recipient
from migrator.core.clock import FixedClock
from migrator.core.model import MessageRow
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.rollback.rolling import rollback
from migrator.schemes.megolm import MegolmScheme
from migrator.verification.findings import Verification
from migrator.verification.verifying import verify
from tests.execution.bench import NOTICED, NOW, Bench, settings_of
from tests.stores.mailboxes import Mailboxes
from tests.stores.rooms import RoomStore
from tests.support.megolm import ALICE, MALLORY, ROOM, Sending


class RoomBench(Bench):
    """One room of Alice's and Mallory's; Alice granted everything."""

    def __init__(self, folder: Path, *, url: str | None = None, **sections: Mapping[str, Any]) -> None:
        given = {"authorization": {"quorum": "any_participant"}} | sections
        if url is None:
            super().__init__(folder / "campaign", **given)
        else:
            self._on_a_server(folder / "campaign", url, given)
        self.rooms = RoomStore()
        self.rooms.room(ROOM, (ALICE, MALLORY))
        self.answer(ALICE, "grant")
        self.notice(ALICE)

    def _on_a_server(self, folder: Path, url: str, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        folder.mkdir()
        Mailboxes(folder / "store.db").close()
        settings = settings_of({**sections, "database": {"url": url}})
        self.spec = CampaignSpec(settings=settings, directory=folder, clock=FixedClock(NOTICED), actor="tester")
        setup.initialise(self.spec)
        self.at(NOW)
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        with self._engine.begin() as connection:
            key = recipient_key.current(connection)
        self.recipient = Recipient(recipient_key_id=key.recipient_key_id, kem=key.kem, public_key=key.public_key)

    @contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """The migrator database as somebody uses it who is not migrator."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def open(self, *, read_only: bool = False) -> Iterator[Campaign]:
        """The campaign, open, with the rooms for a source."""
        with super().open(read_only=read_only) as campaign:
            campaign.__dict__["store"] = self.rooms
            campaign.__dict__["scheme"] = MegolmScheme()
            yield campaign

    def hand_over(self, *entries: Mapping[str, Any], account_id: str = ALICE) -> int:
        """An account's export of sessions of the room."""
        line = {"conversation_id": ROOM, "sessions": list(entries)}
        coverage = [{"session_id": e["session_id"], "first_index": 0} for e in entries]
        return self.export(account_id, [line], {ROOM: (1, coverage)})

    def send(self, sending: Sending, numbers: Sequence[int]) -> list[MessageRow]:
        """Messages of a session at these times, which say their number."""
        rows = [sending.row(number, sending.send(str(number))) for number in numbers]
        self.rooms.add(ROOM, *rows)
        return rows

    def gaps(self) -> dict[str, str]:
        """Reasons by message."""
        return {row["message_id"]: row["reason"] for row in self.all(tables.gap)}

    def shown(self) -> set[str]:
        """Messages that are stored."""
        return {row["message_id"] for row in self.all(tables.message)}

    def claims(self) -> dict[str, tuple[bytes, str]]:
        """Claim and run by message."""
        return {row["message_id"]: (row["claim"], row["run_id"]) for row in self.all(tables.claim)}

    def verify(self) -> Verification:
        """The latest run, all of it."""
        with self.open() as campaign:
            return verify(campaign, None, sample=None, progress=NoProgress())

    def roll_back(self, run_id: str | None = None) -> None:
        """A run, the latest unless one is named."""
        with self.open() as campaign:
            rollback(campaign, run_id, NoProgress())

    def tamper(self, statement: str) -> None:
        """What somebody does to migrator's database."""
        with self.database() as connection:
            connection.execute(sa.text(statement))


def copy_of(row: MessageRow, number: int, sender: str = ALICE) -> MessageRow:
    """The same ciphertext in another event."""
    return (number, f"$copy{number}", sender, *row[3:])
