"""What a finalisation would take away, conversation by conversation, deleting nothing."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import GateError
from migrator.finalization import retiring, shredding
from migrator.finalization.finalizing import open_eraser
from migrator.finalization.gates import (
    require_all_decided,
    require_final,
    require_grace_over,
    require_retired_before,
    require_source,
)
from migrator.stores.interface import Eraser


@dataclass(slots=True)
class Preview:
    """What would go; filled while `conversations` is read. `refusal`: why it would not begin now, empty if it would."""

    refusal: str
    conversations: Iterator[tuple[str, int]]
    """(conversation, messages that would leave the source), in order."""
    kept: int = 0
    """Conversations that a legal hold protects."""
    unannounced: int = 0
    """Conversations that no run decided about: they stay sealed."""
    late: int = 0
    """Messages that came after the grace period: they stay sealed."""


def preview(campaign: Campaign, connection: sa.Connection, run_id: str | None, *, sealed: bool) -> Preview:
    """In the caller's read transaction; `GateError` where attachments are in the way."""
    found = Preview(refusal=_refusal(campaign, connection, run_id, sealed=sealed), conversations=iter(()))
    found.conversations = _sealed(campaign, connection, found) if sealed else _migrated(campaign, connection, found)
    return found


def _refusal(campaign: Campaign, connection: sa.Connection, run_id: str | None, *, sealed: bool) -> str:
    try:
        require_source(connection, campaign)
        require_final(connection, campaign, run_id)
        if sealed:
            require_retired_before(connection)
            require_grace_over(connection, campaign)
        else:
            require_all_decided(connection)
    except GateError as error:
        return error.message
    return ""


def _migrated(campaign: Campaign, connection: sa.Connection, found: Preview) -> Iterator[tuple[str, int]]:
    with closing(open_eraser(campaign)) as eraser:
        for page in retiring.pages(campaign, connection, 0):
            found.kept += page.kept
            for number, identifier in page.numbers.items():
                yield identifier, _present(connection, eraser, number, identifier)


def _present(connection: sa.Connection, eraser: Eraser, number: int, identifier: str) -> int:
    page = retiring.Visible({number: identifier}, 0, 0)
    after: tuple[Any, ...] | None = None
    total = 0
    while (batch := next(retiring.places(connection, page, after), None)) is not None:
        total += eraser.count([(identifier, sent_at, message_id) for _, sent_at, message_id in batch])
        after = batch[-1]
    return total


def _sealed(campaign: Campaign, connection: sa.Connection, found: Preview) -> Iterator[tuple[str, int]]:
    with closing(open_eraser(campaign)) as eraser:
        for page in shredding.pages(campaign, connection, eraser):
            found.kept += page.kept
            found.unannounced += page.unannounced
            found.late += page.late
            for identifier in page.ids:
                yield identifier, eraser.count_all([identifier], page.before)
