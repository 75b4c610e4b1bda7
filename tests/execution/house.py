"""A campaign over a homeserver that a test makes by hand: a room of two, its sessions handed in, nothing run yet."""

import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution.runs import RunSummary
from migrator.rollback.rolling import RollbackResult, rollback
from migrator.verification.findings import Verification
from migrator.verification.verifying import verify
from tests.execution.bench import Bench
from tests.support.synapse import DOMAIN, Homeserver

ADA, BOB = f"@ada:{DOMAIN}", f"@bob:{DOMAIN}"
ROOM = "!room"
SOURCE = {"kind": "synapse", "url": "sqlite:///store.db", "local_domain": DOMAIN, "legal_holds": "holds.txt"}


class House(Bench):
    """A campaign over a homeserver with a room of two, in which three things were said, and one that has no key."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        source = SOURCE | sections.pop("source", {})
        super().__init__(folder, source=source, authorization={"quorum": "every_participant"}, **sections)
        (folder / "holds.txt").write_text("", encoding="utf-8")
        (folder / "store.db").unlink()
        self.home = Homeserver(folder / "store.db")
        for name in ("ada", "bob"):
            user_id = self.home.user(name)
            self.answer(user_id, "grant")
            self.notice(user_id)
        self.home.room(ROOM, ADA, BOB)
        self.said = [self.home.message(ROOM, sender) for sender in (ADA, BOB, ADA)]
        self.lost = self.home.message(ROOM, BOB, session="lost")
        self.sessions(ADA, "session-1")

    def copied(self, folder: Path) -> "House":
        """The same campaign and homeserver in another place, as it stands."""
        shutil.copytree(self.folder, folder)
        made = copy(self)
        made.folder = folder
        made.spec = replace(self.spec, directory=folder)
        made._engine = made._connect()
        made.home = Homeserver(folder / "store.db", first=100)
        return made

    def sessions(self, account_id: str, *sessions: str) -> None:
        """A keys export of these sessions of the room."""
        entries = [{"conversation_id": ROOM, "session_id": session} for session in sessions]
        self.export(account_id, entries, {ROOM: (1, [{"session_id": session} for session in sessions])})

    def shown(self) -> tuple[list[str], dict[str, str]]:
        """Ids of the messages that readers see, and the gaps."""
        messages = [row["message_id"] for row in self.all(tables.message)]
        return sorted(messages), {row["message_id"]: row["reason"] for row in self.all(tables.gap)}

    def counts(self) -> tuple[str, int, int]:
        """Mode and counts of the room."""
        (row,) = self.all(tables.conversation)
        return row["mode"], row["message_count"], row["gap_count"]

    def decision(self) -> str:
        """What a new plan decides for the room."""
        plan_id = self.plan().plan_id
        (item,) = [row for row in self.all(tables.plan_item) if row["plan_id"] == plan_id]
        return str(item["decision"])

    def verified(self, run: RunSummary | None = None) -> Verification:
        """Verify a run, by default the latest, whole."""
        with self.open() as campaign:
            found = verify(campaign, None if run is None else run.run_id, sample=None, progress=NoProgress())
        assert found.ok, found.mismatches
        return found

    def roll_back(self, run: RunSummary) -> RollbackResult:
        """Undo a run."""
        with self.open() as campaign:
            return rollback(campaign, run.run_id, NoProgress())


class HouseOnPostgresql(House):
    """The same with migrator's database in PostgreSQL."""

    def _connect(self) -> sa.Engine:
        url = self.spec.settings.database.url.replace("postgresql://", "postgresql+psycopg://")
        return sa.create_engine(url, poolclass=sa.NullPool)
