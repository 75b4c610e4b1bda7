"""A campaign over a small Labyrinth store, and exports for it."""

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator import recipient_key, setup
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.client.sealing import Recipient
from migrator.client.signing import Signer
from migrator.core.clock import FixedClock, format_time
from migrator.core.encoding import b64url_encode
from migrator.core.export import MANIFEST_NAME, MANIFEST_TYP, part_info, part_name
from migrator.core.settings import Settings
from migrator.database import tables
from migrator.exports.importing import import_paths
from tests.exports.tars import END, member

NOW = datetime(2026, 5, 8, 12, tzinfo=UTC)
CREATED = NOW - timedelta(days=1)
DEVICES = {
    "phone": ("alice", "2026-01-01T00:00:00Z", None),
    "late": ("alice", "2026-05-08T06:00:00Z", None),
    "stolen": ("alice", "2026-01-01T00:00:00Z", "2026-05-08T11:00:00Z"),
    "old": ("alice", "2025-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
    "bobs": ("bob", "2026-01-01T00:00:00Z", None),
}
"""Device → (account, added, revoked)."""
ALICE = ("in-alice/bob", "in-alice/carol", "in-alice/dave")
BOB = ("in-bob/alice",)
CONSENT = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)

_STORE = """
CREATE TABLE account (account_id TEXT PRIMARY KEY, email TEXT, locale TEXT, timezone TEXT, region TEXT,
  jurisdiction TEXT, age_band TEXT, guardian_account_id TEXT, status TEXT, created_at TEXT);
CREATE TABLE device (device_id TEXT PRIMARY KEY, account_id TEXT, signing_key BLOB, added_at TEXT, revoked_at TEXT);
CREATE TABLE inbox (inbox_id TEXT PRIMARY KEY, account_id TEXT);
CREATE TABLE epoch (inbox_id TEXT, epoch_id TEXT, epoch_sequence INTEGER, PRIMARY KEY (inbox_id, epoch_id));
CREATE TABLE thread (inbox_id TEXT, thread_id TEXT, kind TEXT, PRIMARY KEY (inbox_id, thread_id));
CREATE TABLE thread_member (inbox_id TEXT, thread_id TEXT, account_id TEXT,
  PRIMARY KEY (inbox_id, thread_id, account_id));
CREATE TABLE message (inbox_id TEXT, thread_id TEXT, message_id TEXT, sent_at INTEGER, sender_id TEXT, epoch_id TEXT,
  version INTEGER, encrypted_message_data BLOB, PRIMARY KEY (inbox_id, thread_id, sent_at, message_id));
CREATE TABLE attachment (inbox_id TEXT, attachment_id TEXT, thread_id TEXT, message_id TEXT, blob_uri TEXT,
  size INTEGER, sha256 BLOB, PRIMARY KEY (inbox_id, attachment_id));
CREATE TABLE legal_hold (account_id TEXT, placed_at TEXT, released_at TEXT, PRIMARY KEY (account_id, placed_at));
"""


def device_key(device_id: str) -> Ed25519PrivateKey:
    """The signing key of a device of the store."""
    return Ed25519PrivateKey.from_private_bytes(device_id.encode().ljust(32, b"\1"))


def make_store(path: Path) -> None:
    """Alice has three threads, Bob has one, Carol and Dave have accounts."""
    with sqlite3.connect(path) as store:
        store.executescript(_STORE)
        for account in ("alice", "bob", "carol", "dave"):
            store.execute(
                "INSERT INTO account VALUES (?,NULL,'en','UTC','EU','DE','adult',NULL,'active','2020-01-01T00:00:00Z')",
                (account,),
            )
            store.execute("INSERT INTO inbox VALUES (?,?)", (f"in-{account}", account))
        for device_id, (account, added, revoked) in DEVICES.items():
            public = device_key(device_id).public_key().public_bytes_raw()
            store.execute("INSERT INTO device VALUES (?,?,?,?,?)", (device_id, account, public, added, revoked))
        for conversation in ALICE + BOB:
            inbox, thread = conversation.split("/")
            store.execute("INSERT INTO thread VALUES (?,?,'direct')", (inbox, thread))
            members = {inbox.removeprefix("in-"), thread}
            store.executemany("INSERT INTO thread_member VALUES (?,?,?)", [(inbox, thread, m) for m in sorted(members)])
            store.execute("INSERT INTO message VALUES (?,?,'m1',1,?,'e1',4,?)", (inbox, thread, thread, b"x" * 60))
    store.close()


_sections: dict[str, dict[str, str]] = {}


@contextmanager
def database_at(url: str) -> Iterator[None]:
    """Have campaigns use another database than the embedded one for a while."""
    _sections["database"] = {"url": url}
    try:
        yield
    finally:
        _sections.clear()


