"""Adds to a conversation out of message order: history from exports, late keys, a new tail.

1. History entries of exports are sealed and staged in `migrator_addition`, first come first kept.
2. The source is walked in order. A message that has a server row already is passed over; one that opens is staged,
   and takes the place of a staged entry of the same time and id; one that does not is a gap, unless an entry by the
   same sender fills it (another sender's does not: `unverified_sender`). What is redacted or replayed no entry fills.
   What an entry that fills nothing had attached goes with it.
3. The Merkle root is taken over the whole conversation, source and staged entries merged in message order.
   A message with a server row that the source has taken back since is staged as gap `redacted` in its place.
4. Attachments of messages that are shown already are staged, if nobody looked at them before (`catching_up`).
5. One transaction moves the staged rows into server history, replaces gaps, updates counts, and shows the result.

Until step 5 readers see what they saw before. A crash loses the staging only: the next attempt begins anew. The staged
rows stay without their ciphertext, so that a rollback knows what this run added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator.audit.events import Event
from migrator.core.envelope import DataKey, associated_data, random_ivs, seal_message
from migrator.core.export import HistoryEntry
from migrator.core.gaps import GapCount
from migrator.core.model import MessageRow
from migrator.core.outcomes import CLOSED_TO_HISTORY, GapReason, Outcome
from migrator.core.source_through import covered
from migrator.execution.attaching import counted, stage_attachments
from migrator.execution.catching_up import stage_shown
from migrator.execution.claims import settle
from migrator.execution.keys import WrappedKey, insert_keys, key_created, load_key, make_keys
from migrator.execution.pacing import BEGUN_SECONDS
from migrator.execution.recorder import Ending, Recorder
from migrator.execution.sealing import gap_key, storable
from migrator.execution.showing import Shown, remember, show
from migrator.execution.small import ending
from migrator.execution.stage import Stage, Staged
from migrator.execution.staging import stage_for
from migrator.execution.taking_back import (
    VisibleRow,
    stage_redacted_gaps,
    stage_taken_back,
    unaccounted,
    visible_row,
)
from migrator.execution.whole import source_pages, whole_root
from migrator.execution.work import Work
from migrator.exports.opening import ExportReader, ExportRefusal, Material, record_refusals
from migrator.keyservices.interface import KeyRefusal
from migrator.schemes.interface import KeyRing, Opened


@dataclass(frozen=True, slots=True)
class _Key:
    """The conversation's data key: the one it has, or a fresh one that the last transaction keeps."""

    key: DataKey
    key_service: str
    fresh: WrappedKey | None = None

    @property
    def key_id(self) -> int:
        """Tink's key id."""
        return self.key.key_id


def merge(recorder: Recorder, exports: ExportReader, material: Material, work: Work) -> None:
    """Bring a conversation up to what source and exports hold now."""
    if work.conversation_id in material.too_broad:
        _end(recorder, material.refusals, work, ending(work, Outcome.HELD_SCOPE_TOO_BROAD))
        return
    if work.partial and not work.visible and not recorder.dry:
        recorder.discard_leftovers(work.conversation_no, work.ref)
    if work.closed is not None:
        _take_back(recorder, work)
        return
    key = _key(recorder, work)
    if isinstance(key, Outcome):
        _end(recorder, material.refusals, work, ending(work, key))
        return
    stage = stage_for(recorder, work)
    stage.clear()
    _stage_history(recorder, exports, stage, work, key.key)
    refusals = (*material.refusals, *exports.pending_refusals)
    exports.pending_refusals.clear()
    if not _stage_source(recorder, stage, material.rings.get(work.conversation_id, {}), work, key.key):
        _end(recorder, refusals, work, ending(work, Outcome.FAILED_SOURCE))
        return
    attached = stage_shown(recorder, stage, work, key.key)
    _finish(recorder, refusals, stage, work, key, attached=attached)


