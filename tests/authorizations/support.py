"""A small campaign with everything real in it: source, key service, migrator database, audit log, published notice."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from migrator import recipient_key, setup
from migrator.campaign import Campaign, CampaignSpec
from migrator.core.clock import FixedClock, format_time
from migrator.core.encoding import b64url_encode
from migrator.core.settings import Settings
from migrator.database import tables
from migrator.stores import labyrinth_tables as source
from tests.core.records import NOW, key, payload, public, sign

PHONES = {"alice": 1, "bob": 2, "parent": 3, "child": 4}
CONSENT = 9
SHA256 = "ab" * 32


def initialise(folder: Path, **sections: dict[str, Any]) -> CampaignSpec:
    """Make source and campaign in a folder."""
    settings = Settings.model_validate(
        {
            "campaign": {"name": "test", "cutover_at": "2026-05-08T00:00:00Z"},
            "source": {"url": "sqlite:///store.db"},
            "authorization": {"issuers": {"consent": b64url_encode(public(key(CONSENT)))}},
            **sections,
        }
    )
    _make_source(folder)
    spec = CampaignSpec(settings=settings, directory=folder, clock=FixedClock(NOW), actor="tester")
    setup.initialise(spec)
    campaign = Campaign(spec)
    with campaign.database.write("test") as connection:
        connection.execute(
            tables.notice_template.insert().values(
                notice_id="cutover", version="3", locale="de", sha256=SHA256, source="", published_at=format_time(NOW)
            )
        )
    campaign.close()
    return spec


def _make_source(folder: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{folder / 'store.db'}")
    source.metadata.create_all(engine)
    added = format_time(NOW - timedelta(days=100))
    with engine.begin() as connection:
        for account_id, seed in PHONES.items():
            minor = account_id == "child"
            connection.execute(
                source.account.insert().values(
                    account_id=account_id, locale="de", timezone="Europe/Berlin", region="EU", jurisdiction="DE",
                    age_band="minor" if minor else "adult", guardian_account_id="parent" if minor else None,
                    status="active", created_at=added,
                )
            )  # fmt: skip
            connection.execute(
                source.device.insert().values(
                    device_id=f"{account_id}-phone", account_id=account_id, signing_key=public(key(seed)),
                    added_at=added,
                )
            )  # fmt: skip
            connection.execute(source.inbox.insert().values(inbox_id=f"{account_id}-inbox", account_id=account_id))
    engine.dispose()
    add_thread(folder, "alice", "bob")


def add_thread(folder: Path, owner: str, other: str) -> None:
    """A direct thread in one mailbox."""
    change_source(
        folder,
        source.thread.insert().values(inbox_id=f"{owner}-inbox", thread_id=other, kind="direct"),
        source.thread_member.insert().values(inbox_id=f"{owner}-inbox", thread_id=other, account_id=owner),
        source.thread_member.insert().values(inbox_id=f"{owner}-inbox", thread_id=other, account_id=other),
    )


def change_source(folder: Path, *statements: sa.Executable) -> None:
    """What the platform does meanwhile."""
    engine = sa.create_engine(f"sqlite:///{folder / 'store.db'}")
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)
    engine.dispose()


class Desk:
    """Writes records of this campaign and looks at what became of them."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.folder = campaign.spec.directory
        with campaign.database.read() as connection:
            self.recipient_key_id = recipient_key.current(connection).recipient_key_id

    def record(self, account_id: str = "alice", *, signer: int | None = None, **changes: Any) -> str:
        """A record of an account by its own phone, valid unless changed."""
        members: dict[str, Any] = {
            "record_id": str(uuid.uuid4()),
            "account_id": account_id,
            "device_id": f"{account_id}-phone",
            "recipient_key_id": self.recipient_key_id,
            **changes,
        }
        seed = PHONES.get(account_id, 99) if signer is None else signer
        return sign(payload(**members), key(seed), kid=members["device_id"])

    def guardians(self, **changes: Any) -> str:
        """A record of the child, by the parent's phone."""
        actor = {"kind": "guardian", "account_id": "parent"}
        return self.record("child", signer=PHONES["parent"], device_id="parent-phone", actor=actor, **changes)

    def issuers(self, account_id: str = "alice", issuer: str = "consent", **changes: Any) -> str:
        """A record of an account by the consent service."""
        members: dict[str, Any] = {
            "record_id": str(uuid.uuid4()),
            "account_id": account_id,
            "recipient_key_id": self.recipient_key_id,
            "actor": {"kind": "self", "attested_by": issuer},
            "device_id": None,
            **changes,
        }
        return sign(payload(**members), key(CONSENT), kid=f"issuer:{issuer}")

    def jws(self, text: str, name: str = "record.jws") -> Path:
        """A file with one record."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def jsonl(self, texts: Sequence[str], name: str = "records.jsonl") -> Path:
        """A file with one record a line."""
        return self.jws("".join(f"{text}\n" for text in texts), name)

    def rows(self) -> list[dict[str, Any]]:
        """What is recorded, in order."""
        with self.campaign.database.read() as connection:
            query = sa.select(tables.authorization).order_by(tables.authorization.c.authorization_no)
            return [dict(row) for row in connection.execute(query).mappings()]

    def scopes(self) -> list[tuple[int, str]]:
        """The threads that records cover."""
        table = tables.authorization_scope
        with self.campaign.database.read() as connection:
            query = sa.select(table).order_by(table.c.authorization_no, table.c.thread_key)
            return [(row[0], row[1]) for row in connection.execute(query)]

    def events(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        """Events about authorisations: verb, subject, data."""
        table = tables.outbox
        with self.campaign.database.read() as connection:
            query = sa.select(table.c.type, table.c.subject, table.c.data).order_by(table.c.outbox_no)
            found = [(row[0], row[1], json.loads(row[2])) for row in connection.execute(query)]
        return [
            (kind.split(".")[1], subject, data) for kind, subject, data in found if kind.startswith("authorization.")
        ]

    def version(self) -> int:
        """How often the authorisations have changed."""
        with self.campaign.database.read() as connection:
            return int(connection.execute(sa.select(tables.campaign.c.authorization_version)).scalar_one())


def at(moment: datetime, spec: CampaignSpec) -> CampaignSpec:
    """The same campaign with its clock at another moment."""
    return CampaignSpec(settings=spec.settings, directory=spec.directory, clock=FixedClock(moment), actor=spec.actor)