def spec_in(folder: Path, *, kem: str = "X25519", now: datetime = NOW) -> CampaignSpec:
    """A campaign's settings over the store in a folder."""
    settings = Settings.model_validate(
        {
            "campaign": {"name": "dm", "cutover_at": "2026-05-08T00:00:00Z"},
            "source": {"url": "sqlite:///store.db"},
            "keys": {"recipient_kem": kem},
            "authorization": {"issuers": {"consent": b64url_encode(CONSENT.public_key().public_bytes_raw())}},
            **_sections,
        }
    )
    return CampaignSpec(settings=settings, directory=folder, clock=FixedClock(now), actor="tester")


@contextmanager
def campaign_in(folder: Path, *, kem: str = "X25519") -> Iterator[Campaign]:
    """A campaign that is set up, over a fresh store."""
    make_store(folder / "store.db")
    setup.initialise(spec_in(folder, kem=kem))
    with open_campaign(spec_in(folder)) as campaign:
        yield campaign


def recipient_of(campaign: Campaign) -> Recipient:
    """The campaign's public key, as clients have it."""
    with campaign.database.read() as connection:
        key = recipient_key.current(connection)
    return Recipient(recipient_key_id=key.recipient_key_id, kem=key.kem, public_key=key.public_key)


def key(conversation_id: str, secret: int, *, epoch: str = "e1", version: int = 4) -> dict[str, Any]:
    """A line of a `keys` export."""
    return {
        "conversation_id": conversation_id,
        "epoch_id": epoch,
        "epoch_sequence": 1,
        "version": version,
        "message_key": b64url_encode(bytes([secret]) * 32),
    }


def message(conversation_id: str, number: int, content: str = "hello") -> dict[str, Any]:
    """A line of a `history` export."""
    return {
        "conversation_id": conversation_id,
        "message_id": f"m{number}",
        "sender_id": "bob",
        "sent_at": number,
        "content_type": "text/plain",
        "content": content,
    }


def jsonl(*entries: Mapping[str, Any]) -> bytes:
    """Lines of a part."""
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


class Export:
    """One export in the making, every piece of which a test may spoil. `parts` are plaintexts."""

    def __init__(self, campaign: Campaign, parts: Sequence[bytes] = (), /, **changes: Any) -> None:
        recipient = changes.pop("recipient", None) or recipient_of(campaign)
        self.signer = changes.pop("signer", None) or Signer.device("phone", device_key("phone"))
        self.export_id = changes.get("export_id", str(uuid.uuid4()))
        self.sealed = [recipient.seal(part, part_info(self.export_id, number)) for number, part in enumerate(parts)]
        listed = changes.pop("listed", ALICE)
        self.manifest: dict[str, Any] = {
            "schema": "migrator.export/1",
            "export_id": self.export_id,
            "campaign": "dm",
            "account_id": "alice",
            "device_id": self.signer.device_id,
            "kind": "keys",
            "scheme": "labyrinth",
            "created_at": format_time(CREATED),
            "recipient_key_id": recipient.recipient_key_id,
            "conversations": [
                {"id": c, "coverage": [{"epoch_id": "e1", "versions": [4]}], "messages": 1} for c in listed
            ],
            "parts": [{"sha256": hashlib.sha256(sealed).hexdigest(), "size": len(sealed)} for sealed in self.sealed],
        } | changes

    def replace_part(self, number: int, sealed: bytes) -> None:
        """Put something else where a part was, and let the manifest list that."""
        self.sealed[number] = sealed
        self.manifest["parts"][number] = {"sha256": hashlib.sha256(sealed).hexdigest(), "size": len(sealed)}

    def members(self) -> list[tuple[str, bytes]]:
        """The archive's members in order."""
        token = self.signer.sign(self.manifest, typ=MANIFEST_TYP).encode()
        return [(MANIFEST_NAME, token), *((part_name(number), part) for number, part in enumerate(self.sealed))]

    def archive(self) -> bytes:
        """The archive as it should be."""
        return b"".join(member(name.encode(), content) for name, content in self.members()) + END

    def save(self, path: Path) -> Path:
        """Write it down."""
        path.write_bytes(self.archive())
        return path


def record(campaign: Campaign, folder: Path, *exports: Export) -> None:
    """Import exports that must be recorded, in this order."""
    for number, export in enumerate(exports):
        result = import_paths(campaign, [export.save(folder / f"{number:03d}-{export.export_id}.export.tar")])
        assert (result.recorded, result.refused) == (1, ())


def rows(campaign: Campaign, table: sa.Table) -> list[dict[str, Any]]:
    """Everything in a table."""
    with campaign.database.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def events(campaign: Campaign) -> list[tuple[str, str | None, dict[str, Any]]]:
    """What the outbox says about exports: type, subject, data."""
    return [
        (row["type"], row["subject"], json.loads(row["data"]))
        for row in rows(campaign, tables.outbox)
        if row["type"].startswith("export.")
    ]
