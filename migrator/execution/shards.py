"""Cuts what a run has still to do into shards, by message count."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.plan import is_work
from migrator.database import tables
from migrator.database.bulk import insert_rows
from migrator.execution.runs import Run
from migrator.execution.watching import samples

_PAGES = 20
"""Pages of messages that a shard holds at most, so that no worker's loss costs much."""
_CONVERSATIONS = 20_000
"""Conversations in one shard, whether they are opened or not."""
_SHARDS_A_WORKER = 8
"""At least so many for each worker, so that all end at about the same time."""

_COLUMNS = ("run_id", "generation", "shard_no", "first_no", "last_no", "finished")


@dataclass(frozen=True, slots=True)
class Shard:
    """A stretch of items: conversation numbers, both ends included."""

    shard_no: int
    first_no: int
    last_no: int


def cut(campaign: Campaign, run: Run, workers: int) -> list[Shard]:
    """Cut afresh for this generation of the run, and forget the shards of earlier ones."""
    shards = [
        Shard(number, first, last)
        for number, (first, last) in enumerate(_stretches(campaign, run.plan_id, run.run_id, workers), start=1)
    ]
    table = tables.shard
    with campaign.database.write("shards") as connection:
        committed_at = samples.last_commit(connection, run.run_id)
        connection.execute(table.delete().where(table.c.run_id == run.run_id))
        rows = [(run.run_id, run.generation, shard.shard_no, shard.first_no, shard.last_no, False) for shard in shards]
        insert_rows(connection, table, _COLUMNS, rows)
        # Shards first, then the run, as every worker does: an old one that still lives is waited for, not deadlocked.
        samples.begin_session(connection, run.run_id, run.generation, committed_at)
    return shards


def cut_dry(campaign: Campaign, plan_id: str, workers: int) -> list[Shard]:
    """The shards of a dry run: all of the plan, and nothing written."""
    stretches = _stretches(campaign, plan_id, None, workers)
    return [Shard(number, first, last) for number, (first, last) in enumerate(stretches, start=1)]


def _stretches(campaign: Campaign, plan_id: str, run_id: str | None, workers: int) -> Iterator[tuple[int, int]]:
    with campaign.database.read() as connection:
        total = connection.scalar(sa.select(sa.func.sum(tables.plan_item.c.messages)).where(*_work_of(plan_id))) or 0
        page = campaign.settings.execution.page_size
        size = max(page, min(_PAGES * page, total // (workers * _SHARDS_A_WORKER)))
        first: int | None = None
        last = conversations = messages = 0
        for number, decision, count in connection.execute(_pending(plan_id, run_id)):
            if first is not None and (conversations >= _CONVERSATIONS or messages >= size):
                yield first, last
                first, conversations, messages = None, 0, 0
            first = number if first is None else first
            last = number
            conversations += 1
            messages += count if is_work(decision) else 0
        if first is not None:
            yield first, last


def _work_of(plan_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    item = tables.plan_item
    return item.c.plan_id == plan_id, item.c.decision.in_(("rewrap", "extend"))


def _pending(plan_id: str, run_id: str | None) -> sa.Select[int, str, int]:
    planned, item = tables.plan_item, tables.item
    query = (
        sa.select(planned.c.conversation_no, planned.c.decision, planned.c.messages)
        .where(planned.c.plan_id == plan_id)
        .order_by(planned.c.conversation_no)
        .execution_options(yield_per=10_000)
    )
    if run_id is None:
        return query
    done = sa.and_(item.c.run_id == run_id, item.c.conversation_no == planned.c.conversation_no)
    return query.outerjoin(item, done).where(item.c.run_id.is_(None))
