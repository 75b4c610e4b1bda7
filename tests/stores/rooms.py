"""A message store of shared rooms in memory, for what a scheme with claims does to the pipeline: a test fills it."""

from bisect import insort
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from migrator.core.key_backup import KeyBackup
from migrator.core.model import Account, AccountStatus, Conversation, Cursor, Device, MessageRow, Quorum
from migrator.stores.interface import Eraser


class RoomStore:
    """Rooms with their members, and events as rows for the Megolm scheme."""

    kind: ClassVar[str] = "rooms"
    scheme: ClassVar[str] = "megolm"
    quorums: ClassVar[frozenset[Quorum]] = frozenset({Quorum.ANY_PARTICIPANT, Quorum.EVERY_PARTICIPANT})

    def __init__(self) -> None:
        self.members: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, list[MessageRow]] = {}
        self.devices_by_id: dict[str, Device] = {}
        self.backups: dict[str, KeyBackup] = {}

    @classmethod
    def open(cls, source: Any, *, population_page: int = 5000) -> "RoomStore":  # noqa: ARG003 - the port's
        """An empty one."""
        return cls()

    @classmethod
    def open_eraser(cls, source: Any) -> Eraser:
        """Nothing is erased here."""
        raise NotImplementedError

    # --- what a test does ---

    def room(self, room_id: str, members: Sequence[str]) -> str:
        """A room."""
        self.members[room_id] = tuple(members)
        self.rows.setdefault(room_id, [])
        return room_id

    def add(self, room_id: str, *rows: MessageRow) -> None:
        """Events, which take their place in order."""
        for row in rows:
            insort(self.rows[room_id], row, key=lambda r: (r[0], r[1].encode()))

    def change(self, room_id: str, message_id: str, row: MessageRow | None) -> None:
        """Another row for an event, or none."""
        self.rows[room_id] = [r for r in self.rows[room_id] if r[1] != message_id]
        if row is not None:
            self.add(room_id, row)

    # --- the port ---

    def identity(self) -> str:
        """Always the same."""
        return "00" * 32

    def population(self) -> Iterator[list[Conversation]]:
        """All rooms, one a page."""
        for room_id in sorted(self.members):
            yield [self._conversation(room_id)]

    def conversations(self, conversation_ids: Sequence[str]) -> dict[str, Conversation]:
        """Some rooms."""
        return {room_id: self._conversation(room_id) for room_id in conversation_ids if room_id in self.members}

    def _conversation(self, room_id: str) -> Conversation:
        rows = self.rows[room_id]
        last = rows[-1][0] if rows else None
        changes = sum(row[7] is True for row in rows)
        return Conversation(room_id, None, room_id, self.members[room_id], len(rows), last, changes=changes)

    def accounts(self, account_ids: Sequence[str]) -> dict[str, Account]:
        """Every member is an account."""
        known = {member for members in self.members.values() for member in members}
        return {a: Account(account_id=a, status=AccountStatus.ACTIVE) for a in account_ids if a in known}

    def all_accounts(self) -> Iterator[list[Account]]:
        """All of them."""
        yield list(self.accounts(sorted({m for members in self.members.values() for m in members})).values())

    def on_hold(self, account_ids: Sequence[str], now: datetime) -> set[str]:
        """Nobody."""
        return set()

    def devices(self, device_ids: Sequence[str]) -> dict[str, Device]:
        """Some devices."""
        return {d: self.devices_by_id[d] for d in device_ids if d in self.devices_by_id}

    def devices_of(self, account_ids: Sequence[str]) -> list[Device]:
        """The devices of some accounts."""
        return [device for device in self.devices_by_id.values() if device.account_id in account_ids]

    def attachments(self, conversation_ids: Sequence[str]) -> int:
        """None."""
        return 0

    def key_slots(self, conversation_ids: Sequence[str]) -> dict[str, set[Hashable]]:
        """Session ids."""
        return {room_id: {row[5] for row in self.rows[room_id]} for room_id in conversation_ids}

    def some_key_slot(self, conversation_ids: Sequence[str]) -> dict[str, Hashable]:
        """One of each."""
        return {room_id: self.rows[room_id][0][5] for room_id in conversation_ids if self.rows[room_id]}

    def messages(self, conversation_ids: Sequence[str]) -> Mapping[str, list[MessageRow]]:
        """All events of some rooms."""
        return {room_id: list(self.rows[room_id]) for room_id in conversation_ids}

    def page(self, conversation_id: str, after: Cursor | None, limit: int) -> list[MessageRow]:
        """Events behind a position."""
        place = (-1, "") if after is None else (after[0], after[1])
        return [row for row in self.rows[conversation_id] if (row[0], row[1]) > place][:limit]

    def cursor(self, row: MessageRow) -> Cursor:
        """Time and id."""
        return row[0], row[1]

    def key_backup(self, account_id: str, conversation_ids: Collection[str]) -> KeyBackup:
        """What a test put there."""
        return self.backups[account_id]

    def close(self) -> None:
        """Nothing to let go."""
