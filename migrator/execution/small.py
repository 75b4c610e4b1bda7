"""Many small conversations as one unit: read, opened and sealed together, shown in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from migrator.core.gaps import GapCount
from migrator.core.merkle import ItemsRoot
from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason, Outcome
from migrator.database import tables
from migrator.database.bulk import insert_rows
from migrator.execution.claims import CLAIM_COLUMNS, Made, claim_rows, settle
from migrator.execution.keys import WrappedKey, insert_keys, key_created, make_keys
from migrator.execution.recorder import Ending, Recorder
from migrator.execution.sealing import GAP_COLUMNS, MESSAGE_COLUMNS, Sealed, count, seal_page, storable
from migrator.execution.showing import Shown, show
from migrator.execution.work import Work
from migrator.exports.opening import Material, record_refusals
from migrator.keyservices.interface import KeyRefusal
from migrator.schemes.interface import Opened


@dataclass(frozen=True, slots=True)
class _Open:
    """An opened conversation that may be shown: its plaintexts live until it is sealed."""

    work: Work
    rows: Sequence[MessageRow]
    results: Sequence[Opened | GapReason]
    gaps: GapCount
    outcome: Outcome
    claims: Sequence[Made] = field(repr=False)


def rewrap_unit(recorder: Recorder, material: Material, works: Sequence[Work]) -> None:
    """Take whole conversations from the source to server history."""
    endings: list[Ending] = []
    opened = _open(recorder, material, works, endings)
    if recorder.dry:
        recorder.counted([(o.outcome.value, o.gaps.opened, o.gaps.gaps) for o in opened])
        recorder.counted([(e.outcome, e.messages, e.gaps) for e in endings])
        return
    keys = make_keys(recorder.campaign, [o.work for o in opened])
    shown: list[Shown] = []
    sealed: list[Sealed] = []
    claims: list[tuple[Any, ...]] = []
    kept: list[tuple[Work, WrappedKey]] = []
    for conversation, key in zip(opened, keys, strict=True):
        if isinstance(key, KeyRefusal):
            endings.append(ending(conversation.work, Outcome.FAILED_KEY_SERVICE))
            continue
        stretch, flip = _seal(conversation, key)
        sealed.append(stretch)
        shown.append(flip)
        claims += claim_rows(conversation.work.conversation_no, recorder.assignment.run_id, conversation.claims)
        kept.append((conversation.work, key))
    _commit(recorder, material, sealed, claims, shown, kept, endings)


def ending(work: Work, outcome: Outcome, gaps: GapCount | None = None) -> Ending:
    """How a conversation ends that is not shown: held ones say what would have opened."""
    return Ending(
        conversation_no=work.conversation_no,
        outcome=outcome.value,
        messages=gaps.opened if gaps else work.conversation.messages,
        gaps=gaps.gaps if gaps else 0,
        ref=work.ref,
        partial=work.partial,
    )


def _open(recorder: Recorder, material: Material, works: Sequence[Work], endings: list[Ending]) -> list[_Open]:
    campaign = recorder.campaign
    rows_of = campaign.store.messages([work.conversation_id for work in works])
    units: list[tuple[Work, Sequence[MessageRow]]] = []
    for work in works:
        rows = rows_of.get(work.conversation_id)
        if rows is None or len(rows) < work.conversation.messages or not storable(rows):
            endings.append(ending(work, Outcome.FAILED_SOURCE))
        elif work.conversation_id in material.too_broad:
            endings.append(ending(work, Outcome.HELD_SCOPE_TOO_BROAD))
        else:
            units.append((work, rows))
    all_results = campaign.scheme.open_messages(
        [(work.conversation, material.rings.get(work.conversation_id, {}), rows) for work, rows in units]
    )
    opened = []
    for (work, read), results in zip(units, all_results, strict=True):
        gaps = GapCount()
        claims = settle(campaign.scheme, read, results)
        count(results, gaps)
        outcome = gaps.outcome(campaign.settings.execution.max_gap_fraction)
        if outcome.visible:
            opened.append(_Open(work, read, results, gaps, outcome, claims))
        else:
            endings.append(ending(work, outcome, gaps))
    return opened


def _seal(conversation: _Open, key: WrappedKey) -> tuple[Sealed, Shown]:
    work, root = conversation.work, ItemsRoot()
    stretch = seal_page(
        work.conversation_no, work.conversation_id, key.key, conversation.rows, conversation.results, root
    )
    shown = Shown(
        work=work,
        outcome=conversation.outcome,
        messages=conversation.gaps.opened,
        gaps=conversation.gaps.gaps,
        items_root=root.root(),
        key_id=key.key.key_id,
        key_service=key.key_service,
    )
    return stretch, shown


def _commit(
    recorder: Recorder,
    material: Material,
    sealed: Sequence[Sealed],
    claims: Sequence[tuple[Any, ...]],
    shown: Sequence[Shown],
    keys: Sequence[tuple[Work, WrappedKey]],
    endings: Sequence[Ending],
) -> None:
    done = sum(s.messages + s.gaps for s in shown) + sum(e.messages + e.gaps for e in endings)
    failures = sum(Outcome(e.outcome).failed for e in endings)
    run_id = recorder.assignment.run_id
    with recorder.transaction("unit", messages=done, failures=failures) as connection:
        insert_keys(connection, recorder.campaign, keys)
        insert_rows(connection, tables.message, MESSAGE_COLUMNS, [row for s in sealed for row in s.messages])
        insert_rows(connection, tables.gap, GAP_COLUMNS, [row for s in sealed for row in s.gaps])
        insert_rows(connection, tables.claim, CLAIM_COLUMNS, claims)
        show(connection, recorder, shown, [key_created(work, key, run_id) for work, key in keys])
        recorder.end(connection, endings)
        record_refusals(connection, recorder.campaign, material.refusals, run_id)
    recorder.counted([(s.outcome.value, s.messages, s.gaps) for s in shown])
    recorder.counted([(e.outcome, e.messages, e.gaps) for e in endings])