def _take_back(recorder: Recorder, work: Work) -> None:
    """Remove what the source has taken back of a conversation that may not be opened; the key service isn't asked.

    What its history covers stays as it was otherwise: a tail is still to come, once somebody lets it.
    """
    with recorder.campaign.database.read() as connection:
        row = visible_row(connection, work.conversation_no)
    if row is None:
        _end(recorder, (), work, ending(work, Outcome.FAILED_INTEGRITY))
        return
    work = replace(work, covers={**covered(row.source_through), "changes": work.conversation.changes})
    stage = stage_for(recorder, work)
    stage.clear()
    for rows in source_pages(recorder, work):
        if not storable(rows):
            _end(recorder, (), work, ending(work, Outcome.FAILED_SOURCE))
            return
        present = stage_taken_back(recorder.campaign.scheme, stage, work.conversation, rows)
        stage_redacted_gaps(
            recorder.campaign.scheme, stage, work.conversation, [r for r in rows if gap_key(r) not in present]
        )
    _finish(recorder, (), stage, work, row)


def _key(recorder: Recorder, work: Work) -> _Key | Outcome:
    if work.visible:
        with recorder.campaign.database.read() as connection:
            loaded = load_key(connection, recorder.campaign, work.conversation_no)
        return loaded if isinstance(loaded, Outcome) else _Key(*loaded)
    if recorder.dry:
        return _Key(DataKey.generate(), "")
    made = make_keys(recorder.campaign, [work])[0]
    return Outcome.FAILED_KEY_SERVICE if isinstance(made, KeyRefusal) else _Key(made.key, made.key_service, made)


def _stage_history(recorder: Recorder, exports: ExportReader, stage: Stage, work: Work, key: DataKey) -> None:
    with recorder.campaign.database.read() as connection:
        for page in exports.history(connection, work.conversation_id, work.exporters):
            entries = {(entry.sent_at, entry.message_id): entry for entry in reversed(page)}
            ats = list(entries)
            known, prior = stage.server_rows(ats) | stage.staged(ats).keys(), stage.prior_gaps(ats)
            news = [entry for at, entry in entries.items() if at not in known]
            stage.put([_history(work, key, entry, prior.get((entry.sent_at, entry.message_id))) for entry in news])
            rows = [(entry.sent_at, entry.message_id, entry.sender_id) for entry in news]
            stage_attachments(recorder, work, key, rows, [(entry.content_type, entry.content) for entry in news])


def _history(work: Work, key: DataKey, entry: HistoryEntry, prior: str | None) -> Staged:
    row = (entry.sent_at, entry.message_id, entry.sender_id)
    return _sealed(work, key, row, (entry.content_type, entry.content), prior)


def _stage_source(recorder: Recorder, stage: Stage, ring: KeyRing, work: Work, key: DataKey) -> bool:
    """Walk the source; False where it can't be accounted for."""
    seen = 0
    for rows in source_pages(recorder, work):
        recorder.take_turn(patience=BEGUN_SECONDS)
        if not storable(rows) or not _stage_page(recorder, stage, ring, work, key, rows):
            return False
        seen += len(rows)
    return seen >= work.conversation.messages


def _stage_page(
    recorder: Recorder, stage: Stage, ring: KeyRing, work: Work, key: DataKey, rows: Sequence[MessageRow]
) -> bool:
    """Stage what a page brings; False where a place is taken by a gap of an earlier page (`%00` may be a NUL)."""
    present = stage_taken_back(recorder.campaign.scheme, stage, work.conversation, rows)
    missing = [(at, row) for at, row in zip(map(gap_key, rows), rows, strict=True) if at not in present]
    if not missing:
        return True
    ats = [at for at, _ in missing]
    entries, prior = stage.staged(ats), stage.prior_gaps(ats)
    if None in entries.values():
        return False
    scheme, opening = recorder.campaign.scheme, [row for _, row in missing]
    results = scheme.open_messages([(work.conversation, ring, opening)])[0]
    made = {(sent_at, message_id): claim for claim, sent_at, message_id in settle(scheme, opening, results, stage.held)}
    staged = []
    for (at, row), result in zip(missing, results, strict=True):
        entry = entries.get(at)
        if isinstance(result, GapReason):
            if result in CLOSED_TO_HISTORY:
                entry = None
            if entry is not None and entry == row[2]:
                continue
            reason = GapReason.UNVERIFIED_SENDER if entry is not None else result
            if at not in entries and reason.value == prior.get(at):
                continue
            staged.append(Staged(sent_at=at[0], message_id=at[1], gap_reason=reason.value, prior_gap=prior.get(at)))
        else:
            staged.append(_sealed(work, key, row, result, prior.get(at), made.get((row[0], row[1]))))
    stage.put(staged)
    closed = {gap.at for gap in staged if gap.gap_reason is not None} & entries.keys()
    stage_attachments(recorder, work, key, [row for _, row in missing], results, closed)
    return True


