"""A page of a run's items, each with its plan's decision, its conversation's row and the counts of its stored rows.

What is looked at here needs no key: counts, modes and outcomes have to agree, by set-based SQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator.core.lifecycle import RunState
from migrator.core.outcomes import OUTCOMES, Outcome
from migrator.core.plan import is_work
from migrator.database import tables
from migrator.execution.runs import Run
from migrator.execution.taking_back import unaccounted
from migrator.lookups import rows_among
from migrator.verification.destroyed import destroyed_on_purpose
from migrator.verification.findings import Findings, MismatchKind

_PAGE_ITEMS = 2000
_PAGE_MESSAGES = 50_000
"""A page ends behind the item that exceeds this, so that little is done again after a kill."""
SHOWN = (Outcome.REWRAPPED.value, Outcome.REWRAPPED_WITH_GAPS.value)
_VISIBLE = frozenset(outcome.value for outcome in Outcome if outcome.visible)
_GONE = (RunState.ROLLED_BACK.value, RunState.ROLLING_BACK.value)


@dataclass(slots=True, kw_only=True)
class Item:
    """One outcome of the run and what the tables hold of its conversation at this moment."""

    conversation_no: int
    outcome: str
    messages: int
    gaps: int
    decision: str | None
    conversation_id: str | None
    mode: str | None
    shown_by: str | None
    plan_id: str | None
    message_count: int
    gap_count: int
    source_through: str | None
    rows_by_key: dict[int, int] = field(default_factory=dict)
    gap_rows: int = 0
    taken_back: int = 0
    """Messages that a run took back which was rolled back since: what shows it now still counts them."""
    attachments: int = 0
    attachment_gaps: int = 0

    @property
    def rows(self) -> int:
        """Messages that are stored."""
        return sum(self.rows_by_key.values())

    @property
    def visible(self) -> bool:
        """Whether readers see server history of the conversation now, of whatever run."""
        return self.mode == "server" and self.conversation_id is not None


def page(connection: sa.Connection, run_id: str, after: int) -> list[Item]:
    """The next items by conversation number; empty at the end."""
    item, conversation, planned, run = tables.item, tables.conversation, tables.plan_item, tables.run
    query = (
        sa.select(
            item.c.conversation_no, item.c.outcome, item.c.messages, item.c.gaps, planned.c.decision,
            conversation.c.conversation_id, conversation.c.mode, conversation.c.run_id, conversation.c.plan_id,
            conversation.c.message_count, conversation.c.gap_count, conversation.c.source_through,
        )
        .join(run, run.c.run_id == item.c.run_id)
        .outerjoin(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .outerjoin(
            planned,
            sa.and_(planned.c.plan_id == run.c.plan_id, planned.c.conversation_no == item.c.conversation_no),
        )
        .where(item.c.run_id == run_id, item.c.conversation_no > after)
        .order_by(item.c.conversation_no)
        .limit(_PAGE_ITEMS)
    )  # fmt: skip
    items: list[Item] = []
    size = 0
    for row in connection.execute(query):
        items.append(_item(row))
        size += row[2] + row[3]
        if size > _PAGE_MESSAGES:
            break
    _count_rows(connection, items)
    return items


def _item(row: Sequence[Any]) -> Item:
    return Item(
        conversation_no=row[0],
        outcome=row[1],
        messages=row[2],
        gaps=row[3],
        decision=row[4],
        conversation_id=row[5],
        mode=row[6],
        shown_by=row[7],
        plan_id=row[8],
        message_count=row[9] or 0,
        gap_count=row[10] or 0,
        source_through=row[11],
    )


def _count_rows(connection: sa.Connection, items: Sequence[Item]) -> None:
    by_number = {item.conversation_no: item for item in items}
    message, gap = tables.message, tables.gap
    counted = sa.select(message.c.conversation_no, message.c.key_id, sa.func.count()).group_by(
        message.c.conversation_no, message.c.key_id
    )
    for number, key_id, count in rows_among(connection, counted, message.c.conversation_no, by_number):
        by_number[number].rows_by_key[key_id] = count
    gaps = sa.select(gap.c.conversation_no, sa.func.count()).group_by(gap.c.conversation_no)
    for number, count in rows_among(connection, gaps, gap.c.conversation_no, by_number):
        by_number[number].gap_rows = count
    for number, count in unaccounted(connection, by_number).items():
        by_number[number].taken_back = count
    table = tables.attachment
    attached = (
        sa.select(table.c.conversation_no, sa.func.count(table.c.blob), sa.func.count(table.c.reason))
        .where(table.c.staged.is_(False))
        .group_by(table.c.conversation_no)
    )
    for number, sealed, missing in rows_among(connection, attached, table.c.conversation_no, by_number):
        by_number[number].attachments, by_number[number].attachment_gaps = sealed, missing


def check(connection: sa.Connection, run: Run, items: Sequence[Item], findings: Findings) -> None:
    """Compare each item with its plan, its conversation and its rows."""
    undone: list[Item] = []
    for item in items:
        findings.count("conversations")
        _check_outcome(item, findings)
        if item.visible:
            _check_shown(run, item, findings)
        elif item.outcome in _VISIBLE and run.state.value not in _GONE:
            undone.append(item)
    shredded = destroyed_on_purpose(connection, [item.conversation_no for item in undone if item.mode == "destroyed"])
    if shredded:
        findings.count("destroyed", len(shredded))
    undone = [item for item in undone if item.conversation_no not in shredded]
    explained = _rolled_back(connection, [item.conversation_no for item in undone])
    for item in undone:
        if item.outcome in SHOWN or item.conversation_no not in explained:
            findings.add(MismatchKind.OUTCOME, item.conversation_no, f"{item.outcome}, but nothing is shown")


def _check_outcome(item: Item, findings: Findings) -> None:
    if item.outcome not in OUTCOMES:
        findings.add(MismatchKind.UNKNOWN_OUTCOME, item.conversation_no, "an outcome that is not in the closed set")
    if item.conversation_id is None:
        findings.add(MismatchKind.OUTCOME, item.conversation_no, "an outcome of a conversation that has no row")
    if item.decision is None:
        findings.add(MismatchKind.UNEXPECTED_ITEM, item.conversation_no, "the plan does not have this conversation")
    elif not is_work(item.decision) and not _is_that_skip(item.decision, item.outcome):
        findings.add(MismatchKind.OUTCOME, item.conversation_no, "the plan decided otherwise, and not to open it")
    if item.outcome in SHOWN and (item.outcome == Outcome.REWRAPPED.value) != (item.gaps == 0):
        findings.add(MismatchKind.OUTCOME, item.conversation_no, f"{item.outcome} with {item.gaps} gaps")


def _is_that_skip(decision: str, outcome: str) -> bool:
    """Whether what was not to be opened ended as planned, with the reason of the day, or was destroyed since."""
    both_skipped = decision.startswith("skipped:") and outcome.startswith("skipped:")
    return outcome in (decision, Outcome.SKIPPED_DESTROYED.value) or both_skipped


def _check_shown(run: Run, item: Item, findings: Findings) -> None:
    number = item.conversation_no
    if item.rows != item.message_count:
        findings.add(MismatchKind.MESSAGE_COUNT, number, f"{item.rows} stored, {item.message_count} counted")
    if item.gap_rows != item.gap_count:
        findings.add(MismatchKind.GAP_COUNT, number, f"{item.gap_rows} recorded, {item.gap_count} counted")
    if item.shown_by is None:
        findings.add(MismatchKind.OUTCOME, number, "shown, but by no run")
    if item.shown_by != run.run_id:
        return
    if run.state is RunState.ROLLED_BACK:
        findings.add(MismatchKind.OUTCOME, number, "shown by a run that was rolled back")
    if item.outcome not in SHOWN:
        findings.add(MismatchKind.OUTCOME, number, "shown by this run, whose outcome for it says otherwise")
        return
    if item.messages != item.message_count + item.taken_back:
        findings.add(MismatchKind.MESSAGE_COUNT, number, f"{item.messages} in the item, {item.message_count} shown")
    if item.gaps != item.gap_count - item.taken_back:
        findings.add(MismatchKind.GAP_COUNT, number, f"{item.gaps} in the item, {item.gap_count} shown")


def _rolled_back(connection: sa.Connection, numbers: Sequence[int]) -> set[int]:
    """Conversations whose history another run had shown until it was rolled back."""
    if not numbers:
        return set()
    item, run = tables.item, tables.run
    query = (
        sa.select(item.c.conversation_no)
        .join(run, run.c.run_id == item.c.run_id)
        .where(item.c.outcome.in_(SHOWN), run.c.state.in_(_GONE))
    )
    return {row[0] for row in rows_among(connection, query, item.c.conversation_no, numbers)}
