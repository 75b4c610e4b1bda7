"""The attachments of opened messages: found, sealed into the store of blobs, and shown with their messages.

A unit's attachments are sealed before its transaction, each under a name that was noted first (`attachments.strays`).
Their rows are part of the transaction that shows the messages, and take the notes away; so a worker that is killed, or
was taken for dead, leaves notes and never a row without its blob. What can't be taken over is a row with its reason.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import sqlalchemy as sa

from migrator.attachments import strays
from migrator.attachments.describing import described_by, locations_of
from migrator.blobs.interface import BlobRefusal
from migrator.campaign import Campaign
from migrator.core.attachments import Attachment, AttachmentGap, AttachmentPlace, Described
from migrator.core.envelope import DataKey
from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason
from migrator.core.streams import StreamKey
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.execution.claims import At
from migrator.execution.pacing import LOOK_SECONDS
from migrator.execution.recorder import FencedError, Recorder
from migrator.execution.resealing import rehearse, reseal
from migrator.execution.work import Work
from migrator.schemes.interface import Opened

_COLUMNS: Final = (
    "conversation_no", "sent_at", "message_id", "attachment_id", "kind", "size", "blob", "blob_size", "sha256",
    "key_id", "wrapped_keyset", "reason", "staged", "run_id",
)  # fmt: skip
_AT_ONCE: Final = 500
"""Blobs that are noted in one transaction."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some messages of one conversation, and what opening them gave."""

    work: Work
    key: DataKey | None
    """None in a dry run, which seals nothing."""
    rows: Sequence[MessageRow]
    results: Sequence[Opened | GapReason]


@dataclass(frozen=True, slots=True)
class _Found:
    work: Work
    key: DataKey | None
    place: AttachmentPlace
    described: Described


@dataclass(slots=True)
class Attached:
    """Rows of attachments that are ready to be written, and the blobs that they show."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    counts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By conversation number: attachments that were sealed, and gaps."""

    def write(self, connection: sa.Connection) -> None:
        """Write the rows, in the transaction that shows them; `FencedError` where a blob of theirs is doomed."""
        if self.blobs and not strays.claim(connection, self.blobs):
            raise FencedError
        insert_rows(connection, tables.attachment, _COLUMNS, self.rows)

    def add(self, found: _Found, run_id: str, values: Sequence[Any], *, staged: bool) -> None:
        """Add a row. `values`: size, blob, its size and digest, key id, wrapped keyset, reason."""
        place, number = found.place, found.work.conversation_no
        at = (number, place.sent_at, place.message_id, place.attachment_id, place.kind.value)
        self.rows.append((*at, *values, staged, run_id))
        sealed, gaps = self.counts.get(number, (0, 0))
        reason = values[-1]
        self.counts[number] = (sealed + (reason is None), gaps + (reason is not None))


def attach(recorder: Recorder, stretches: Sequence[Stretch], *, staged: bool = False) -> Attached:
    """Seal the attachments of opened messages; in a dry run, open them and throw them away.

    `staged`: their rows are not to be seen yet. Raises like any of the recorder's transactions.
    """
    attached = Attached()
    found = _find(recorder.campaign, stretches)
    for start in range(0, len(found), _AT_ONCE):
        _seal(recorder, found[start : start + _AT_ONCE], attached, staged=staged)
    return attached


def stage_attachments(
    recorder: Recorder,
    work: Work,
    key: DataKey,
    rows: Sequence[MessageRow],
    results: Sequence[Opened | GapReason],
    closed: Collection[At] = (),
) -> bool:
    """Seal the attachments of messages that were staged, and stage their rows; the latest word on a message counts.

    `closed`: places that are gaps whatever was staged there before; what that had attached goes with it. Whether there
    are any, also in a dry run, which stages nothing.
    """
    stretch = Stretch(work, None if recorder.dry else key, rows, results)
    attached = attach(recorder, [stretch], staged=True)
    table = tables.attachment
    mine = (
        table.c.conversation_no == work.conversation_no,
        table.c.run_id == recorder.assignment.run_id,
        table.c.staged,
    )
    places = sorted({(row[0], row[1]) for row, _ in _opened(stretch)} | set(closed))
    if recorder.dry or not places:
        return bool(attached.rows)
    with recorder.campaign.database.read() as connection:
        there = connection.scalar(sa.select(table.c.kind).where(*mine).limit(1)) is not None
    if not attached.rows and not there:
        return False
    with recorder.transaction("stage") as connection:
        for chunk in chunks(places):
            among = sa.tuple_(table.c.sent_at, table.c.message_id).in_(chunk)
            strays.doom(connection, recorder.campaign, *mine, among)
        attached.write(connection)
    return bool(attached.rows)


