"""What is left of ciphertext in a homeserver. Nothing here deletes: that is Synapse's, through its admin API.

A homeserver whose `event_json` somebody else rewrites answers HTTP 500 for the event, and its caches know nothing of
rows that vanish. So an operator purges (runbook "synapse-finalize"), and `finalize` makes sure that it was done.

An event counts while its ciphertext is there. A purge that keeps local events only marks them as outliers: they count.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

import sqlalchemy as sa

from migrator.core.errors import KEPT, SourceError
from migrator.core.settings import SourceSettings
from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import identifiers, is_identifier
from migrator.stores.interface import Place
from migrator.stores.source_database import SourceDatabase, raw_rows
from migrator.stores.synapse_tables import ENCRYPTED, REQUIRED, event_json, events

_AT_ONCE: Final = 2_000


class SynapseEraser:
    """Counts, and refuses to delete."""

    unaided: ClassVar[bool] = False

    def __init__(self, database: SourceDatabase) -> None:
        self._database = database

    @classmethod
    def open(cls, source: SourceSettings) -> "SynapseEraser":
        """`SourceError` where there is no such homeserver."""
        database = SourceDatabase(source.url)
        try:
            database.require_tables(REQUIRED)
        except SourceError:
            database.close()
            raise
        return cls(database)

    def count(self, places: Sequence[Place]) -> int:
        """How many of the messages still have their ciphertext."""
        wanted = {place[2]: place for place in places if is_identifier(place[0]) and is_identifier(place[2])}
        ids = list(wanted)
        total = 0
        for begin in range(0, len(ids), _AT_ONCE):
            rows = self._database.run(partial(_of_events, event_ids=ids[begin : begin + _AT_ONCE]))
            total += sum(
                (room_id, sent_at) == wanted[event_id][:2] and meaning.has_ciphertext(text)
                for event_id, room_id, sent_at, text in rows
            )
        return total

    def erase(self, places: Sequence[Place]) -> None:
        """Make sure that they are gone."""
        self._require_none(self.count(places))

    def count_all(self, conversation_ids: Sequence[str]) -> int:
        """How many messages of some rooms still have their ciphertext."""
        return sum(self._count_room(room_id) for room_id in identifiers(conversation_ids))

    def erase_all(self, conversation_ids: Sequence[str]) -> None:
        """Make sure that they are gone."""
        self._require_none(self.count_all(conversation_ids))

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    def _count_room(self, room_id: str) -> int:
        total, after = 0, None
        while True:
            rows = self._database.run(partial(_of_room, room_id=room_id, after=after))
            total += sum(meaning.has_ciphertext(text) for _, text in rows)
            if len(rows) < _AT_ONCE:
                return total
            after = rows[-1][0]

    def _require_none(self, left: int) -> None:
        if left:
            raise SourceError(
                f"{left} messages are still in the homeserver's database, which migrator never writes",
                hint="purge their rooms through Synapse's admin API (purge_history with delete_local_events), give "
                "source.url a database in which that is done, then run `migrator finalize` again: it finds nothing "
                "left and goes on; `migrator finalize --dry-run` lists the rooms",
                changed=KEPT,
            )


def _of_events(connection: sa.Connection, event_ids: Sequence[str]) -> list[tuple[Any, ...]]:
    query = (
        sa.select(events.c.event_id, events.c.room_id, events.c.origin_server_ts, event_json.c.json)
        .join(event_json, event_json.c.event_id == events.c.event_id)
        .where(events.c.type == ENCRYPTED)
    )
    return rows_among(connection, query, events.c.event_id, event_ids)


def _of_room(connection: sa.Connection, room_id: str, after: int | None) -> list[tuple[Any, ...]]:
    query = (
        sa.select(events.c.stream_ordering, event_json.c.json)
        .join(event_json, event_json.c.event_id == events.c.event_id)
        .where(events.c.room_id == room_id, events.c.type == ENCRYPTED)
        .order_by(events.c.stream_ordering)
        .limit(_AT_ONCE)
    )
    return raw_rows(connection, query if after is None else query.where(events.c.stream_ordering > after))
