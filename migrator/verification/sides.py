"""Both sides of conversations, as stretches to compare: source rows and server rows between the same two places."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from migrator import history
from migrator.campaign import Campaign
from migrator.core.model import MessageRow
from migrator.history import StoredMessage
from migrator.verification.comparing import Examined, Stretch, order, place


def small_ones(campaign: Campaign, connection: sa.Connection, group: Sequence[Examined]) -> Iterator[list[Stretch]]:
    """Whole conversations, all in one stretch each, read together."""
    numbers = [e.item.conversation_no for e in group]
    server = history.messages_of(connection, numbers)
    gaps = history.gaps_of(connection, numbers)
    there = [e.conversation_id for e in group if e.conversation is not None]
    source = campaign.store.messages(there) if there else {}
    stretches = []
    for examined in group:
        number = examined.item.conversation_no
        rows = _readable(examined, source.get(examined.conversation_id, []))
        stretches.append(Stretch(examined, rows, _typed(examined, server[number]), gaps[number]))
    yield stretches


def long_one(campaign: Campaign, connection: sa.Connection, examined: Examined) -> Iterator[list[Stretch]]:
    """Both sides in step: each stretch ends where the nearer of the two pages ends."""
    number, size = examined.item.conversation_no, campaign.settings.execution.page_size
    server_pages = history.message_pages(connection, number, size)
    source_pages = _source_pages(campaign, examined, size)
    source: list[MessageRow] = []
    server: list[StoredMessage] = []
    source_left = server_left = True
    while True:
        while source_left and not source:
            page = next(source_pages, None)
            source_left = page is not None
            source = page or []
        while server_left and not server:
            stored = next(server_pages, None)
            server_left = stored is not None
            server = _typed(examined, stored or [])
        if not source and not server:
            return
        ends = [order(*rows[-1][:2]) for rows in (source, server) if rows]
        end = min(ends)
        here, source = _split(source, end)
        there, server = _split(server, end)
        stored_at = {(row[0], row[1]) for row in there}
        places = [at for row in here if (row[0], row[1]) not in stored_at and (at := place(row)) is not None]
        yield [Stretch(examined, here, there, history.gaps_at(connection, number, places))]


def _source_pages(campaign: Campaign, examined: Examined, size: int) -> Iterator[list[MessageRow]]:
    cursor = None
    while examined.conversation is not None:
        rows = campaign.store.page(examined.conversation_id, cursor, size)
        yield _readable(examined, rows)
        if len(rows) < size:
            return
        cursor = campaign.store.cursor(rows[-1])


def _readable(examined: Examined, rows: Sequence[MessageRow]) -> list[MessageRow]:
    """Rows that have a place; others came after the run, or were changed since."""
    kept = [row for row in rows if place(row) is not None]
    examined.unreadable += len(rows) - len(kept)
    return kept


def _typed(examined: Examined, rows: list[StoredMessage]) -> list[StoredMessage]:
    """Stored rows as they were written; SQLite lets somebody put a value of another type into any column."""
    kept = [row for row in rows if type(row[0]) is int and type(row[1]) is str]
    examined.mistyped += len(rows) - len(kept)
    return kept


def _split(rows: list[Any], end: tuple[int, bytes]) -> tuple[list[Any], list[Any]]:
    """Rows up to a place, that one included, and the rest."""
    cut = bisect_right(rows, end, key=lambda row: order(row[0], row[1]))
    return rows[:cut], rows[cut:]
