"""A limit: of a plan's work the first so many, in the order of their threads' places.

The order of limits is that of cohorts, so a smaller limit lies inside a larger one. A place has no rank: which work is
within the limit shows only when the whole population has been walked. Until then the order lies in a table of its own,
so memory doesn't grow with the store; the edge is found there, and the items beyond it are set aside a page at a time.
Copies of one thread stand side by side; a limit cuts between two of them if it falls there.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.cohorts import Limit
from migrator.core.outcomes import Outcome, SkipReason
from migrator.core.plan import EXTEND, Count, PlanCounts
from migrator.database import tables
from migrator.database.bulk import insert_rows
from migrator.planning.stored import require_making

_PAGE: Final = 10_000
_COLUMNS: Final = ("plan_id", "place", "conversation_no", "tail_messages", "late_gaps")
News = tuple[int | None, int | None]
"""What a migrated conversation may take up: the messages of a new tail, or else the gaps that late keys may close."""
Placed = tuple[int, int, int | None, int | None]
"""Place, conversation number, and its news."""


def keep_order(connection: sa.Connection, plan_id: str, work: Sequence[Placed]) -> None:
    """Remember a page's work."""
    insert_rows(connection, tables.plan_order, _COLUMNS, [(plan_id, *placed) for placed in work])


def cut(campaign: Campaign, plan_id: str, limit: Limit, counts: PlanCounts) -> PlanCounts:
    """Set aside what is beyond the limit, and count anew; `counts`: as walked, for what is behind the skips."""
    order = tables.plan_order
    with campaign.database.read() as connection:
        mine = sa.select(sa.func.count()).select_from(order).where(order.c.plan_id == plan_id)
        wanted = limit.of(connection.scalar(mine) or 0)
        edge = _edge(connection, plan_id, wanted)
    while edge is not None and _set_aside(campaign, plan_id, edge):
        pass
    with campaign.database.write("plan-limited") as connection:
        require_making(connection, plan_id)
        found = _counts(connection, plan_id, counts)
        connection.execute(order.delete().where(order.c.plan_id == plan_id))
    return found


def _edge(connection: sa.Connection, plan_id: str, wanted: int) -> tuple[int, int] | None:
    """Place and number of the last work within the limit; None where there is no work."""
    order = tables.plan_order
    if not wanted:
        return None
    row = connection.execute(
        sa.select(order.c.place, order.c.conversation_no)
        .where(order.c.plan_id == plan_id)
        .order_by(order.c.place, order.c.conversation_no)
        .offset(wanted - 1)
        .limit(1)
    ).one()
    return row.place, row.conversation_no


def _set_aside(campaign: Campaign, plan_id: str, edge: tuple[int, int]) -> bool:
    """One page of what is beyond the edge; whether there was any. What readers see already stays as they see it."""
    order, item = tables.plan_order, tables.plan_item
    key = sa.tuple_(order.c.place, order.c.conversation_no)
    beyond = sa.and_(order.c.plan_id == plan_id, key > sa.tuple_(*map(sa.literal, edge)))
    with campaign.database.write("plan-limit") as connection:
        require_making(connection, plan_id)
        page = connection.execute(
            sa.select(order.c.place, order.c.conversation_no)
            .where(beyond)
            .order_by(order.c.place, order.c.conversation_no)
            .limit(_PAGE)
        ).all()
        if not page:
            return False
        these = sa.and_(beyond, key <= sa.tuple_(*map(sa.literal, page[-1])))
        aside = sa.case(
            (item.c.decision == EXTEND, Outcome.ALREADY_SERVER.value), else_=SkipReason.OUT_OF_COHORT.outcome
        )
        numbers = sa.select(order.c.conversation_no).where(these)
        connection.execute(
            item.update().where(item.c.plan_id == plan_id, item.c.conversation_no.in_(numbers)).values(decision=aside)
        )
        connection.execute(order.delete().where(these))
    return True


def _counts(connection: sa.Connection, plan_id: str, walked: PlanCounts) -> PlanCounts:
    item, order = tables.plan_item, tables.plan_order
    found = PlanCounts()
    query = (
        sa.select(item.c.decision, sa.func.count(), sa.func.sum(item.c.messages))
        .where(item.c.plan_id == plan_id)
        .group_by(item.c.decision)
    )
    for decision, conversations, messages in connection.execute(query):
        found.add(decision, int(messages), conversations=conversations)
    for count, column in ((found.extend.tails, order.c.tail_messages), (found.extend.late_keys, order.c.late_gaps)):
        number, total = connection.execute(
            sa.select(sa.func.count(column), sa.func.sum(column)).where(order.c.plan_id == plan_id)
        ).one()
        count.add(int(total or 0), conversations=number)
    for reason, skipped in walked.skip.items():
        found.skip.setdefault(reason, Count()).causes = skipped.causes
    return found
