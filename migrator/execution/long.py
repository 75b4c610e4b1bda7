"""A long conversation, page by page: each page commits with its cursor, the last one with the flip.

Nothing of it is visible before. A worker that takes it up after a crash goes on behind the last committed page, with
the same data key, counts and Merkle frontier. Pages hold a multiple of `PAGE_MESSAGES`, so that the frontier is
defined between them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.core.encoding import canonical_json
from migrator.core.envelope import DataKey
from migrator.core.gaps import GapCount
from migrator.core.merkle import PAGE_MESSAGES, Frontier, ItemsRoot
from migrator.core.model import Cursor, MessageRow
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.execution.attaching import Attached, Stretch, attach, counted
from migrator.execution.claims import CLAIM_COLUMNS, At, Made, Rehearsed, claim_rows, holders_of, settle
from migrator.execution.keys import WrappedKey, in_place, insert_keys, key_created, load_key, make_keys
from migrator.execution.pacing import HELD_SECONDS
from migrator.execution.recorder import Ending, Recorder
from migrator.execution.sealing import GAP_COLUMNS, MESSAGE_COLUMNS, Sealed, count, gap_key, seal_page, storable
from migrator.execution.showing import Shown, show
from migrator.execution.small import ending
from migrator.execution.work import Work
from migrator.exports.opening import Material, record_refusals
from migrator.keyservices.interface import KeyRefusal
from migrator.schemes.interface import KeyRing


@dataclass(slots=True)
class _Position:
    """How far a conversation is. `fresh` holds the data key until the first page has committed it.

    `claims` are those of the page under way; `rehearsed` all of a dry run, which finds none in the database.
    """

    key: DataKey
    key_service: str
    gaps: GapCount
    root: ItemsRoot
    cursor: Cursor | None = None
    fresh: WrappedKey | None = None
    claims: Sequence[Made] = field(default=(), repr=False)
    rehearsed: Rehearsed = field(default_factory=Rehearsed)


def rewrap_long(recorder: Recorder, material: Material, work: Work) -> None:
    """Take one long conversation from the source to server history."""
    if work.conversation_id in material.too_broad:
        _end(recorder, material, ending(work, Outcome.HELD_SCOPE_TOO_BROAD))
        return
    position = _begin(recorder, work)
    if isinstance(position, Outcome):
        _end(recorder, material, ending(work, position))
        return
    ring = material.rings.get(work.conversation_id, {})
    limit = -(-recorder.campaign.settings.execution.page_size // PAGE_MESSAGES) * PAGE_MESSAGES
    while True:
        recorder.take_turn(patience=HELD_SECONDS)
        rows = recorder.campaign.store.page(work.conversation_id, position.cursor, limit)
        if not storable(rows) or _taken(recorder, work, rows):
            _end(recorder, material, replace(ending(work, Outcome.FAILED_SOURCE), partial=True))
            return
        page, attached = _seal(recorder, work, ring, position, rows)
        if len(rows) < limit:
            _finish(recorder, material, work, position, page, attached)
            return
        position.cursor = recorder.campaign.store.cursor(rows[-1])
        _commit_page(recorder, work, position, page, attached)


def _begin(recorder: Recorder, work: Work) -> _Position | Outcome:
    """Where to go on: behind the last page of this run, or at the start with a new data key.

    Also at the start where the owner has moved to a region that another key service serves.
    """
    campaign, table = recorder.campaign, tables.progress
    with campaign.database.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.conversation_no == work.conversation_no)).one_or_none()
        if (
            row is not None
            and (row.run_id == recorder.assignment.run_id and not recorder.dry)
            and in_place(connection, campaign, work)
        ):
            loaded = load_key(connection, campaign, work.conversation_no)
            if isinstance(loaded, Outcome):
                return loaded
            return _Position(
                key=loaded[0],
                key_service=loaded[1],
                gaps=GapCount(opened=row.messages, gaps=row.gaps, countable=row.countable_gaps),
                root=ItemsRoot(Frontier.from_text(row.frontier)),
                cursor=tuple(json.loads(row.cursor)),
            )
    if recorder.dry:
        return _Position(DataKey.generate(), "", GapCount(), ItemsRoot())
    if row is not None:
        recorder.discard_leftovers(work.conversation_no, work.ref)
    made = make_keys(campaign, [work])[0]
    if isinstance(made, KeyRefusal):
        return Outcome.FAILED_KEY_SERVICE
    return _Position(made.key, made.key_service, GapCount(), ItemsRoot(), fresh=made)


def _taken(recorder: Recorder, work: Work, rows: Sequence[MessageRow]) -> bool:
    """Whether a gap of an earlier page stands where one of these messages belongs: `%00` in an id may be a NUL."""
    places = [place for place in map(gap_key, rows) if "%00" in place[1]]
    table = tables.gap
    place = sa.tuple_(table.c.sent_at, table.c.message_id)
    with recorder.campaign.database.read() as connection:
        for chunk in chunks(places):
            query = sa.select(table.c.reason).where(table.c.conversation_no == work.conversation_no, place.in_(chunk))
            if connection.execute(query.limit(1)).first() is not None:
                return True
    return False


def _seal(
    recorder: Recorder, work: Work, ring: KeyRing, position: _Position, rows: Sequence[MessageRow]
) -> tuple[Sealed, Attached]:
    scheme = recorder.campaign.scheme
    results = scheme.open_messages([(work.conversation, ring, rows)])[0]

    def holders(claims: Sequence[bytes]) -> Mapping[bytes, At]:
        if recorder.dry:
            return position.rehearsed.holders(claims)
        with recorder.campaign.database.read() as connection:
            return holders_of(connection, work.conversation_no, claims)

    position.claims = settle(scheme, rows, results, holders)
    count(results, position.gaps)
    attached = attach(recorder, [Stretch(work, None if recorder.dry else position.key, rows, results)])
    if recorder.dry:
        position.rehearsed.add(position.claims)
        return Sealed(), attached
    page = seal_page(work.conversation_no, work.conversation_id, position.key, rows, results, position.root)
    return page, attached


def _commit_page(recorder: Recorder, work: Work, position: _Position, page: Sealed, attached: Attached) -> None:
    if recorder.dry:
        return
    gaps = position.gaps
    state = {
        "run_id": recorder.assignment.run_id,
        "cursor": canonical_json(list(position.cursor or ())).decode(),
        "key_id": position.key.key_id,
        "messages": gaps.opened,
        "gaps": gaps.gaps,
        "countable_gaps": gaps.countable,
        "frontier": position.root.frontier().to_text(),
    }
    table = tables.progress
    with recorder.transaction("page", messages=len(page.messages) + len(page.gaps)) as connection:
        _write(connection, recorder, work, position, page, attached)
        if position.fresh is not None:
            connection.execute(table.insert().values(conversation_no=work.conversation_no, **state))
        else:
            connection.execute(table.update().where(table.c.conversation_no == work.conversation_no).values(**state))
    position.fresh = None


def _write(
    connection: sa.Connection, recorder: Recorder, work: Work, position: _Position, page: Sealed, attached: Attached
) -> None:
    if position.fresh is not None:
        insert_keys(connection, recorder.campaign, [(work, position.fresh)])
        event = key_created(work, position.fresh, recorder.assignment.run_id)
        outbox.record(connection, [event], actor=recorder.campaign.actor, now=recorder.campaign.clock.now())
    insert_rows(connection, tables.message, MESSAGE_COLUMNS, page.messages)
    insert_rows(connection, tables.gap, GAP_COLUMNS, page.gaps)
    claims = claim_rows(work.conversation_no, recorder.assignment.run_id, position.claims)
    insert_rows(connection, tables.claim, CLAIM_COLUMNS, claims)
    attached.write(connection)


def _finish(
    recorder: Recorder, material: Material, work: Work, position: _Position, page: Sealed, attached: Attached
) -> None:
    """The last page, together with the flip; or the end of a conversation that has too many gaps."""
    gaps = position.gaps
    outcome = gaps.outcome(recorder.campaign.settings.execution.max_gap_fraction)
    if gaps.total < work.conversation.messages:
        _end(recorder, material, replace(ending(work, Outcome.FAILED_SOURCE), partial=True))
        return
    if not outcome.visible:
        _end(recorder, material, replace(ending(work, outcome, gaps), partial=True))
        return
    if not recorder.dry:
        shown = Shown(
            work=work,
            outcome=outcome,
            messages=gaps.opened,
            gaps=gaps.gaps,
            items_root=position.root.root(),
            key_id=position.key.key_id,
            key_service=position.key_service,
        )
        with recorder.transaction("flip", messages=len(page.messages) + len(page.gaps)) as connection:
            _write(connection, recorder, work, position, page, attached)
            connection.execute(
                tables.progress.delete().where(tables.progress.c.conversation_no == work.conversation_no)
            )
            shown = replace(shown, attachments=counted(connection, work.conversation_no))
            show(connection, recorder, [shown])
            record_refusals(connection, recorder.campaign, material.refusals, recorder.assignment.run_id)
    recorder.counted([(outcome.value, gaps.opened, gaps.gaps)])


def _end(recorder: Recorder, material: Material, last: Ending) -> None:
    if not recorder.dry:
        with recorder.transaction("end", failures=int(Outcome(last.outcome).failed)) as connection:
            recorder.end(connection, [last])
            record_refusals(connection, recorder.campaign, material.refusals, recorder.assignment.run_id)
    recorder.counted([(last.outcome, last.messages, last.gaps)])