def _sealed(
    work: Work,
    key: DataKey,
    row: Sequence[Any],
    opened: Opened,
    prior: str | None = None,
    claim: bytes | None = None,
) -> Staged:
    content_type, content = opened
    sent_at, message_id, sender_id = row[:3]
    bound = associated_data(work.conversation_id, message_id, sender_id, sent_at, content_type)
    return Staged(
        sent_at=sent_at,
        message_id=message_id,
        sender_id=sender_id,
        content_type=content_type,
        key_id=key.key_id,
        ciphertext=seal_message(key, random_ivs(1)[0], content, bound),
        prior_gap=prior,
        claim=claim,
    )


def _finish(
    recorder: Recorder,
    refusals: Sequence[ExportRefusal],
    stage: Stage,
    work: Work,
    key: _Key | VisibleRow,
    *,
    attached: bool = False,
) -> None:
    """Show the result, or let things be as they were. `attached`: messages that are shown already get attachments."""
    gaps = stage.totals()
    outcome = gaps.outcome(recorder.campaign.settings.execution.max_gap_fraction)
    if work.visible and not (attached or stage.brings_anything() or _is_unaccounted(recorder, work)):
        _end(recorder, refusals, work, _unchanged(work, gaps), up_to_date=True)
        return
    if not outcome.visible and not work.visible:
        _end(recorder, refusals, work, ending(work, outcome, gaps))
        return
    if work.visible:
        # What is visible stays visible: more gaps in a new tail are counted and shown as gaps.
        outcome = Outcome.REWRAPPED_WITH_GAPS if gaps.gaps else Outcome.REWRAPPED
    if recorder.dry:
        recorder.counted([(outcome.value, gaps.opened, gaps.gaps)])
        return
    shown = Shown(
        work=work,
        outcome=outcome,
        messages=gaps.opened,
        gaps=gaps.gaps,
        items_root=whole_root(recorder, work, stage),
        key_id=key.key_id,
        key_service=key.key_service,
    )
    with recorder.transaction("merge", messages=gaps.total) as connection:
        events: list[Event] = []
        if isinstance(key, _Key) and key.fresh is not None:
            insert_keys(connection, recorder.campaign, [(work, key.fresh)])
            events = [key_created(work, key.fresh, recorder.assignment.run_id)]
        if work.visible:
            remember(connection, recorder, work)
        stage.move(connection)
        shown = replace(shown, attachments=counted(connection, work.conversation_no))
        show(connection, recorder, [shown], events)
        record_refusals(connection, recorder.campaign, refusals, recorder.assignment.run_id)
    recorder.counted([(outcome.value, gaps.opened, gaps.gaps)])


def _is_unaccounted(recorder: Recorder, work: Work) -> bool:
    """Whether a rollback left the conversation with other counts than the run that shows it had."""
    with recorder.campaign.database.read() as connection:
        return bool(unaccounted(connection, [work.conversation_no]))


def _unchanged(work: Work, gaps: GapCount) -> Ending:
    closed = work.closed is not None
    return Ending(
        conversation_no=work.conversation_no,
        outcome=work.closed or Outcome.ALREADY_SERVER.value,
        messages=work.conversation.messages if closed else gaps.opened,
        gaps=0 if closed else gaps.gaps,
        ref=work.ref,
    )


def _end(
    recorder: Recorder, refusals: Sequence[ExportRefusal], work: Work, last: Ending, *, up_to_date: bool = False
) -> None:
    if not recorder.dry:
        stage = stage_for(recorder, work)
        failures = int(last.outcome.startswith("failed:"))
        with recorder.transaction("merge-end", messages=last.messages + last.gaps, failures=failures) as connection:
            stage.discard(connection)
            recorder.end(connection, [last])
            if up_to_date:
                stage.mark_current(connection, work)
            record_refusals(connection, recorder.campaign, refusals, recorder.assignment.run_id)
    recorder.counted([(last.outcome, last.messages, last.gaps)])
