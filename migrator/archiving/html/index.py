"""Where every entry of a conversation will stand, and what refers to what, before the first page is written.

An edit, a reaction or an answer may come a million messages after what it is about. So a first walk notes places and
relations, ids only and no content, in an SQLite file beside the unfinished pages, which goes away with it. Memory is
bounded by one batch.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from migrator.archiving.matrix_event import event_of
from migrator.history import Place
from migrator.reading import Entry, ReadGap

PAGE_ENTRIES: Final = 200
PAGE_BYTES: Final = 1024 * 1024
"""A page ends at so many entries, or where their content is over that."""
SHOWN: Final = 40
"""Most reactions, edits and so on that are named at one message; all are counted."""
_BATCH: Final = 1000
_TABLES: Final = """
CREATE TABLE entry (number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, sent_at INTEGER NOT NULL, page INTEGER NOT NULL,
                    gap TEXT);
CREATE TABLE relation (target TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL,
                       PRIMARY KEY (target, kind, number)) WITHOUT ROWID;
"""


class Relation(StrEnum):
    """What one event can be to another."""

    EDIT = "edit"
    REACTION = "reaction"
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """Where an entry stands: its number in the conversation, from 1, its page, from 1; `gap`: why it is one."""

    number: int
    event_id: str
    sent_at: int
    page: int
    gap: str | None

    @property
    def place(self) -> Place:
        """Where its message is in server history."""
        return self.sent_at, self.event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """How many events are related to one, and where the first of them stand."""

    count: int
    first: Sequence[Stands]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its first and last number, and when their messages were sent (milliseconds)."""

    number: int
    first: int
    last: int
    since: int
    until: int


class Index:
    """Built by one walk, asked during the next."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_TABLES)

    def build(self, entries: Iterable[Entry]) -> None:
        """Note every entry and its relations."""
        page, on_page, size = 1, 0, 0
        places: list[tuple[int, str, int, int, str | None]] = []
        relations: list[tuple[str, str, int]] = []
        for number, entry in enumerate(entries, start=1):
            length = 0 if isinstance(entry, ReadGap) else len(entry.content)
            if on_page and (on_page >= PAGE_ENTRIES or size + length > PAGE_BYTES):
                page, on_page, size = page + 1, 0, 0
            on_page, size = on_page + 1, size + length
            gap = entry.reason if isinstance(entry, ReadGap) else None
            places.append((number, entry.message_id, entry.sent_at, page, gap))
            relations += [(target, kind.value, number) for kind, target in _relations(entry)]
            if len(places) >= _BATCH:
                self._put(places, relations)
        self._put(places, relations)
        self._connection.execute("CREATE INDEX entry_id ON entry (event_id)")
        self._connection.execute("CREATE INDEX entry_page ON entry (page)")

    def _put(self, places: list[tuple[int, str, int, int, str | None]], relations: list[tuple[str, str, int]]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", places)
        self._connection.executemany("INSERT OR IGNORE INTO relation VALUES (?, ?, ?)", relations)
        self._connection.execute("COMMIT")
        places.clear()
        relations.clear()

    def pages(self) -> Iterator[Page]:
        """All pages in order."""
        query = """SELECT page, MIN(number), MAX(number), MIN(sent_at), MAX(sent_at) FROM entry
                   GROUP BY page ORDER BY page"""
        for page, first, last, since, until in self._connection.execute(query):
            yield Page(number=page, first=first, last=last, since=since, until=until)

    def gaps(self) -> dict[str, int]:
        """How many gaps there are for each reason."""
        query = "SELECT gap, COUNT(*) FROM entry WHERE gap IS NOT NULL GROUP BY gap ORDER BY gap"
        return dict(self._connection.execute(query).fetchall())

    def find(self, event_ids: Iterable[str]) -> dict[str, Stands]:
        """Where some events stand; those that are not in the conversation are missing from the result."""
        found: dict[str, Stands] = {}
        for event_id in set(event_ids):
            row = self._connection.execute(
                "SELECT number, event_id, sent_at, page, gap FROM entry WHERE event_id = ? ORDER BY number LIMIT 1",
                (event_id,),
            ).fetchone()
            if row is not None:
                found[event_id] = _stands(row)
        return found

    def about(self, event_id: str, kind: Relation) -> Related:
        """The events that are related so to one."""
        count = self._connection.execute(
            "SELECT COUNT(*) FROM relation WHERE target = ? AND kind = ?", (event_id, kind.value)
        ).fetchone()[0]
        first = self._related(event_id, kind, "ORDER BY number LIMIT ?", SHOWN) if count else []
        return Related(count=count, first=first)

    def edit_before(self, event_id: str, number: int) -> Sequence[Stands]:
        """The edits of an event that came before the one with that number, the newest first."""
        return self._related(event_id, Relation.EDIT, "AND number < ? ORDER BY number DESC LIMIT 10", number)

    def _related(self, event_id: str, kind: Relation, rest: str, value: int) -> list[Stands]:
        query = f"""SELECT number, event_id, sent_at, page, gap FROM relation JOIN entry USING (number)
                    WHERE target = ? AND kind = ? {rest}"""  # noqa: S608 - `rest` is one of two texts above
        return [_stands(row) for row in self._connection.execute(query, (event_id, kind.value, value))]


def _stands(row: tuple[int, str, int, int, str | None]) -> Stands:
    number, event_id, sent_at, page, gap = row
    return Stands(number=number, event_id=event_id, sent_at=sent_at, page=page, gap=gap)


def _relations(entry: Entry) -> list[tuple[Relation, str]]:
    """What a message says of itself to be about; answers are found from the other side and not noted."""
    if isinstance(entry, ReadGap) or (event := event_of(entry)) is None:
        return []
    found = ((Relation.EDIT, event.edits), (Relation.REACTION, event.reacts_to), (Relation.THREAD, event.thread))
    return [(kind, target) for kind, target in found if target is not None]
