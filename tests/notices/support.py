"""A campaign with accounts in a Labyrinth store, ready to send notices."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import rfc8785
import sqlalchemy as sa

from migrator import setup
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.clock import FixedClock
from migrator.database import tables
from migrator.stores import labyrinth_tables
from tests.campaign_spec import campaign_spec

NOW = datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=UTC)
PLAIN = """Subject: About {{ platform }}

# What [what]

It changes at {{ cutover_at }}, and nothing is opened before {{ opens_at }}.

# Else [default]

It is kept sealed until {{ sealed_until }}.

# You [choices]

Say yes or no in the app.

# Who [whose]

Everybody.

# Genuine [genuine]

See in the app.
"""
"""The shortest notice that may be sent under any id."""


def account_row(account_id: str, **columns: Any) -> dict[str, Any]:
    """An account of the source: an adult with an address who reads English in Berlin."""
    row = {
        "account_id": account_id,
        "email": f"{account_id}@example.org",
        "locale": "en",
        "timezone": "Europe/Berlin",
        "region": "EU",
        "jurisdiction": "DE",
        "age_band": "adult",
        "guardian_account_id": None,
        "status": "active",
        "created_at": "2020-01-01T00:00:00Z",
    }
    return {**row, **columns}


def put_accounts(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Make the source if need be, and put accounts in."""
    engine = sa.create_engine(f"sqlite:///{folder}/store.db")
    labyrinth_tables.metadata.create_all(engine)
    with engine.begin() as connection:
        for row in rows:
            connection.execute(sa.delete(labyrinth_tables.account).where(
                labyrinth_tables.account.c.account_id == row["account_id"]
            ))  # fmt: skip
            connection.execute(labyrinth_tables.account.insert(), row)
    engine.dispose()


def make_spec(folder: Path, **sections: dict[str, Any]) -> CampaignSpec:
    """The campaign's settings at `NOW`."""
    return replace(campaign_spec(folder, **sections), clock=FixedClock(NOW))


@contextmanager
def opened(folder: Path, rows: list[dict[str, Any]] | None = None, **sections: dict[str, Any]) -> Iterator[Campaign]:
    """An initialised campaign over these accounts, open."""
    if rows is not None:
        put_accounts(folder, rows)
    spec = make_spec(folder, **sections)
    setup.initialise(spec)
    with open_campaign(spec) as campaign:
        yield campaign


def own_templates(folder: Path, **files: str) -> dict[str, Any]:
    """The operator's folder with these templates, names with `_` for `.`; the setting that names it."""
    (folder / "notices").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "notices" / f"{name.replace('_', '.')}.txt").write_text(text)
    return {"templates": "notices"}


def shown_sha256(message: EmailMessage) -> str:
    """The digest of what a message shows: subject, text, HTML, lines ending in LF."""
    parts = [message.get_body((kind,)) for kind in ("plain", "html")]
    shown = [str(message["Subject"]), *(part.get_content().replace("\r\n", "\n") for part in parts if part is not None)]
    return hashlib.sha256(rfc8785.dumps(shown)).hexdigest()


def notice_rows(campaign: Campaign) -> dict[str, dict[str, Any]]:
    """What is recorded, by account."""
    with campaign.database.read() as connection:
        rows = connection.execute(sa.select(tables.notice)).mappings()
        return {row["account_id"]: dict(row) for row in rows}
