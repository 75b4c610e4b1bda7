"""The audit log for those who may link it to people."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import audit_review
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.audit.query import Filters
from migrator.audit.references import ensure_salts
from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import UsageError
from migrator.database import tables
from migrator.stores import labyrinth_tables as source
from tests.notices.support import NOW, account_row, make_spec, opened


def _prepare(campaign: Campaign, folder: Path) -> None:
    """Ana owns a conversation with Ben; something happened to it, and to Ana."""
    engine = sa.create_engine(f"sqlite:///{folder}/store.db")
    with engine.begin() as connection:
        connection.execute(source.inbox.insert(), {"inbox_id": "i1", "account_id": "ana"})
        connection.execute(source.thread.insert(), {"inbox_id": "i1", "thread_id": "ben", "kind": "direct"})
        for member in ("ana", "ben"):
            row = {"inbox_id": "i1", "thread_id": "ben", "account_id": member}
            connection.execute(source.thread_member.insert(), row)
    engine.dispose()
    with campaign.database.write("test") as connection:
        ensure_salts(connection, ["ana"])
        references = campaign.references.of(connection, {"ana": "ana", "i1/ben": "ana"})
        events = [
            Event(type=EventType.AUTHORIZATION_RECORDED, subject=references["ana"], data={"n": 1}),
            Event(type=EventType.CONVERSATION_REWRAPPED, subject=references["i1/ben"], data={"n": 2}),
            Event(type=EventType.KEY_CREATED, subject=references["i1/ben"], data={"n": 3}),
        ]
        outbox.record(connection, events, actor="worker", now=NOW)
    campaign.audit.flush()


def _shown(campaign: Campaign, filters: Filters = Filters(actor="worker"), **who: str) -> list[int]:  # noqa: B008 - frozen
    return [entry["data"]["n"] for entry in audit_review.show(campaign, filters, **who)]


def _looked_up(campaign: Campaign) -> list[dict[str, Any]]:
    return list(audit_review.show(campaign, Filters(type="log.read")))


def test_entries_of_an_account_and_of_a_conversation(tmp_path: Path) -> None:
    """Each is found by its own reference, together with the other filters."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        _prepare(campaign, tmp_path)
        assert _shown(campaign) == [1, 2, 3]
        assert _shown(campaign, account="ana") == [1]
        assert _shown(campaign, conversation="i1/ben") == [2, 3]
        assert _shown(campaign, Filters(type="key.created"), conversation="i1/ben") == [3]


def test_looking_somebody_up_leaves_an_entry(tmp_path: Path) -> None:
    """By reference, with who asked; reading the log without naming anybody leaves none."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        _prepare(campaign, tmp_path)
        _shown(campaign)
        assert _looked_up(campaign) == []
        _shown(campaign, account="ana")
        (entry,) = _looked_up(campaign)
        assert entry["actor"] == "tester"
        assert entry["data"] == {"by": "account"}
        assert "ana" not in str(entry["subject"])


def test_a_dry_run_leaves_none(tmp_path: Path) -> None:
    """A campaign that is open for reading only shows entries and writes nothing."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        _prepare(campaign, tmp_path)
    with open_campaign(make_spec(tmp_path), read_only=True) as campaign:
        assert _shown(campaign, account="ana") == [1]
        assert _looked_up(campaign) == []


def test_who_cannot_be_linked(tmp_path: Path) -> None:
    """Nobody's entries, an erased reference key, an unknown conversation, two questions at once: said, not empty."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        _prepare(campaign, tmp_path)
        with pytest.raises(UsageError, match="no entry"):
            audit_review.show(campaign, Filters(), account="ben")
        with pytest.raises(UsageError, match="no such conversation"):
            audit_review.show(campaign, Filters(), conversation="i1/nobody")
        with pytest.raises(UsageError, match="not by both"):
            audit_review.show(campaign, Filters(), account="ana", conversation="i1/ben")
        with campaign.database.write("test") as connection:
            connection.execute(tables.reference_salt.delete())
        for who in ({"account": "ana"}, {"conversation": "i1/ben"}):
            with pytest.raises(UsageError, match="no entry"):
                audit_review.show(campaign, Filters(), **who)