def counted(connection: sa.Connection, conversation_no: int) -> tuple[int, int]:
    """How many attachments of a conversation are sealed, and how many are gaps, as its rows have it."""
    table = tables.attachment
    query = sa.select(sa.func.count(table.c.blob), sa.func.count(table.c.reason))
    row = connection.execute(query.where(table.c.conversation_no == conversation_no, table.c.staged.is_(False))).one()
    return row[0], row[1]


def _find(campaign: Campaign, stretches: Sequence[Stretch]) -> list[_Found]:
    """All attachments of the messages that opened, in their order."""
    if campaign.blobs is None:
        return []
    opened = [(stretch, row, result) for stretch in stretches for row, result in _opened(stretch)]
    listed = described_by(campaign, [(s.work.conversation_id, row[1], *result) for s, row, result in opened])
    return [
        _placed(stretch, row, described)
        for (stretch, row, _), found in zip(opened, listed, strict=True)
        for described in found
    ]


def _opened(stretch: Stretch) -> list[tuple[MessageRow, Opened]]:
    return [(row, result) for row, result in zip(stretch.rows, stretch.results, strict=True) if type(result) is tuple]


def _placed(stretch: Stretch, row: MessageRow, described: Described) -> _Found:
    place = AttachmentPlace(
        conversation_id=stretch.work.conversation_id,
        message_id=row[1],
        sender_id=row[2],
        sent_at=row[0],
        attachment_id=described.attachment_id,
        kind=described.kind,
    )
    return _Found(stretch.work, stretch.key, place, described)


def _seal(recorder: Recorder, found: Sequence[_Found], attached: Attached, *, staged: bool) -> None:
    campaign, run_id = recorder.campaign, recorder.assignment.run_id
    uris = [one.described.uri for one in found if isinstance(one.described, Attachment)]
    locations = locations_of(campaign, uris)
    names = [secrets.token_hex(16) if isinstance(one.described, Attachment) else "" for one in found]
    if not recorder.dry and any(names):
        with recorder.transaction("attachments") as connection:
            strays.note(connection, campaign, run_id, [name for name in names if name])
    look = _looking(recorder)
    for one, name in zip(found, names, strict=True):
        look()
        if not isinstance(one.described, Attachment):
            values = _gap(one.described.reason)
        else:
            try:
                values = _sealed(campaign, one, one.described, locations, name, look)
            except BlobRefusal as refusal:
                values = _gap(refusal.reason)
            else:
                if one.key is not None:
                    attached.blobs.append(name)
        attached.add(one, run_id, values, staged=staged)


def _sealed(
    campaign: Campaign,
    found: _Found,
    attachment: Attachment,
    locations: dict[str, str | None],
    name: str,
    look: Callable[[], None],
) -> tuple[Any, ...]:
    if attachment.uri not in locations:
        raise BlobRefusal(AttachmentGap.UNSAFE_PATH)
    location, limit = locations[attachment.uri], campaign.settings.attachments.max_bytes
    if location is None:
        raise BlobRefusal(AttachmentGap.MISSING)
    if found.key is None or campaign.blobs is None:
        rehearse(campaign.media, location, attachment, limit=limit, look=look)
        return (None, None, None, None, None, None, None)
    key, bound = StreamKey.generate(), found.place.bound()
    done = reseal(campaign.media, location, attachment, campaign.blobs, name, key, bound, limit=limit, look=look)
    wrapped = key.wrap(found.key, bound)
    return (done.size, name, done.blob_size, done.sha256, found.key.key_id, wrapped, None)


def _gap(reason: AttachmentGap) -> tuple[Any, ...]:
    return (None, None, None, None, None, None, reason.value)


def _looking(recorder: Recorder) -> Callable[[], None]:
    """What is asked between pieces: once a second it looks whether the run is to stop, or somebody withdrew."""
    last = monotonic()

    def look() -> None:
        nonlocal last
        if monotonic() - last >= LOOK_SECONDS:
            recorder.look()
            recorder.require_unchanged()
            last = monotonic()

    return look
